//! What all connections of a worker share, passed down by reference: configuration, clock, sockets to elsewhere, the
//! board. A connection and the context are disjoint fields of the worker, so a drive borrows both.

use super::beside::{Beside, Share};
use super::cache::Cache;
use super::challenges::Challenges;
use super::edits::Edits;
use super::exchange::Peer;
use super::filters::Encoders;
use super::guards::Guards;
use super::handler::file::{Files, Lookup};
use super::handler::pages::{Page, Pages};
use super::handshakes::Handshakes;
use super::https::Https;
use super::id::{Ids, RequestId};
use super::limiter::{Counted, Exceeded, Limiter};
use super::load::Meter;
use super::maintenance::Closed;
use super::outbox::Outbox;
use super::own::Owns;
use super::owner::Owner;
use super::passwords::{self, Passwords};
use super::reader::{self, Origin, Outcome, Reader, Whom};
use super::report::Report;
use super::spool::Store;
use super::stream::Rooms;
use super::throttle::{Held, Throttle};
use super::transport::Keyring;
use super::upstream::{Apps, Faults, Links, Servers};
use crate::balance::WorkerRoster;
use crate::buf::{Far, OpenFile, Stamp};
use crate::config::boot::WorkerBoot;
use crate::config::credentials::Credentials;
use crate::config::{App, Config, Network};
use crate::control::worker::ToMaster;
use crate::dispatch::WorkerBoard;
use crate::event::{Poll, Source};
use crate::http::Scheme;
use crate::http::date::ImfDate;
use crate::policy::auth::Login;
use crate::policy::chain::Checked;
use crate::slab::Key;
use crate::sys::carried::Carried;
use crate::sys::place::Files as KeptFiles;
use crate::sys::{clock, fd, messages, process, seqpacket};
use crate::timer::{Time, Timers, Wall, earliest};
use crate::{gateway, h1, h2, route};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fmt, io};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A client connection; it knows its real deadline.
    Client(Key),
    /// Idle connections to upstreams.
    Links,
    /// Requests that wait for a place at a server.
    Places,
    /// Requests that wait for a process of an app.
    Wants,
    /// Requests that lie behind others in a unit.
    Ahead,
    /// Servers that are to be checked.
    Checks,
    /// A check that has had its time.
    Check(Key),
    /// A link over which a request may run that nobody waits for.
    Unit(Key),
    /// The same, of which there is more to read.
    Loose(Key),
    /// A client of a worker that leaves: what still runs has had its time.
    Cut(Key),
}

const NO_THREAD: &str = "a file cannot be had, for want of a thread or descriptor to do it";

/// Bytes read at a time; also the most that a connection takes before others have their turn.
const READ_SIZE: usize = 64 * 1024;

