//! How a pool is: what the supervisor decides, the master publishes on the board, and workers read there.

use crate::timer::Time;
use serde::{Deserialize, Serialize};

/// What requests that wait for a pool should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolState {
    /// Nothing runs; the supervisor must be told that somebody waits.
    Asleep,
    /// Processes boot; wait.
    Booting,
    /// At least one process is open.
    Serving,
    /// It is stopped by hand; answer 503.
    Stopped,
    /// The last boot failed; answer 503, the next attempt comes at that time.
    Failed {
        /// When.
        retry: Time,
    },
}
