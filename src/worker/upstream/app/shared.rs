//! The stream that all units of a process share ([`crate::gateway::shared`]): one for each process to which this worker has
//! sent something. It serves no exchange alone, so it is loose; what comes over it is laid where the exchanges find it, and
//! they are driven in the same turn.

use super::{AppQueue, named};
use crate::buf::Segment;
use crate::config::App;
use crate::control::frame::MESSAGE;
use crate::control::worker::{Complaint, ToMaster};
use crate::dispatch::WorkerBoard;
use crate::dispatch::board::Lease;
use crate::event::Read;
use crate::gateway::app::Body;
use crate::gateway::shared::{self, Asked, Part, Streams};
use crate::gateway::websocket::Settings;
use crate::slab::Key;
use crate::sys::fd::Handed;
use crate::timer::Time;
use crate::worker::context::{Context, Timer};
use crate::worker::owner::Owner;
use crate::worker::spool::RequestBody;
use crate::worker::upstream::READS;
use crate::worker::upstream::arrivals::{Arrivals, Stranger};
use crate::worker::upstream::links::{Link, Peer, Unit};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A process whose loop has not answered for so long, when it was told that nobody waits for a request, is hung.
const HUNG: Duration = Duration::from_secs(10);

/// What may come besides the window: heads and the like, which cost none of it.
const SLACK: u64 = 256 * 1024;

/// What a file costs: a descriptor of this worker.
const FILE: u64 = 64 * 1024;

/// See the module.
pub(in crate::worker) struct SharedLink {
    /// Its process: any unit of it.
    unit: Unit,
    streams: Streams<Kept>,
    /// Descriptors that came along.
    pub(in crate::worker) arrivals: Arrivals,
    /// What is to be written behind the output of the link: a descriptor goes with a first byte.
    waiting: VecDeque<(Vec<u8>, Option<Rc<Handed>>)>,
    /// What may come of a request before it is taken, in bytes or what costs as much.
    most: u64,
    /// It has ended; what came before is still to be taken.
    lost: bool,
    /// A timer will look at it.
    armed: bool,
}

/// What is kept of a request that is not over.
struct Kept {
    /// Who takes what comes of it; `None`: nobody waits any more.
    owner: Option<Owner>,
    unit: Unit,
    came: VecDeque<Came>,
    /// What that costs.
    ahead: u64,
    holds: Holds,
    /// Its task has ended.
    is_free: bool,
    /// The master was told of it.
    told: bool,
    /// The loop of its process is hung if it says nothing by then.
    until: Option<Time>,
}

/// What a request holds of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Unit,
    /// It has given its unit back, and its process does not leave before its client.
    Tunnel,
    /// Nor does that matter any more: the client has left.
    Nothing,
}

/// Why nobody takes any more of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Leave {
    /// Its client has left, or has all of it.
    Client,
    /// It had its time.
    Late,
    /// The host knows already that it is over.
    Told,
}

/// What came of a request.
#[derive(Debug)]
pub(in crate::worker) enum Came {
    Part(Part),
    /// The next part of the body; `None`: its descriptor was lost on the way, when this worker had none left.
    File(Option<Segment>),
    /// The process has gone, or what it says is not the protocol.
    Lost,
}

impl Came {
    /// What it costs to keep it: bytes, or as much.
    fn cost(&self) -> u64 {
        match self {
            Self::Part(Part::Body(bytes)) => bytes.len() as u64,
            Self::Part(Part::Message { bytes, .. }) => bytes.len() as u64 + u64::from(MESSAGE),
            Self::Part(_) | Self::Lost => MESSAGE.into(),
            Self::File(_) => FILE,
        }
    }
}

/// A process to which this worker has such a stream.
pub(in crate::worker) struct Standing {
    slot: u16,
    incarnation: u32,
    key: Key,
    /// Requests of this worker that are not over.
    running: u32,
}

/// What one look at a stream has brought.
#[derive(Default)]
struct Taken {
    /// Who has something to take.
    woken: Vec<Owner>,
    /// Requests whose task has ended.
    freed: Vec<u32>,
    /// There is more to read than others should wait for.
    more: bool,
}

/// Why a stream is of no more use.
enum Trouble {
    Ended,
    Stranger(Stranger),
    Malformed(String),
}

impl From<Stranger> for Trouble {
    fn from(stranger: Stranger) -> Self {
        Self::Stranger(stranger)
    }
}

