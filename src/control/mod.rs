//! Messages between the processes of the tree, as plain data with their encoding: master and worker ([`worker`]),
//! worker or master and app process ([`frame`]), commands and the running master ([`command`]); how a process ended
//! ([`exit`]), what of their words people may see ([`text`]), and bytes as text ([`digits`]).

/// Version of all that the processes of one tree say to each other ([`frame`], [`worker`], the paths of sockets): the
/// next one whenever old and new processes would not understand each other, so that an upgrade between them is refused.
pub(crate) const PROTOCOL: u32 = 4;

pub(crate) mod cgi;
pub mod command;
pub(crate) mod digits;
pub(crate) mod exit;
pub mod frame;
pub(crate) mod helper;
pub mod maintenance;
pub(crate) mod pool;
pub mod text;
pub mod worker;

use std::path::{Path, PathBuf};

/// The socket on which the app process of that incarnation in slot `slot` of `pool` listens. Workers find it from the
/// unit's word on the board alone; the incarnation keeps them from reaching a successor.
#[must_use]
pub(crate) fn app_socket(runtime_dir: &Path, pool: u16, slot: u16, incarnation: u32) -> PathBuf {
    runtime_dir.join(format!("app-{pool}-{slot}-{incarnation}.sock"))
}
