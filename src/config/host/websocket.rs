//! What an app's WebSockets may do.

use super::super::located::{Given, Report};
use super::super::problem::Complaint;
use super::super::walk::{Section, Walk};
use std::time::Duration;

/// The longest times, and the longest message.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST: u64 = 4 << 30;

/// `websocket: (…)` of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WebSocket {
    /// Longest message of a client, in bytes.
    pub(crate) max_message: u64,
    /// A client that has said nothing for so long gets a ping.
    pub(crate) ping_interval: Duration,
    /// A client that says nothing for so long after that is gone.
    pub(crate) ping_timeout: Duration,
}

impl Default for WebSocket {
    fn default() -> Self {
        let twenty = Duration::from_secs(20);
        Self { max_message: 16 << 20, ping_interval: twenty, ping_timeout: twenty }
    }
}

impl Section for WebSocket {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("max_message", &mut self.max_message);
        keys.key("ping_interval", &mut self.ping_interval);
        keys.key("ping_timeout", &mut self.ping_timeout);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        for (key, value) in [("ping_interval", self.ping_interval), ("ping_timeout", self.ping_timeout)] {
            if !(Duration::from_secs(1)..=LONGEST).contains(&value) {
                let what = format!("`{key}` is out of range");
                report.add(&given.place_of(key), Complaint::new(what, "from \"1s\" to \"1d\""));
            }
        }
        if !(1..=MOST).contains(&self.max_message) {
            let what = "`max_message` is out of range";
            report.add(&given.place_of("max_message"), Complaint::new(what, "from \"1B\" to \"4GiB\""));
        }
    }
}
