//! A process of an app over an upgrade.

use super::super::kept::{Keeping, Kept, Taking};
use super::super::output::SavedOutput;
use super::super::voice::SavedVoice;
use super::{App, Running, Start};
use crate::sys::process::Launch;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// What an upgrade keeps of an [`App`]. A ready request that runs is asked again.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct SavedApp {
    name: String,
    #[serde(rename = "units")]
    incarnation: u32,
    threads: u16,
    leaving: bool,
    answered: bool,
    /// It said READY and was being asked whether it is.
    inquired: bool,
    ear: Option<Kept>,
    voice: SavedVoice,
    waiting: Vec<u8>,
    launch: Option<Kept>,
    start: Start,
    #[serde(default)]
    preloaded: bool,
    timeout: Duration,
    running: Running,
    output: SavedOutput,
    socket: PathBuf,
}

impl SavedApp {
    /// The process again, without its ready request.
    pub(in crate::master) fn restore(self, descriptors: &mut Taking) -> Result<App, String> {
        let mut take = |kept: Option<Kept>| kept.map(|kept| descriptors.take(kept)).transpose();
        let (ear, launch) = (take(self.ear)?, take(self.launch)?);
        Ok(App {
            name: self.name,
            incarnation: self.incarnation,
            threads: self.threads,
            leaving: self.leaving,
            answered: self.answered,
            inquired: self.inquired,
            ready: None,
            inquiry: None,
            ear: ear.map(File::from),
            voice: self.voice.restore(descriptors)?,
            waiting: self.waiting,
            launch: launch.map(Launch::resume),
            start: self.start,
            preloaded: self.preloaded,
            timeout: self.timeout,
            running: self.running,
            reached: None,
            output: self.output.restore(descriptors)?,
            socket: self.socket,
        })
    }
}

impl App {
    /// For an upgrade.
    pub(in crate::master) fn save(&self, descriptors: &mut Keeping) -> SavedApp {
        SavedApp {
            name: self.name.clone(),
            incarnation: self.incarnation,
            threads: self.threads,
            leaving: self.leaving,
            answered: self.answered,
            inquired: self.inquiry.is_some(),
            ear: self.ear.as_ref().map(|ear| descriptors.keep(ear)),
            voice: self.voice.save(descriptors),
            waiting: self.waiting.clone(),
            launch: self.launch.as_ref().map(|launch| descriptors.keep(launch.descriptor())),
            start: self.start.clone(),
            preloaded: self.preloaded,
            timeout: self.timeout,
            running: self.running.clone(),
            output: self.output.save(descriptors),
            socket: self.socket.clone(),
        }
    }
}