/// See the module.
pub(super) struct Context {
    pub(super) config: Rc<Config>,
    pub(super) settings: Rc<h1::Settings>,
    pub(super) http2: Rc<h2::Settings>,
    pub(super) table: route::Table,
    /// Read once a turn.
    pub(super) now: Time,
    pub(super) wall: Wall,
    /// The `Date` field of this second.
    pub(super) date: ImfDate,
    pub(super) poll: Poll,
    pub(super) timers: Timers<Timer>,
    /// Whose clients to drive in this turn, or in the next if they come up while this one runs.
    pub(super) runnable: VecDeque<Owner>,
    /// Who has got what they waited for: they are driven in the turn that runs.
    pub(super) next: VecDeque<Owner>,
    pub(super) links: Links,
    pub(super) apps: Apps,
    pub(super) edits: Edits,
    /// What the server itself asks.
    pub(super) owns: Owns,
    pub(super) cache: Cache,
    pub(super) servers: Servers,
    /// What static locations serve.
    pub(super) files: Files,
    pub(super) pages: Pages,
    /// Sites that are closed for maintenance.
    pub(super) closed: Closed,
    /// Threads for what may wait.
    pub(super) reader: Reader,
    pub(super) listeners: Vec<ListenerInfo>,
    pub(super) https: Https,
    pub(super) board: WorkerBoard<'static>,
    pub(super) roster: WorkerRoster<'static>,
    pub(super) row: u16,
    pub(super) runtime_dir: PathBuf,
    /// Where bodies are kept for who is slow.
    pub(super) store: Store,
    /// The master's process id: it has made all sockets there.
    pub(super) master: u32,
    wake: Rc<[Carried]>,
    control: OwnedFd,
    /// The pipe to the master.
    tell: OwnedFd,
    outbox: RefCell<Outbox>,
    /// How busy the loop is; only where there may be more or fewer workers.
    meter: Option<Meter>,
    pub(super) report: Report,
    pub(super) keyring: Keyring,
    pub(super) handshakes: Handshakes,
    /// Whether some site asks its clients for certificates.
    pub(super) asks_clients: bool,
    pub(super) challenges: Challenges,
    /// Whose addresses are let in.
    pub(super) guards: Guards,
    passwords: Passwords,
    /// Where every read lands first.
    pub(super) scratch: Vec<u8>,
    ids: Ids,
    /// Shared by the rules that are asked of a request, one at a time.
    pub(super) limiter: RefCell<Limiter>,
    pub(super) throttle: Throttle,
    pub(super) faults: Faults,
    /// Requests that run beside another one of their connection.
    pub(super) beside: Beside,
    pub(super) rooms: Rooms,
    /// Coders of responses that have ended.
    pub(super) encoders: Encoders,
    /// A request found no descriptor left in this turn.
    pub(super) is_short: bool,
    /// The worker drains and leaves by then, whatever still runs.
    pub(super) leave_by: Option<Time>,
}

/// What an exchange needs to know of the listener it came by.
#[derive(Clone, Debug)]
pub(super) struct ListenerInfo {
    pub(super) local: Option<SocketAddr>,
    pub(super) unix: bool,
    /// What its clients speak.
    pub(super) scheme: Scheme,
    /// They are front servers that speak the uwsgi protocol.
    pub(super) front: bool,
    pub(super) sites: Vec<usize>,
    /// Peers who say first whose connection it is.
    pub(super) proxies: Vec<Network>,
}

/// What became of a part of a file that has to be read from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFirst {
    /// A thread reads it.
    Begun,
    /// There is no thread for it: whoever needs the bytes has to wait for the disk itself.
    Cannot,
    /// The disk does not answer.
    Hangs,
}

impl Context {
    /// Sets up everything that does not depend on a connection.
    ///
    /// # Errors
    /// For the operator: which static root or descriptor is at fault.
    pub(super) fn new(boot: WorkerBoot) -> Result<Self, String> {
        let (mut keyring, challenges) = (Keyring::default(), Challenges::of(&boot.credentials));
        keyring.renew(&boot.credentials, &boot.config);
        let (now, wall) = (clock::now(), clock::wall());
        let (settings, table) = (Rc::new(boot.config.limits.connection.clone()), boot.config.routes());
        Ok(Self {
            settings,
            http2: Rc::new(http2_settings(&boot.config)),
            table,
            now,
            wall,
            date: ImfDate::new(wall.seconds),
            poll: Poll::new().map_err(|error| format!("cannot create an epoll instance: {error}"))?,
            timers: first_timers(&boot.config, now),
            runnable: VecDeque::new(),
            next: VecDeque::new(),
            links: Links::default(),
            apps: Apps::new(&boot.config, &boot.app_pools),
            edits: Edits::default(),
            owns: Owns::default(),
            closed: Closed::default(),
            servers: Servers::new(&boot.config, boot.upstreams, process::open_files_limit()),
            files: Files::new(&boot.config, &boot.roots, boot.candidate)?,
            pages: Pages::new(&boot.config),
            cache: Cache::new(boot.cache, boot.cache_files.map(KeptFiles::in_directory), boot.board.row()),
            reader: Reader::new().map_err(|error| format!("cannot create an event descriptor: {error}"))?,
            listeners: Vec::new(),
            https: Https::default(),
            board: boot.board,
            roster: boot.roster,
            row: boot.board.row(),
            runtime_dir: boot.runtime_dir,
            store: Store::new(boot.config.workers.buffers, boot.temp_dir).with_pipes(boot.pipes),
            master: boot.master,
            wake: boot.wake,
            control: boot.control,
            tell: boot.tell,
            outbox: RefCell::default(),
            meter: (boot.config.workers.processes.min < boot.config.workers.processes.max)
                .then(|| Meter::new(now)),
            report: Report::new(&boot.config, boot.access_logs),
            keyring,
            handshakes: Handshakes::default(),
            asks_clients: boot.config.sites.iter().any(|site| site.clients().is_some()),
            guards: Guards::of(&boot.config, &boot.credentials),
            passwords: Passwords::of(&boot.credentials),
            challenges,
            scratch: vec![0; READ_SIZE],
            ids: Ids::new(),
            limiter: RefCell::new(Limiter::new(boot.limits)),
            throttle: Throttle::default(),
            faults: Faults::default(),
            beside: Beside::new(boot.config.workers.connections, process::open_files_limit()),
            rooms: Rooms::default(),
            encoders: Encoders::default(),
            is_short: false,
            leave_by: None,
            config: boot.config,
        })
    }

