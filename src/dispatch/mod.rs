//! Which unit of which app process takes a request: claims, queues and hand-over on shared words. Pure: it sees
//! memory as `&[AtomicU64]`, never a descriptor or the clock.
//!
//! A request waits in the worker that read it. A worker that finds an idle unit claims it with one CAS. A worker that
//! finds none publishes the arrival time of the oldest request in its queue, its *head*; who frees a unit offers it to
//! the worker with the oldest head and pokes that worker's eventfd.
//!
//! There are no locks and no invariant over two words. No request waits beside an idle unit because of one rule, with
//! every access sequentially consistent: a waiter publishes its head and *then* scans the units; who frees a unit makes
//! it idle and *then* scans the heads. Whichever comes second sees the other. The same rule read the other way covers
//! a head that is withdrawn: its owner clears it and *then* passes on what was offered to it; who offers a unit does so
//! and *then* looks whether the head is still there.
//!
//! The algorithms in `steps` and `sweep` are small machines of one atomic access a step. The real methods run them in a
//! loop; `interleave.rs` runs every order of the steps of two workers and a master, with deaths, withdrawals and lies.
//!
//! # What a liar can reach
//!
//! A worker that was taken over writes what it likes, wherever it can write: the words of its own row, and those of the
//! units, which all workers exchange. All others are mapped read-only for it ([`Board::area`], `sys::shm`). Whatever it
//! does there, *requests wait or fail*; no process ends, none is started beyond what the configuration allows, and nobody
//! reads outside the board or loops for long (each retry is counted).
//!
//! | it writes | who reads it | what comes of it |
//! |---|---|---|
//! | its beat | master: hangs it? | it alone is ended, or it alone is not |
//! | its connections, accepting | workers: who accepts | the others stand back, and look for themselves every 250 ms |
//! | its connections, requests, activity, what it holds | master: does anybody need the workers, the app? | they stay awake; no worker can hide what another one does |
//! | its requests | master: `status` | a wrong number, of its own and in their sum |
//! | its heads | workers, master: who waits longest | freed units are offered to it: requests of others wait until `queue_timeout`, 503 |
//! | when it saw a slow request | workers: may requests go ahead? | none do: the others are slower |
//! | a unit to idle or offered while a request runs | workers | a second request is sent to it, and waits in the host until the first is over: a host runs one at a time in a unit |
//! | a unit to claimed, orphaned, leaving, gone, or garbage | workers | requests wait; `sweep` takes it back in two ticks, unless a worker that it names always has others of that pool |
//! | a unit of another incarnation | workers | nothing: it is not claimed, since the slot's header is the master's |
//! | units of a process that leaves to *not running* | master: may it go? | it is told to leave early, and does so when its requests are over |
//! | units of a process that leaves to *running* | master: may it go? | it leaves at the end of its time, as one would that has a long request |
//! | that all units run | master: is the app idle? | it stays awake |
//!
//! Neither the state of a pool, the number of slots, rows and threads, nor the incarnation of a process can be written by
//! a worker: so none can have others answer 503, or look where nothing is. When a worker is reaped, all words of its row
//! are cleared; when a process is replaced, so are its units.

pub(crate) mod ahead;
pub mod board;
#[cfg(test)]
mod interleave;
mod layout;
mod master;
mod steps;
mod sweep;
mod word;
mod worker;

pub use crate::control::pool::PoolState;
pub use board::{Board, Freed, Lease, Rows};
pub(crate) use master::MasterBoard;
pub(crate) use sweep::{Process, Sweep};
pub(crate) use worker::WorkerBoard;

#[cfg(test)]
mod lie_tests;
