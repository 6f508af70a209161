//! What the master gives to a worker that it forks. Plain data, so that `master/` and `worker/` need not know each
//! other.

use super::Config;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// Everything a worker needs; it owns all of it after the fork.
#[derive(Debug)]
pub struct WorkerBoot {
    /// The configuration of its generation.
    pub config: Rc<Config>,
    /// Generation it belongs to, from 1.
    pub generation: u32,
    /// Bound, listening, non-blocking sockets.
    pub listeners: Vec<Listener>,
    /// SOCK_SEQPACKET from the master: `control::worker` messages. End of file: the master is dead, leave.
    pub control: OwnedFd,
    /// Pipe to the master: `control::worker` messages.
    pub tell: OwnedFd,
    /// The board (shared memory of the whole tree), as this worker may use it; its row is unique among living workers.
    pub board: crate::dispatch::WorkerBoard<'static>,
    /// One eventfd for every row of the board; this worker reads that of its row and pokes the others.
    pub wake: Rc<[OwnedFd]>,
    /// Directory with the sockets of app processes, see `control::app_socket`.
    pub runtime_dir: PathBuf,
    /// Process id of the master, which has made those sockets; an upgrade keeps it.
    pub master: u32,
    /// `config.temp_dir`, as the master opened it to look names up in it; `None` if it could not.
    pub temp_dir: Option<OwnedFd>,
    /// For each of `config.apps` its pool on the board; a pool keeps its number as long as the master lives.
    pub app_pools: Vec<u16>,
    /// Access log, opened for appending by the master.
    pub access_log: Option<OwnedFd>,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// As bound; `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Sites (indices into `config.sites`) that listen here, in the order of the file.
    pub sites: Vec<usize>,
}
