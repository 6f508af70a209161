//! `hatchery logs`: what was printed, and what is printed from now on.

use super::Master;
use super::journal::OWN;
use crate::control::command::{LogLine, Response};
use crate::supervisor::Ticket;
use crate::sys::messages;
use crate::timer::Time;
use serde::{Deserialize, Serialize};

/// Clients that may wait for lines at a time; the other places of the control socket stay free for commands.
const FOLLOWERS: usize = 8;

/// A client that waits for lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Follower {
    ticket: Ticket,
    name: Option<String>,
    after: u64,
}

impl Master {
    pub(super) fn show_logs(
        &mut self,
        ticket: Ticket,
        name: Option<String>,
        after: u64,
        wait: bool,
        now: Time,
    ) {
        let config = &self.current.config;
        let apps = config.apps.iter().map(|app| app.name.as_str());
        let daemons = config.daemons.iter().map(|daemon| daemon.name.as_str());
        let jobs = config.cron.iter().map(|job| job.name.as_str());
        let names: Vec<&str> = apps.chain(daemons).chain(jobs).chain([OWN]).collect();
        if let Some(name) = name.as_deref().filter(|name| !names.contains(name)) {
            let text = format!("there is no app, daemon or job \"{name}\"; there is: {}", names.join(", "));
            return self.control.answer(ticket, &Response::Failed { text }, now);
        }
        self.journal.retain(|kept| names.contains(&kept));
        let lines = self.journal.after(name.as_deref(), after);
        if !wait || !lines.is_empty() {
            let response = self.logs_answer(name.as_deref(), lines);
            return self.control.answer(ticket, &response, now);
        }
        self.followers.retain(|follower| self.control.waits(follower.ticket));
        if self.followers.len() >= FOLLOWERS {
            let text = format!("{FOLLOWERS} others follow the log already");
            return self.control.answer(ticket, &Response::Failed { text }, now);
        }
        self.followers.push(Follower { ticket, name, after });
    }

    fn logs_answer(&self, name: Option<&str>, lines: Vec<LogLine>) -> Response {
        Response::Logs { lines, last: self.journal.last(), count: self.journal.count(name) }
    }

    /// Gives clients that wait the lines that have come.
    pub(super) fn answer_followers(&mut self, now: Time) {
        messages::take().iter().for_each(|message| self.journal.note(message));
        for follower in std::mem::take(&mut self.followers) {
            let lines = self.journal.after(follower.name.as_deref(), follower.after);
            if lines.is_empty() {
                self.followers.push(follower);
            } else {
                let response = self.logs_answer(follower.name.as_deref(), lines);
                self.control.answer(follower.ticket, &response, now);
            }
        }
    }
}
