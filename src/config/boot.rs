//! What the master gives to a worker that it forks. Plain data, so that `master/` and `worker/` need not know each
//! other.

use super::credentials::Credentials;
use super::{Config, Network, Server, Upstream};
use crate::sys::carried::Carried;
use crate::sys::file;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Bytes that a pipe of a worker takes, and how many it has: they are memory of the kernel once something is in them.
pub(crate) const PIPE_SIZE: usize = 256 * 1024;
pub(crate) const PIPES: usize = 16;

/// Everything a worker needs; it owns all of it after the fork.
#[derive(Debug)]
pub struct WorkerBoot {
    /// The configuration of its generation.
    pub(crate) config: Rc<Config>,
    /// Bound, listening, non-blocking sockets.
    pub(crate) listeners: Vec<Listener>,
    /// SOCK_SEQPACKET from the master: `control::worker` messages. End of file: the master is dead, leave.
    pub(crate) control: OwnedFd,
    /// Pipe to the master: `control::worker` messages.
    pub(crate) tell: OwnedFd,
    /// The board (shared memory of the whole tree), as this worker may use it; its row is unique among living workers.
    pub(crate) board: crate::dispatch::WorkerBoard<'static>,
    /// The roster of the servers of upstreams (shared memory too), as this worker may use it.
    pub(crate) roster: crate::balance::WorkerRoster<'static>,
    /// What workers share of the response cache, as this worker may use it.
    pub(crate) cache: crate::cache::store::WorkerStore<'static>,
    /// The directory of its files (`sys::place::Files`); `None`: nothing is kept on disk.
    pub(crate) cache_files: Option<OwnedFd>,
    /// The table of limits (shared memory too), as this worker may use it.
    pub(crate) limits: crate::policy::limit::table::WorkerTable<'static>,
    /// For each of `config.upstreams` what it has on the roster.
    pub(crate) upstreams: Vec<Enrolled>,
    /// One eventfd for every row of the board; this worker reads that of its row and pokes the others.
    pub(crate) wake: Rc<[Carried]>,
    /// Directory with the sockets of app processes, see `control::app_socket`.
    pub(crate) runtime_dir: PathBuf,
    /// Process id of the master, which has made those sockets; an upgrade keeps it.
    pub(crate) master: u32,
    /// `config.temp_dir`, as the master opened it to look names up in it; `None` if it could not.
    pub(crate) temp_dir: Option<OwnedFd>,
    /// Pipes of [`PIPE_SIZE`] bytes, both ends of each, for large answers of upstreams; the sandbox lets it make none itself.
    pub(crate) pipes: Vec<(OwnedFd, OwnedFd)>,
    /// For each of `config.apps` its pool on the board; a pool keeps its number as long as the master lives.
    pub(crate) app_pools: Vec<u16>,
    /// What each static root is, as it is written: the worker serves no other directory. `None`: none is there.
    pub(crate) roots: HashMap<PathBuf, Option<StaticRoot>>,
    /// Access logs (`config.access_logs()`), opened for appending by the master.
    pub(crate) access_logs: Vec<OwnedFd>,
    /// For its listeners with TLS.
    pub(crate) credentials: Credentials,
    /// It decides about a reload: what it cannot serve is to refuse it.
    pub(crate) candidate: bool,
}

/// An upstream on the roster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    /// Its number, which it keeps as long as the master lives.
    pub(crate) number: u16,
    /// Those of its servers, one for each of [`super::Upstream::places`].
    pub(crate) servers: Vec<u16>,
    /// What stands for each of them in a cookie; empty where that is on the roster.
    pub(crate) tags: Vec<String>,
}

impl Enrolled {
    /// Of what has no servers there.
    pub(crate) fn nobody() -> Self {
        Self { number: u16::MAX, ..Self::default() }
    }

    /// The entries of the upstream, each with the numbers of its places.
    pub(crate) fn entries<'a>(
        &'a self,
        upstream: &'a Upstream,
    ) -> impl Iterator<Item = (&'a Server, &'a [u16])> {
        let mut numbers = self.servers.as_slice();
        upstream.servers.iter().filter_map(move |server| {
            let (own, rest) = numbers.split_at_checked(server.address.places())?;
            numbers = rest;
            Some((server, own))
        })
    }
}

/// A directory that was found good to be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StaticRoot {
    /// Where it is, without links.
    pub(crate) real: PathBuf,
    /// Device and inode.
    pub(crate) id: (u64, u64),
    /// An inode's number may soon be another directory's.
    made: Option<Duration>,
}

impl StaticRoot {
    /// The directory that the path leads to.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn find(path: &Path) -> io::Result<Self> {
        let real = path.canonicalize()?;
        let directory = file::open_directory(&real)?;
        let id = file::metadata(directory.as_fd())?.id;
        let made = file::made(directory);
        Ok(Self { real, id, made })
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// As bound; `None` for a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// Sites (indices into `config.sites`) that listen here, in the order of the file.
    pub(crate) sites: Vec<usize>,
    /// TLS is spoken there, HTTP inside.
    pub(crate) is_tls: bool,
    /// Its clients are front servers that speak the uwsgi protocol.
    pub(crate) front: bool,
    /// Peers who say first whose connection it is.
    pub(crate) proxies: Vec<Network>,
}
