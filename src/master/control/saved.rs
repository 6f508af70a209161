//! The control socket over an upgrade.

use super::super::kept::{Keeping, Kept, Taking};
use super::{Client, ClientState, Control};
use crate::sys::place::Identity;
use crate::sys::rights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

/// What an upgrade keeps of the control socket: clients notice nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct SavedControl {
    socket: Kept,
    path: PathBuf,
    identity: Option<Identity>,
    clients: Vec<(u64, Kept, ClientState)>,
    last: u64,
}

impl SavedControl {
    /// The file of the socket is somebody else's.
    pub(in crate::master) fn disown(&mut self) {
        self.identity = None;
    }

    /// The socket again.
    pub(in crate::master) fn restore(self, descriptors: &mut Taking) -> Result<Control, String> {
        let mut clients = BTreeMap::new();
        for (number, stream, state) in self.clients {
            clients.insert(number, Client { stream: descriptors.take(stream)?.into(), state });
        }
        let socket = descriptors.take(self.socket)?;
        rights::refuse(socket.as_fd());
        let socket = socket.into();
        Ok(Control { socket, path: self.path, identity: self.identity, clients, last: self.last })
    }
}

impl Control {
    /// For an upgrade.
    pub(in crate::master) fn save(&self, descriptors: &mut Keeping) -> SavedControl {
        let clients = self.clients.iter();
        let clients = clients
            .map(|(number, Client { stream, state })| (*number, descriptors.keep(stream), state.clone()));
        let clients = clients.collect();
        let (path, identity) = (self.path.clone(), self.identity);
        SavedControl { socket: descriptors.keep(&self.socket), path, identity, clients, last: self.last }
    }
}
