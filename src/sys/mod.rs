//! System calls, and the only `unsafe` of the crate. Functions here do one thing, retry EINTR and return
//! `io::Error`; they decide nothing.

pub(crate) mod carried;
pub mod channel;
pub mod clock;
pub(crate) mod code;
pub(crate) mod epoll;
pub(crate) mod exec;
pub(crate) mod fd;
pub(crate) mod file;

pub mod inherited;
pub(crate) mod inotify;
pub(crate) mod page_cache;
pub(crate) mod shm;
pub(crate) mod socket;
pub(crate) mod transfer;

pub(crate) mod alarm;
pub(crate) mod listener;
pub(crate) mod listeners;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod messages;
pub(crate) mod peer;
pub(crate) mod pidfd;
pub(crate) mod place;
pub(crate) mod poll;
pub(crate) mod process;
pub mod resources;
pub mod rights;
pub mod sandbox;
pub mod seqpacket;
pub(crate) mod signals;
pub mod sink;
pub(crate) mod stuck;
pub(crate) mod terminal;
pub(crate) mod title;
pub(crate) mod trust;
pub(crate) mod user;