impl SharedLink {
    /// Whether the process still has to answer for a request that nobody waits for.
    pub(in crate::worker) fn is_awaited(&self) -> bool {
        !self.lost && self.streams.answers().any(|(answer, kept)| kept.until.is_some() && !answer.has_ended())
    }

    /// Lays what came of a request where its exchange finds it.
    fn lay(&mut self, stream: u32, part: Part, taken: &mut Taken, now: Time) -> Result<(), Trouble> {
        if part == Part::Free {
            taken.freed.push(stream);
            return Ok(());
        }
        let came = match part {
            Part::File { offset, len } => {
                let file = self.arrivals.file(now)?.map(Rc::new);
                Came::File(file.map(|file| Segment::File { file, offset, len, stamp: None }))
            }
            part => Came::Part(part),
        };
        let Some(kept) = self.streams.get_mut(stream) else { return Ok(()) };
        match kept.owner {
            Some(owner) => {
                if kept.came.is_empty() {
                    taken.woken.push(owner);
                }
                kept.ahead += came.cost();
                kept.came.push_back(came);
                if kept.ahead > self.most {
                    return Err(Trouble::Malformed("more of an answer than has room".to_owned()));
                }
            }
            None if matches!(came, Came::Part(Part::End | Part::Broken(..))) => kept.until = None,
            None => {}
        }
        Ok(())
    }
}

impl AppQueue {
    /// Claims a unit where units share a stream: of the process to which this worker has sent the least.
    pub(super) fn claim_shared(&self, board: WorkerBoard<'_>) -> Option<Lease> {
        if self.shared.is_empty() {
            return None;
        }
        let running = |slot, incarnation| self.standing(slot, incarnation).map_or(0, |one| one.running);
        let shared = board.shared(self.pool);
        let mut slots: Vec<_> =
            shared.map(|(slot, incarnation)| (running(slot, incarnation), slot)).collect();
        slots.sort_unstable();
        slots.into_iter().find_map(|(_, slot)| board.claim_in(self.pool, slot))
    }

    fn standing(&self, slot: u16, incarnation: u32) -> Option<&Standing> {
        self.shared.iter().find(|one| (one.slot, one.incarnation) == (slot, incarnation))
    }

    fn count(&mut self, key: Key, change: impl FnOnce(u32) -> u32) {
        if let Some(one) = self.shared.iter_mut().find(|one| one.key == key) {
            one.running = change(one.running);
        }
    }
}

impl Context {
    /// Whether the units of that process share one stream.
    pub(in crate::worker) fn is_shared(&self, lease: Lease) -> bool {
        self.board.is_shared(lease.pool, lease.slot, lease.incarnation)
    }

