//! System calls, and the only `unsafe` of the crate. Functions here do one thing, retry EINTR and return
//! `io::Error`; they decide nothing.

pub mod channel;
pub mod clock;
pub mod code;
pub mod epoll;
pub mod exec;
pub mod fd;
pub mod file;
pub mod inherited;
pub mod inotify;
pub mod page_cache;
pub mod shm;
pub mod socket;
pub mod transfer;

pub mod alarm;
pub mod listener;
pub mod lock;
pub mod peer;
pub mod pidfd;
pub mod place;
pub mod poll;
pub mod process;
pub mod resources;
pub mod rights;
pub mod sandbox;
pub mod seqpacket;
pub mod signals;
pub mod sink;
pub mod stuck;
pub mod terminal;
pub mod title;
pub mod trust;
pub mod user;
