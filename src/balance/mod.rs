//! Which server of an upstream takes a request, how its servers are, and what of it all workers share. Pure: no I/O, no
//! clock.
//!
//! | file | what it decides |
//! |---|---|
//! | `choose` | which server, of what is known of them all |
//! | `hash` | where requests with something in common go |
//! | `health` | what failures, successes and checks make of a server |
//! | `roster` | the words in shared memory: what is in flight, who waits, health, checks, the operator's wishes |
//! | `names` | which addresses of a name are servers, and when it is looked up again |
//! | `sticky` | which server has a session, by a cookie |
//! | `budget` | how many requests may be repeated |
//! | `keep` | how many connections to each are worth keeping |

mod budget;
mod choose;
pub(crate) mod hash;
mod health;
mod keep;
mod names;
pub mod roster;
pub(crate) mod sticky;

pub(crate) use budget::Budget;
pub(crate) use choose::{Ask, Chooser, Method, Picked, Seen, Standing, WHOLE};
pub(crate) use health::{Cause, Passive, State};
pub(crate) use keep::{Keep, WINDOW};
pub(crate) use names::{Found, Lookups, PLACES, assign};
pub(crate) use roster::{Change, MasterRoster, Roster, Spot, Wish, WorkerRoster};