    /// The stream to the process of a unit: one that is open, or a new one.
    pub(super) fn shared_stream_to(&mut self, unit: Unit) -> io::Result<Key> {
        let Lease { slot, incarnation, .. } = unit.lease;
        let queue = self.apps.queues.get(unit.app);
        if let Some(one) = queue.and_then(|queue| queue.standing(slot, incarnation)) {
            return Ok(one.key);
        }
        let (endpoint, closer) = self.connect_to(unit)?;
        let buffer = self.config.apps.get(unit.app).map(|app| app.response_buffer);
        let peer = Peer::Shared(Box::new(SharedLink {
            unit,
            streams: Streams::default(),
            arrivals: Arrivals::new(unit.app, closer),
            waiting: VecDeque::new(),
            most: u64::from(shared::window(buffer.unwrap_or_default().memory)) + SLACK,
            lost: false,
            armed: false,
        }));
        let key = self.links.add(endpoint, None, peer, None, &self.poll)?;
        if let Some(link) = self.links.get_mut(key) {
            let row = self.row;
            link.out.encode(|out| shared::hello(row, out));
        }
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.shared.push(Standing { slot, incarnation, key, running: 0 });
        }
        Ok(key)
    }

    /// What the WebSockets of an app may do.
    pub(in crate::worker) fn websockets_of(&self, app: usize) -> Rc<Settings> {
        self.apps.queues.get(app).map(|queue| Rc::clone(&queue.websocket)).unwrap_or_default()
    }

    fn shared(&mut self, key: Key) -> Option<&mut SharedLink> {
        match &mut self.links.get_mut(key)?.peer {
            Peer::Shared(shared) => Some(shared),
            _ => None,
        }
    }

    /// Has a request be sent by the end of the turn; `encode` writes the frames. Its number; `None`: the stream is lost.
    pub(super) fn send_shared(
        &mut self,
        key: Key,
        (unit, owner): (Unit, Owner),
        asked: Asked,
        body: &RequestBody,
        encode: impl FnOnce(u32, Body<'_>, &mut Vec<u8>),
    ) -> Option<u32> {
        let kept = Kept {
            owner: Some(owner),
            unit,
            came: VecDeque::new(),
            ahead: 0,
            holds: Holds::Unit,
            is_free: false,
            told: false,
            until: None,
        };
        let stream = self.shared(key)?.streams.begin(unit.lease.thread, asked, kept)?;
        match body {
            RequestBody::Memory { bytes, .. } if bytes.is_empty() => {
                self.put(key, None, |out| encode(stream, Body::None, out));
            }
            RequestBody::Memory { bytes, .. } => {
                self.put(key, None, |out| encode(stream, Body::Inline(bytes), out));
            }
            RequestBody::File { file, .. } => {
                self.put(key, Some(Rc::clone(file)), |out| encode(stream, Body::Descriptor, out));
            }
        }
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.count(key, |running| running + 1);
        }
        Some(stream)
    }

    /// Has frames be written by the end of the turn, the first with a descriptor, if there is one.
    pub(in crate::worker) fn put(
        &mut self,
        key: Key,
        descriptor: Option<Rc<Handed>>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(link) = self.links.get_mut(key) else { return };
        let Peer::Shared(shared) = &mut link.peer else { return };
        if shared.waiting.is_empty() && descriptor.is_none() {
            link.out.encode(encode);
        } else {
            let mut frames = Vec::new();
            encode(&mut frames);
            match shared.waiting.back_mut().filter(|_| descriptor.is_none()) {
                Some((behind, _)) => behind.extend_from_slice(&frames),
                None => shared.waiting.push_back((frames, descriptor)),
            }
        }
        self.links.keep(key);
    }

    /// What came next of a request.
    pub(in crate::worker) fn take_shared(&mut self, key: Key, stream: u32) -> Option<Came> {
        let kept = self.shared(key)?.streams.get_mut(stream)?;
        let came = kept.came.pop_front()?;
        kept.ahead = kept.ahead.saturating_sub(came.cost());
        Some(came)
    }

    /// Whether the next of it are bytes, for which there must be room.
    pub(in crate::worker) fn next_takes_room(&mut self, key: Key, stream: u32) -> bool {
        let kept = self.shared(key).and_then(|shared| shared.streams.get_mut(stream));
        let next = kept.and_then(|kept| kept.came.front());
        let takes = |part: &Part| matches!(part, Part::Body(_) | Part::Message { .. } | Part::Interim(_));
        next.is_some_and(|next| match next {
            Came::Part(part) => takes(part),
            Came::File(_) => true,
            Came::Lost => false,
        })
    }

    /// Whether anything of it can still come.
    pub(in crate::worker) fn has_shared(&mut self, key: Key, stream: u32) -> bool {
        self.shared(key).is_some_and(|shared| shared.streams.get_mut(stream).is_some())
    }

    /// A request has run for a while: the master shows it until it is over.
    pub(super) fn show_shared(&mut self, key: Key, stream: u32, since: Time, line: &str) {
        let Some(kept) = self.shared(key).and_then(|shared| shared.streams.get_mut(stream)) else { return };
        if kept.holds != Holds::Unit {
            return;
        }
        kept.told = true;
        let at = named(kept.unit.lease);
        self.tell(&ToMaster::Runs { at, since: since.0, request: super::shown(line) });
    }

    /// A request goes on for long, as WebSockets and event streams do: others can have its unit.
    pub(in crate::worker) fn shared_becomes_tunnel(&mut self, key: Key, stream: u32) {
        let Some(kept) = self.shared(key).and_then(|shared| shared.streams.get_mut(stream)) else { return };
        if kept.holds != Holds::Unit || kept.is_free {
            return;
        }
        kept.holds = Holds::Tunnel;
        let (unit, told) = (kept.unit, std::mem::take(&mut kept.told));
        self.apps.shared_tunnels += 1;
        if told {
            self.tell(&ToMaster::Ran { at: named(unit.lease) });
        }
        self.unit_becomes_tunnel(unit);
    }

    /// Nobody takes any more of a request. If its answer is not complete, the host is told.
    pub(in crate::worker) fn leave_shared(&mut self, key: Key, stream: u32, why: Leave) {
        let until = self.now.after(HUNG);
        let Some(shared) = self.shared(key) else { return };
        let lost = shared.lost;
        let ended = shared.streams.answer(stream).is_none_or(shared::Answer::has_ended);
        let Some(kept) = shared.streams.get_mut(stream) else { return };
        kept.owner = None;
        kept.came = VecDeque::new();
        let unit = kept.unit;
        let was_tunnel = !kept.is_free && kept.holds == Holds::Tunnel;
        if was_tunnel {
            kept.holds = Holds::Nothing;
        }
        if kept.is_free || lost {
            return self.end_shared(key, stream);
        }
        if !ended {
            kept.until = Some(until);
        }
        if was_tunnel {
            self.shared_tunnel_ended(unit);
        }
        if !ended {
            if why != Leave::Told {
                self.put(key, None, |out| shared::cancel(stream, why == Leave::Late, out));
            }
            self.expire_shared_later(key);
        }
    }

    /// It is over on both sides.
    fn end_shared(&mut self, key: Key, stream: u32) {
        let Some(shared) = self.shared(key) else { return };
        let (app, lost) = (shared.unit.app, shared.lost);
        shared.streams.end(stream);
        let is_last = shared.streams.len() == 0;
        if lost && is_last {
            return self.links.close(key);
        }
        if let Some(queue) = self.apps.queues.get_mut(app) {
            queue.count(key, |running| running.saturating_sub(1));
        }
    }

    /// The task of a request has ended: its unit is free.
    fn shared_is_free(&mut self, key: Key, stream: u32) {
        let Some(shared) = self.shared(key) else { return };
        let Some(kept) = shared.streams.get_mut(stream) else { return };
        kept.is_free = true;
        let (unit, holds, told) = (kept.unit, kept.holds, std::mem::take(&mut kept.told));
        let is_over = kept.owner.is_none();
        if told {
            self.tell(&ToMaster::Ran { at: named(unit.lease) });
        }
        if is_over {
            self.end_shared(key, stream);
        }
        match holds {
            Holds::Unit => self.free_unit(unit),
            Holds::Tunnel => self.shared_tunnel_ended(unit),
            Holds::Nothing => {}
        }
    }

    /// One has ended, or its process.
    fn shared_tunnel_ended(&mut self, unit: Unit) {
        self.apps.shared_tunnels -= 1;
        self.unit_tunnel_ended(unit);
    }

    /// How many there are.
    pub(in crate::worker) fn shared_tunnels(&self) -> u64 {
        self.apps.shared_tunnels
    }

    /// Something may have come, or there is room again.
    pub(super) fn tend_shared(&mut self, key: Key) {
        let now = self.now;
        let Some(link) = self.links.get_mut(key) else { return };
        write_waiting(link);
        let taken = take_in(link, &mut self.scratch, now);
        link.await_room(key, &self.poll);
        match taken {
            Ok(taken) => self.spread(key, taken),
            Err((taken, trouble)) => {
                self.spread(key, taken);
                self.lose_shared(key, &trouble);
            }
        }
    }

    fn spread(&mut self, key: Key, taken: Taken) {
        self.next.extend(taken.woken);
        for stream in taken.freed {
            self.shared_is_free(key, stream);
        }
        if taken.more {
            self.timers.insert(self.now, Timer::Loose(key));
        }
    }

    /// The process has gone, or is of no more use: nothing more comes of what runs there.
    fn lose_shared(&mut self, key: Key, trouble: &Trouble) {
        let Some(shared) = self.shared(key) else { return };
        if std::mem::replace(&mut shared.lost, true) {
            return;
        }
        let unit = shared.unit;
        let mut units = Vec::new();
        let (mut woken, mut over) = (Vec::new(), Vec::new());
        for (stream, kept) in shared.streams.iter_mut() {
            if !kept.is_free {
                units.push((kept.unit, kept.holds));
            }
            kept.is_free = true;
            kept.came.push_back(Came::Lost);
            match kept.owner {
                Some(owner) => woken.push(owner),
                None => over.push(stream),
            }
        }
        for stream in over {
            shared.streams.end(stream);
        }
        let is_empty = shared.streams.len() == 0;
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.shared.retain(|one| one.key != key);
        }
        self.abandon_process(unit);
        for (unit, holds) in units {
            match holds {
                // It stays taken until the master has reaped the process, or the host says that its request is over.
                Holds::Unit => self.board.abandon(unit.lease),
                Holds::Tunnel => self.shared_tunnel_ended(unit),
                Holds::Nothing => {}
            }
        }
        match trouble {
            Trouble::Ended => {}
            Trouble::Stranger(stranger) => self.note_stranger(unit.app, *stranger),
            Trouble::Malformed(why) => {
                let reason = format!("what it says is not the protocol: {why}");
                self.complain(unit, Complaint::Malformed, reason);
            }
        }
        if let Some(link) = self.links.get_mut(key) {
            link.abandon_output();
            // The host sees the end of it at once, whoever still takes what it has said.
            link.endpoint.shut();
        }
        self.next.extend(woken);
        if is_empty {
            self.links.close(key);
        }
    }

    /// The process of a unit is of no use for now: no other unit of it is to be had until the master has looked. Each would be
    /// tried in vain, and there may be a thousand.
    pub(super) fn abandon_process(&mut self, unit: Unit) {
        let Lease { pool, slot, incarnation, .. } = unit.lease;
        while let Some(lease) = self.board.claim_in(pool, slot) {
            if lease.incarnation != incarnation {
                return self.free_unit(Unit { lease, ..unit });
            }
            self.board.abandon(lease);
        }
    }

    /// Sees to it that somebody looks whether the loop of the process answers.
    fn expire_shared_later(&mut self, key: Key) {
        let next = self.now.after(HUNG);
        if let Some(shared) = self.shared(key)
            && !std::mem::replace(&mut shared.armed, true)
        {
            self.timers.insert(next, Timer::Unit(key));
        }
    }

    /// It is time to look.
    pub(super) fn expire_shared(&mut self, key: Key) {
        let now = self.now;
        let Some(shared) = self.shared(key) else { return };
        shared.armed = false;
        let lost = shared.lost;
        let awaited = shared.streams.answers().filter(|(answer, _)| !answer.has_ended());
        let awaited = awaited.filter_map(|(_, kept)| Some((kept.until?, kept.unit)));
        let Some((until, unit)) = awaited.min_by_key(|(until, _)| *until) else { return };
        if lost {
            return;
        }
        if until <= now {
            let reason = format!(
                "its event loop has answered nothing for {HUNG:?}: something in it waits, or computes"
            );
            self.complain(unit, Complaint::Late, reason);
            return self.lose_shared(key, &Trouble::Ended);
        }
        shared.armed = true;
        self.timers.insert(until, Timer::Unit(key));
    }
}