    /// Watches the control channel, this worker's eventfd and what happens to files.
    ///
    /// # Errors
    /// ENOSPC, ENOMEM.
    pub(super) fn watch_own(&self) -> io::Result<()> {
        self.poll.watch(self.control.as_fd(), Source::Control)?;
        self.poll.watch(self.tell.as_fd(), Source::Control)?;
        self.poll.watch(self.reader.descriptor(), Source::Reader)?;
        if let Some(changes) = self.files.changes() {
            self.poll.watch(changes, Source::Files)?;
        }
        self.poll.watch(self.own_wake().as_fd(), Source::Wake)
    }

    /// The eventfd by which others wake this worker.
    pub(super) fn own_wake(&self) -> &OwnedFd {
        self.wake.get(usize::from(self.row)).map_or(&self.control, |wake| &**wake)
    }

    /// Wakes the worker of another row.
    pub(super) fn poke(&self, row: u16) {
        if let Some(eventfd) = self.wake.get(usize::from(row)) {
            fd::poke(eventfd.as_fd());
        }
    }

    /// Wakes workers in which requests wait for what this one has fetched, or will not.
    pub(super) fn poke_for_cache(&mut self) {
        self.tidy_kept();
        let mut rows = self.cache.take_pokes();
        while rows != 0 {
            self.poke(rows.trailing_zeros() as u16);
            rows &= rows - 1;
        }
    }

    /// Wakes every worker but this one: the balance of connections has changed in a way that they must look at.
    pub(super) fn poke_others(&self) {
        (0..self.wake.len() as u16).filter(|row| *row != self.row).for_each(|row| self.poke(row));
    }

    /// Tells the master something; while the pipe is full, it waits.
    pub(super) fn tell(&self, message: &ToMaster) {
        self.outbox.borrow_mut().send(&self.tell, message);
    }

    /// Tells the master what was logged, which `hatchery logs hatchery` shows, and which logs cannot be written.
    pub(super) fn tell_logged(&mut self) {
        self.report.news().into_iter().for_each(|log| self.tell(&ToMaster::Log(log)));
        messages::take().into_iter().for_each(|text| self.tell(&ToMaster::Logged(text)));
    }

    /// Tells the master how often servers of upstreams were at fault, at once or when it is time.
    pub(super) fn tell_faults(&mut self, at_once: bool) {
        for (upstream, word, count) in self.faults.take(self.now, at_once) {
            // Apps have no such counters.
            let Some(upstream) = self.config.upstreams.get(upstream) else { continue };
            let upstream = upstream.name.clone();
            self.tell(&ToMaster::Faults { upstream, word: word.to_owned(), count });
        }
    }

    /// Tells the master how often limits were exceeded, at once or when it is time.
    pub(super) fn tell_limited(&mut self, at_once: bool) {
        for Exceeded { label, refused, spared } in self.limiter.get_mut().take(self.now, at_once) {
            self.tell(&ToMaster::Limited { label, refused, spared });
        }
    }

    /// The pipe to the master may have room.
    pub(super) fn tell_waiting(&self) {
        self.outbox.borrow_mut().flush(&self.tell);
    }

