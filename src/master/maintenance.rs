//! Sites that are closed for maintenance, by command. The state is the master's: it holds over reloads and upgrades, and is kept in
//! a file beside the control socket for the master that is started next. Workers are told, and tell nobody.

use super::Master;
use super::upstreams::unknown;
use crate::config::Network;
use crate::control::command::{MaintenanceStatus, Response};
use crate::control::maintenance::{self, Maintenance};
use crate::control::worker::ToWorker;
use crate::sys::clock;
use crate::sys::place::{Hold, Place};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Closed {
    /// By their labels; a reload may have taken one out of the configuration, and the next one brings it back.
    sites: BTreeMap<String, Maintenance>,
    /// Of the last message to workers: no two are the same.
    serial: u64,
}

/// A longer file is none of ours.
const LONGEST: u64 = 1 << 20;

/// Where it is kept: it goes with the socket by which it was said.
fn kept_at(control: &Path) -> PathBuf {
    let mut path = control.as_os_str().to_owned();
    path.push(".maintenance");
    path.into()
}

impl Closed {
    /// What a master before has kept.
    pub(super) fn load(control: &Path) -> Self {
        let path = kept_at(control);
        match read(&path) {
            Ok(None) => Self::default(),
            Ok(Some(sites)) => {
                for site in sites.iter().map(|closed| &closed.site) {
                    log::warn!(
                        target: "hatchery",
                        "maintenance: {site} is still closed; `hatchery maintenance off {site}` opens it"
                    );
                }
                let named = sites.into_iter().map(|closed| (closed.site.clone(), closed));
                Self { sites: named.collect(), serial: 0 }
            }
            Err(error) => {
                log::error!(
                    target: "hatchery",
                    "maintenance: {} cannot be read, and no site is closed: {error}", path.display()
                );
                Self::default()
            }
        }
    }