/// What the WebSockets of an app may do.
pub(super) fn settings(app: &App) -> Rc<Settings> {
    let given = app.kind.websocket().unwrap_or_default();
    Rc::new(Settings {
        ping_interval: Some(given.ping_interval),
        ping_timeout: given.ping_timeout,
        max_message: given.max_message,
        ..Settings::default()
    })
}

/// Writes what waits, each descriptor with the first byte of its frame.
pub(super) fn write_waiting(link: &mut Link) {
    loop {
        if !link.write_or_read() || !link.out.is_empty() {
            return;
        }
        let Peer::Shared(shared) = &mut link.peer else { return };
        let Some((frames, descriptor)) = shared.waiting.pop_front() else { return };
        link.out.push(Segment::from(frames));
        link.attach = descriptor;
    }
}

/// Reads what has come.
fn take_in(link: &mut Link, scratch: &mut [u8], now: Time) -> Result<Taken, (Taken, Trouble)> {
    let mut taken = Taken::default();
    for _ in 0..READS {
        match read_once(link, scratch, &mut taken, now) {
            Ok(true) => {}
            Ok(false) => return Ok(taken),
            Err(trouble) => return Err((taken, trouble)),
        }
    }
    taken.more = true;
    Ok(taken)
}

/// Whether there may be more.
fn read_once(link: &mut Link, scratch: &mut [u8], taken: &mut Taken, now: Time) -> Result<bool, Trouble> {
    let Link { endpoint, peer: Peer::Shared(shared), .. } = link else { return Ok(false) };
    if shared.lost || !endpoint.readable() {
        return Ok(false);
    }
    let mut came = Vec::new();
    let read = endpoint.read_with_descriptors(scratch, &mut came);
    shared.arrivals.take_in(came)?;
    match read {
        Ok(Read::Bytes(count)) => {
            shared.streams.feed(scratch.get(..count).unwrap_or_default());
            while let Some((stream, part)) = shared.streams.poll().map_err(Trouble::Malformed)? {
                shared.lay(stream, part, taken, now)?;
            }
            shared.arrivals.end_if(shared.streams.is_between())?;
            Ok(true)
        }
        Ok(Read::Blocked) => Ok(false),
        Ok(Read::Eof) | Err(_) => Err(Trouble::Ended),
    }
}