    /// The turn is over at `now`: tells the master if that makes the worker busier, or less busy.
    pub(super) fn measure(&mut self, now: Time, full: bool) {
        let begun = self.now;
        if let Some(load) = self.meter.as_mut().and_then(|meter| meter.note(begun, now, full)) {
            self.tell(&ToMaster::Load(load));
        }
    }

    /// When a turn must begin although nothing happens, or `also`.
    pub(super) fn deadline(&self, also: Option<Time>) -> Option<Time> {
        let measure = self.meter.as_ref().and_then(Meter::deadline);
        let faults = earliest(self.throttle.deadline(), self.faults.deadline());
        let faults = earliest(faults, self.limiter.borrow().deadline());
        let own = earliest(measure, earliest(faults, self.reader.deadline()));
        earliest(earliest(self.timers.next(), own), earliest(also, self.leave_by))
    }

    /// One packet from the master.
    ///
    /// # Errors
    /// EAGAIN when none waits.
    pub(super) fn hear(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
        seqpacket::receive(self.control.as_fd(), buffer)
    }

    /// Has a part of a file brought into memory; who waits is told when it is there.
    pub(super) fn read_first(&mut self, whom: Whom, file: BorrowedFd<'_>, part: Range<u64>) -> ReadFirst {
        let ordered = self.reader.read(whom, file, part, self.now);
        self.ordered("waits for the disk, for want of a thread or descriptor to do it", ordered)
    }

    /// Has something looked up or made that a static location needs for an answer; the exchange is told when it is there.
    pub(super) fn look_first(&mut self, owner: Owner, lookup: Lookup) -> ReadFirst {
        let origin = lookup.far.map_or(Origin::Work, Origin::Far);
        let (hand, work) = (self.reader.hand().clone(), lookup.work);
        let work = Box::new(move |_: &mut [u8]| Outcome::Looked(work(&hand)));
        let ordered = self.reader.order(Whom::Exchange(owner), origin, Some(lookup.path), work, self.now);
        self.ordered(NO_THREAD, ordered)
    }

    /// Has the next bytes of a far file read; who waits is told when they are there.
    pub(super) fn fetch(
        &mut self,
        whom: Whom,
        file: (&OpenFile, Far),
        part: &Range<u64>,
        stamp: Option<Stamp>,
    ) -> ReadFirst {
        let ordered = self.reader.fetch(whom, file, part, stamp, self.now);
        self.ordered(NO_THREAD, ordered)
    }

    fn ordered(&mut self, without: &'static str, ordered: io::Result<()>) -> ReadFirst {
        match ordered {
            Ok(()) => ReadFirst::Begun,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => ReadFirst::Hangs,
            Err(error) => {
                self.note(log::Level::Warn, without, format_args!("worker: {without}: {error}"));
                ReadFirst::Cannot
            }
        }
    }

    /// Has those roots looked at whose time it is.
    pub(super) fn look_at_roots(&mut self) {
        for due in self.files.take_due(&self.config) {
            let (look, (site, location)) = (due.look, due.place);
            let work = Box::new(move |_: &mut [u8]| Outcome::Replaced(look()));
            let whom = Whom::Root(site, location);
            if self.reader.order(whom, Origin::Far(due.far), Some(due.path), work, self.now).is_err() {
                self.files.take_in(due.place, None);
            }
        }
    }

    /// The error page of a site, which is looked at if it is time.
    pub(super) fn page(&mut self, site: Option<usize>, status: u16) -> Rc<Page> {
        let page = self.pages.get(site, status, self.now);
        for due in self.pages.take_due() {
            let (look, at) = (due.look, (due.site, due.number));
            let work = Box::new(move |_: &mut [u8]| Outcome::Page(look()));
            let whom = Whom::Page(due.site, due.number);
            if self.reader.order(whom, Origin::Pages, Some(due.path), work, self.now).is_err() {
                self.pages.take_in(at, None);
            }
        }
        page
    }

    /// Tells of reads that take long.
    pub(super) fn tell_long_reads(&mut self) {
        for path in self.reader.take_long(self.now) {
            // A name may hold anything, line ends too.
            let path = path.map(|path| path.to_string_lossy().escape_debug().to_string());
            let path = path.as_deref().unwrap_or("a file");
            log::warn!(
                "worker: reading {path} has taken {} s: its disk, or the server that has it, does not answer",
                reader::LONG.as_secs()
            );
        }
    }

