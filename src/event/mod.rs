//! Readiness: the only user of mio. A socket is registered once, for reading and writing, edge-triggered; its
//! [`Endpoint`] remembers what it may do until the kernel says otherwise. Shared listeners are the exception: they are
//! level-triggered and exclusive, see `sys::epoll`.

mod endpoint;
mod poll;
mod token;

pub(crate) use endpoint::{Endpoint, Read};
pub(crate) use poll::{Poll, Readiness};
pub(crate) use token::Source;
