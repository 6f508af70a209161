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
//! The algorithms in `steps` are small machines of one atomic access a step. The real methods of [`Board`] run them
//! in a loop; `interleave.rs` runs every order of the steps of two workers and a master, with deaths and withdrawals.

pub mod board;
#[cfg(test)]
mod interleave;
mod layout;
mod rows;
mod steps;
mod word;

pub use board::{Board, Freed, Lease, PoolState, Rows};