    /// Whether a password is the user's of this file; `None`: the exchange is told when that is known.
    pub(super) fn check_password(&mut self, owner: Owner, users: &Path, login: &Login) -> Option<Checked> {
        let (number, hashing) = match self.passwords.ask(owner, users, login) {
            passwords::Ask::Known(checked) => return Some(checked),
            passwords::Ask::Waits => return None,
            passwords::Ask::Hash(number, hashing) => (number, hashing),
        };
        let work = Box::new(move |_: &mut [u8]| Outcome::Password(hashing.is_right()));
        let whom = Whom::Password(number);
        let ordered = self.reader.order(whom, Origin::Passwords, None, work, self.now);
        if self.ordered("a password cannot be checked, for want of a thread to do it", ordered)
            == ReadFirst::Begun
        {
            return None;
        }
        self.passwords.take_in(number, None);
        self.passwords.take(owner)
    }

    /// What has come of the password of an exchange that has waited.
    pub(super) fn take_checked(&mut self, owner: Owner) -> Option<Checked> {
        self.passwords.take(owner)
    }

    /// An exchange does not wait any more for its password to be checked.
    pub(super) fn forget_password(&mut self, owner: Owner) {
        let Some(number) = self.passwords.leave(owner) else { return };
        if self.reader.forget(Whom::Password(number)) {
            self.passwords.forget(number);
        }
    }

    /// Nobody waits any more for what is to be read.
    pub(super) fn forget_read(&mut self, whom: Whom) {
        let _ = self.reader.forget(whom);
    }

    /// What jobs have brought to clients; what they have brought to others is taken in.
    pub(super) fn take_read(&mut self) -> Vec<(Whom, Outcome)> {
        let mut read = Vec::new();
        for (whom, outcome) in self.reader.take_done() {
            match (whom, outcome) {
                (Whom::Exchange(_) | Whom::Connection(_), outcome) => read.push((whom, outcome)),
                (Whom::Cache, Outcome::Wrote(number, wrote)) => self.kept_is_written(number, wrote),
                (Whom::Root(site, location), Outcome::Replaced(found)) => {
                    let out_of_reach = self.files.take_in((site, location), Some(found));
                    if out_of_reach {
                        self.tell(&ToMaster::RootReplaced);
                    }
                }
                (Whom::Password(number), Outcome::Password(right)) => {
                    self.runnable.extend(self.passwords.take_in(number, Some(right)));
                }
                (Whom::Page(site, number), Outcome::Page(found)) => {
                    self.pages.take_in((site, number), Some(found));
                }
                _ => {}
            }
        }
        read
    }

    /// Reads both clocks, once a turn.
    pub(super) fn begin_turn(&mut self) {
        self.now = clock::now();
        let wall = clock::wall();
        if wall.seconds != self.wall.seconds {
            self.date = ImfDate::new(wall.seconds);
        }
        self.wall = wall;
        self.report.turn_begins(self.board);
    }

    /// Whether connections are due without waiting for events.
    pub(super) fn has_work(&self) -> bool {
        !(self.runnable.is_empty() && self.next.is_empty())
            || self.handshakes.any_waits()
            || self.owns.any_asked()
            || self.cache.has_woken()
    }

    /// Drives a client in this turn or the next.
    pub(super) fn run_soon(&mut self, key: Key) {
        self.runnable.push_back(Owner::none_of(key));
    }

    /// Takes what the master has anew; connections go on.
    pub(super) fn renew(&mut self, credentials: &Credentials) {
        if self.keyring.renew(credentials, &self.config) {
            self.challenges = Challenges::of(credentials);
            self.guards = Guards::of(&self.config, credentials);
            self.passwords.renew(credentials);
        }
    }

    /// A number that nobody can foresee.
    pub(super) fn random(&mut self) -> u64 {
        self.ids.number()
    }

    /// An id for a new exchange, 16 hexadecimal digits.
    pub(super) fn new_id(&mut self) -> RequestId {
        self.ids.draw()
    }