    /// Keeps it for the next master.
    fn keep(&self, control: &Path) -> io::Result<()> {
        let place = Place::of(&kept_at(control))?;
        if self.sites.is_empty() {
            return match place.unlink() {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Hold::Open(stranger) = place.hold() {
            return Err(io::Error::other(format!(
                "{stranger} can change the directory of the control socket"
            )));
        }
        let sites: Vec<&Maintenance> = self.sites.values().collect();
        place.replace(&serde_json::to_vec(&sites).unwrap_or_default(), 0o600)
    }

    fn message(&mut self, site: &str) -> ToWorker {
        self.serial += 1;
        let closed = self.sites.get(site).cloned().map(Box::new);
        ToWorker::Maintenance { serial: self.serial, site: site.to_owned(), closed }
    }
}

/// What is kept there, if it is ours.
fn read(path: &Path) -> io::Result<Option<Vec<Maintenance>>> {
    let place = match Place::of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        place => place?,
    };
    let Some(found) = place.stat()? else { return Ok(None) };
    place.admit_own(&found)?;
    let opened = place.open(OFlag::O_RDONLY)?;
    place.admit_own_open(opened.as_fd())?;
    let mut text = Vec::new();
    File::from(opened).take(LONGEST).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// What is wrong with what a command says.
fn fault(closed: &Maintenance) -> Option<String> {
    let bad = closed.allow.iter().find_map(|text| Network::parse(text).err());
    if let Some(complaint) = bad {
        return Some(format!("{}; {}", complaint.what, complaint.hint));
    }
    if closed.allow.len() > maintenance::BLOCKS {
        return Some(format!("at most {} blocks of addresses can be let in", maintenance::BLOCKS));
    }
    (!maintenance::is_message(&closed.message))
        .then(|| format!("a message is one line of at most {} characters", maintenance::CHARACTERS))
}

impl Master {
    /// Closes a site, or opens it again.
    pub(super) fn maintain(&mut self, name: &str, closed: Option<Maintenance>) -> Response {
        let failed = |text: String| Response::Failed { text };
        if let Some(text) = closed.as_ref().and_then(fault) {
            return failed(text);
        }
        let labels = match self.labels_of(name, closed.is_none()) {
            Ok(labels) => labels,
            Err(text) => return failed(text),
        };
        let mut done = Vec::new();
        for label in labels {
            let was_closed = match &closed {
                Some(closed) => {
                    let since = self.closed.sites.get(&label).map(|before| before.since);
                    let since = since.unwrap_or_else(|| clock::wall().seconds);
                    let closed = Maintenance { site: label.clone(), since, ..closed.clone() };
                    self.closed.sites.insert(label.clone(), closed).is_some()
                }
                None => self.closed.sites.remove(&label).is_some(),
            };
            let message = self.closed.message(&label);
            self.each_worker(|worker| worker.tell(&message));
            done.push(told(&label, closed.as_ref(), was_closed));
        }
        let mut text = done.join("\n");
        log::info!(target: "hatchery", "maintenance: {}", done.join("; "));
        if let Err(error) = self.closed.keep(self.control.path()) {
            let what = format!("it does not hold over a restart: {error}");
            log::warn!(target: "hatchery", "maintenance: {what}");
            text = format!("{text}\n{what}");
        }
        Response::Done { text }
    }

    /// The labels of the sites that have this name; to be opened also those that the configuration has lost.
    fn labels_of(&self, name: &str, is_over: bool) -> Result<Vec<String>, String> {
        let sites = &self.current.config.sites;
        let lower = name.to_ascii_lowercase();
        let mut labels: Vec<String> = Vec::new();
        for site in sites.iter().filter(|site| site.is_called(&lower)) {
            if !labels.contains(&site.label) {
                labels.push(site.label.clone());
            }
        }
        if labels.is_empty() && is_over && self.closed.sites.contains_key(name) {
            labels.push(name.to_owned());
        }
        if labels.is_empty() {
            let mut known: Vec<&str> = sites.iter().map(|site| site.label.as_str()).collect();
            known.dedup();
            return Err(unknown("site", name, &known));
        }
        Ok(labels)
    }

    /// Tells a new worker which sites are closed: before it accepts anybody.
    pub(super) fn tell_closed(&mut self, worker: u32) {
        if self.closed.sites.is_empty() {
            return;
        }
        let labels: Vec<String> = self.closed.sites.keys().cloned().collect();
        let messages: Vec<ToWorker> = labels.iter().map(|label| self.closed.message(label)).collect();
        let child = self.children.get_mut(&worker).and_then(|child| child.held.role.worker_mut());
        if let Some(worker) = child {
            messages.iter().for_each(|message| worker.tell(message));
        }
    }

    /// The labels of the sites.
    pub(super) fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> =
            self.current.config.sites.iter().map(|site| site.label.clone()).collect();
        labels.dedup();
        labels
    }

    /// What `status` shows.
    pub(super) fn maintenance(&self) -> Vec<MaintenanceStatus> {
        let now = clock::wall().seconds;
        let shown = self.closed.sites.values().map(|closed| MaintenanceStatus {
            site: closed.site.clone(),
            seconds: now.saturating_sub(closed.since).max(0).unsigned_abs(),
            allow: closed.allow.clone(),
            retry_after: closed.retry_after,
            message: closed.message.clone(),
        });
        shown.collect()
    }
}

/// What was done.
fn told(site: &str, closed: Option<&Maintenance>, was_closed: bool) -> String {
    match closed {
        None if was_closed => format!("{site} is open again"),
        None => format!("{site} was open"),
        Some(closed) if closed.allow.is_empty() => format!("{site} is closed: 503 for everybody"),
        Some(closed) => format!("{site} is closed: 503 for all but {}", closed.allow.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hatchery-closed-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_closed_is_kept_for_the_next_master_and_forgotten_when_nothing_is() {
        let folder = folder("kept");
        let control = folder.join("control.sock");
        let mut closed = Closed::load(&control);
        assert!(closed.sites.is_empty());
        let one = Maintenance { site: "a".to_owned(), retry_after: 5, ..Maintenance::default() };
        closed.sites.insert("a".to_owned(), one);
        closed.keep(&control).unwrap();
        assert_eq!(Closed::load(&control).sites, closed.sites);
        closed.sites.clear();
        closed.keep(&control).unwrap();
        closed.keep(&control).unwrap();
        assert!(!kept_at(&control).exists());
        std::fs::write(kept_at(&control), "garbage").unwrap();
        assert!(Closed::load(&control).sites.is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn no_two_messages_are_the_same() {
        let mut closed = Closed::default();
        let (one, two) = (closed.message("a"), closed.message("a"));
        assert_ne!(one, two);
    }

    #[test]
    fn what_a_command_says_is_bounded_so_that_a_worker_can_be_told() {
        let most = Maintenance {
            site: "a".repeat(253),
            allow: vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120".to_owned(); maintenance::BLOCKS],
            message: "\u{1f600}".repeat(maintenance::CHARACTERS),
            ..Maintenance::default()
        };
        assert_eq!(fault(&most), None);
        let mut closed = Closed::default();
        closed.sites.insert(most.site.clone(), most.clone());
        assert!(closed.message(&most.site).encode().len() <= crate::control::worker::PACKET);
        for bad in [
            Maintenance { allow: vec!["10.0.0.0/33".to_owned()], ..most.clone() },
            Maintenance { allow: vec!["10.0.0.0/8".to_owned(); maintenance::BLOCKS + 1], ..most.clone() },
            Maintenance { message: "a\nb".to_owned(), ..most.clone() },
            Maintenance { message: "a".repeat(maintenance::CHARACTERS + 1), ..most },
        ] {
            assert!(fault(&bad).is_some(), "{bad:?}");
        }
    }
}
