//! The listening sockets over an upgrade.

use super::super::kept::{Keeping, Kept, Taking};
use super::{Inherited, Listening, Socket, Taken};
use crate::config::Address;
use crate::sys::listener::{Bound, Local};
use crate::sys::place::Identity;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// What an upgrade keeps of a socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::master) struct SavedSocket {
    /// The socket.
    pub(in crate::master) socket: Kept,
    local: Local,
    dual: bool,
    passed: Option<String>,
    file: Option<(PathBuf, Identity)>,
}

impl SavedSocket {
    fn of(socket: &Socket, descriptors: &mut Keeping) -> Self {
        Self {
            socket: descriptors.keep(&socket.bound.socket),
            local: socket.bound.local.clone(),
            dual: socket.bound.dual,
            passed: socket.passed.clone(),
            file: socket.file.clone(),
        }
    }

    /// The socket of that descriptor; `owned`: it removes its file at its end.
    fn restore(self, socket: OwnedFd, owned: bool) -> Rc<Socket> {
        let bound = Bound::resumed(socket, self.local, self.dual);
        Rc::new(Socket { bound, passed: self.passed, file: self.file.filter(|_| owned) })
    }
}

/// What an upgrade keeps of the addresses: each socket once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::master) struct SavedListening {
    /// All of them.
    pub(in crate::master) sockets: Vec<SavedSocket>,
    /// Address, places of its sockets, sites.
    addresses: Vec<(Address, Vec<usize>, Vec<usize>)>,
}

impl SavedListening {
    /// The files of the sockets are somebody else's.
    pub(in crate::master) fn disown(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.file = None);
    }

    /// For an upgrade.
    pub(in crate::master) fn of(open: &[Listening], descriptors: &mut Keeping) -> Self {
        let mut saved = Self::default();
        let mut known: Vec<Rc<Socket>> = Vec::new();
        for listening in open {
            let mut places = Vec::new();
            for socket in &listening.sockets {
                let place = known.iter().position(|other| Rc::ptr_eq(other, socket));
                places.push(place.unwrap_or_else(|| {
                    known.push(socket.clone());
                    saved.sockets.push(SavedSocket::of(socket, descriptors));
                    known.len() - 1
                }));
            }
            saved.addresses.push((listening.address.clone(), places, listening.sites.clone()));
        }
        saved
    }

    /// The addresses again, with these descriptors in the order of the sockets; `owned`: they are the master's, not
    /// copies in a trial.
    pub(in crate::master) fn restore(self, descriptors: Vec<OwnedFd>, owned: bool) -> Vec<Listening> {
        let sockets: Vec<Rc<Socket>> = self
            .sockets
            .into_iter()
            .zip(descriptors)
            .map(|(saved, descriptor)| saved.restore(descriptor, owned))
            .collect();
        let listening = |(address, places, sites): (Address, Vec<usize>, Vec<usize>)| Listening {
            address,
            sockets: places.into_iter().filter_map(|place| sockets.get(place).cloned()).collect(),
            sites,
        };
        self.addresses.into_iter().map(listening).collect()
    }
}

/// What an upgrade keeps of a socket that nothing has asked for yet.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct SavedTaken {
    name: String,
    stored: bool,
    socket: Kept,
    local: Local,
    dual: bool,
}

impl Inherited {
    /// For an upgrade.
    pub(in crate::master) fn save(&self, descriptors: &mut Keeping) -> Vec<SavedTaken> {
        let saved = |taken: &Taken| SavedTaken {
            name: taken.name.clone(),
            stored: taken.stored,
            socket: descriptors.keep(&taken.bound.socket),
            local: taken.bound.local.clone(),
            dual: taken.bound.dual,
        };
        self.0.borrow().iter().map(saved).collect()
    }

    /// The same again.
    pub(in crate::master) fn restore(
        saved: Vec<SavedTaken>,
        descriptors: &mut Taking,
    ) -> Result<Self, String> {
        let mut taken = Vec::new();
        for SavedTaken { name, stored, socket, local, dual } in saved {
            let bound = Bound::resumed(descriptors.take(socket)?, local, dual);
            taken.push(Taken { name, stored, bound });
        }
        Ok(Self(RefCell::new(taken)))
    }
}