    /// A connection was accepted: as what it is counted; `None` if it is to be closed at once.
    pub(super) fn enter(&mut self, address: Option<SocketAddr>, listener: u16) -> Option<Counted> {
        let most = self.config.limits.connections_per_client;
        let address = address.map(|address| address.ip()).filter(|_| most > 0);
        match address {
            Some(address) if !self.is_proxy(address, listener) => {
                self.limiter.get_mut().connect(address, most)
            }
            _ => Some(Counted::Not),
        }
    }

    /// A connection is closed.
    pub(super) fn leave(&mut self, address: Option<SocketAddr>, counted: Counted) {
        if let Some(address) = address {
            self.limiter.get_mut().disconnect(address.ip(), counted);
        }
    }

    /// On whose account requests run beside others of their connection.
    pub(super) fn share_of(&self, peer: &Peer) -> Share {
        let address = peer.address.map(|address| address.ip());
        Share::of(address.filter(|address| !self.is_proxy(*address, peer.listener)))
    }

    /// Whether a site of the listener trusts this address as a proxy, which has many clients behind it.
    fn is_proxy(&self, address: IpAddr, listener: u16) -> bool {
        let Some(listener) = self.listeners.get(usize::from(listener)) else { return false };
        let mut sites = listener.sites.iter().filter_map(|site| self.config.sites.get(*site));
        sites.any(|site| listener.trusts(&site.trusted_proxies, Some(address)))
    }

    /// Logs a line that a client can cause at will. Of those with the same `kind` a few a second are written; of the
    /// others the number is.
    pub(super) fn note(&mut self, level: log::Level, kind: &str, line: fmt::Arguments<'_>) {
        const FEW: u32 = 5;
        if self.throttle.judge(level, kind, FEW, self.now) {
            log::log!(level, "{line}");
        }
    }

    /// Logs a fault of an upstream, an app or this machine that every request meets while it lasts: the first at once,
    /// then the number of those with the same `kind`, once a second.
    pub(super) fn note_fault(&mut self, level: log::Level, kind: &str, line: fmt::Arguments<'_>) {
        if self.throttle.judge(level, kind, 1, self.now) {
            log::log!(level, "{line}");
        }
    }

    /// Tells what [`Self::note`] and [`Self::note_fault`] have held back.
    pub(super) fn tell_held(&mut self, all: bool) {
        for Held { level, what, count } in self.throttle.told(self.now, all) {
            log::log!(level, "{count} more within a second: {what}");
        }
    }
}

/// Tunnels are offered where there is somebody who could be their other end.
fn http2_settings(config: &Config) -> h2::Settings {
    let apps = config.apps.iter().filter_map(App::upstream);
    let mut upstreams = config.upstreams.iter().chain(apps);
    let connect = upstreams.any(|upstream| upstream.protocol == gateway::Protocol::Http)
        || config.apps.iter().any(|app| app.kind.websocket().is_some());
    h2::Settings { connect, ..config.limits.http2.clone() }
}

fn first_timers(config: &Config, now: Time) -> Timers<Timer> {
    let mut timers = Timers::new(now);
    if config.upstreams.iter().any(|upstream| upstream.health.is_some()) {
        timers.insert(now, Timer::Checks);
    }
    timers
}

impl ListenerInfo {
    /// What is left to know of a listener once its descriptor went to the gate.
    pub(super) fn of(listener: &crate::config::boot::Listener) -> Self {
        Self {
            local: listener.local,
            unix: listener.local.is_none(),
            scheme: if listener.is_tls { Scheme::Https } else { Scheme::Http },
            front: listener.front,
            sites: listener.sites.clone(),
            proxies: listener.proxies.clone(),
        }
    }

    /// Whether what a peer that came by it says of the way of a request is believed: who may connect to the Unix socket of
    /// front servers is one.
    pub(super) fn believes(&self, networks: &[Network], address: Option<IpAddr>) -> bool {
        (self.front && self.unix && address.is_none()) || self.trusts(networks, address)
    }

    /// Whether a peer that came by it is one of these proxies.
    pub(super) fn trusts(&self, networks: &[Network], address: Option<IpAddr>) -> bool {
        networks.iter().any(|network| match address {
            Some(_) => network.contains(address),
            None => self.unix && network.contains(None),
        })
    }
}
