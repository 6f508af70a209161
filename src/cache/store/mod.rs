//! What all workers share of the response cache: an index, objects in memory or in files, who fetches what, and what was
//! purged. Pure: it sees memory as `&[AtomicU64]`, never a descriptor or the clock.
//!
//! | file | what it has |
//! |---|---|
//! | `layout` | where each word is, and who writes it |
//! | `entry` | the words of the index; names of files |
//! | `index` | sets of entries: found, put, aged, removed |
//! | `arena` | the memory of objects: chunks that are filled in turn |
//! | `object` | an object as bytes, with its key and a checksum |
//! | `disk` | an object as a file, and the budget of files |
//! | `claims` | one fetch for many |
//! | `bans` | purges |
//! | `view`, `worker`, `master` | the words as a process sees them, and what it does with them |
//!
//! A request looks for what is kept ([`WorkerStore::find`]). If nothing is, it asks for the right to fetch it
//! ([`View::claim`]), remembers how the store is ([`WorkerStore::fetch`]), fetches, keeps what came ([`WorkerStore::put`]) or
//! says that it is not to be kept ([`WorkerStore::decline`]), and gives the claim up ([`View::release`]), whatever happened.
//!
//! There are no locks, and nothing holds of two words together. Who finds nonsense finds nothing.
//!
//! # What a liar can reach
//!
//! A worker that was taken over writes what it likes into its own area and all shared words, the arena included. Whoever may
//! keep responses may keep wrong ones: an object that it makes up, with its key and a good checksum, is answered as any other.
//! Nothing else comes of it: no process ends, none waits for longer than it would, nobody reads outside.
//!
//! | it writes | what comes of it |
//! |---|---|
//! | entries of the index | misses; files that nothing leads to, which are removed; others stay until they are |
//! | objects, parts of them | misses: the checksum is compared after a copy was made |
//! | objects with another key | misses: the key is compared in the copy |
//! | claims | fetches of the same by several, or requests that wait as long as one may |
//! | who waits | others are poked for nothing, or wait as long as one may |
//! | epochs | nothing is kept, or what a request has changed is kept although it should not be |
//! | hands, turns of chunks | objects leave early |
//! | what it fills | two chunks that nobody else fills |
//! | what it counts | files are removed for nothing or are more than the budget, until the sum is made anew |
//!
//! Bans, the secret and the life are the master's: no worker can undo a purge.

mod arena;
mod bans;
mod claims;
mod disk;
mod entry;
mod index;
mod layout;
mod master;
mod object;
#[cfg(test)]
mod tests;
mod view;
mod worker;

pub use bans::{Ban, Url};
pub use claims::{Claim, Claimed};
pub use disk::{Draft, FIXED, Front, LONGEST_HEAD, Pending, body_sum};
pub use entry::FileName;
pub use index::{Census, Filed};
pub use layout::{Layout, ROWS, Sizes};
pub use master::MasterStore;
pub use object::{Kept, MOST_TAGS, Object};
pub use view::{Count, Named, View};
pub use worker::{Fetch, Found, Put, Seen, WorkerStore};
