//! Requests that are sent to a unit while it still runs another: they lie behind that one and are answered in their order.
//! When that is done and what may be sent so: `docs/decisions/0027-look-ahead.md`; how many: [`crate::dispatch::ahead`].

use crate::dispatch::ahead::MOST;
use crate::dispatch::board::Lease;
use crate::gateway;
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::{Context, Timer};
use crate::worker::owner::Owner;
use crate::worker::upstream::links::{Link, Peer, Unit, UnitLink};
use std::collections::VecDeque;
use std::time::Duration;

/// When a request runs longer than this, those behind it are called back.
const PATIENCE: Duration = Duration::from_millis(5);

/// What lies behind the request that runs in a unit.
#[derive(Debug, Default)]
pub(in crate::worker) struct Ahead {
    sent: VecDeque<Sent>,
    /// Room that exchanges were granted which have not been driven since.
    granted: usize,
    /// So many more may go ahead although requests of other workers wait longer.
    spare: usize,
    /// The request before them that was found late while something waited to be read: the worker may be late itself.
    doubted: Option<u32>,
}

/// One of them, by its number on the stream.
#[derive(Clone, Copy, Debug)]
struct Sent {
    stream: u32,
    /// `None`: nobody waits for its answer.
    owner: Option<Owner>,
}

/// Where a request is that was sent ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Whereabouts {
    /// Those before it are over: it runs, as far as is known here.
    Runs,
    Behind,
    /// It is not there any more, and is answered by nobody.
    Back,
}

impl Ahead {
    /// Of a unit that was claimed just now.
    pub(super) fn new() -> Self {
        Self { spare: MOST, ..Self::default() }
    }

    pub(super) fn push(&mut self, stream: u32, owner: Owner) {
        self.sent.push_back(Sent { stream, owner: Some(owner) });
    }

    fn len(&self) -> usize {
        self.sent.len() + self.granted
    }

    fn sent(&mut self, stream: u32) -> Option<&mut Sent> {
        self.sent.iter_mut().find(|sent| sent.stream == stream && sent.owner.is_some())
    }

    /// All of them go elsewhere: who waits for them, and which they are.
    fn take_all(&mut self) -> Vec<(u32, Owner)> {
        let all = self.sent.iter_mut().filter_map(|sent| Some((sent.stream, sent.owner.take()?)));
        all.collect()
    }
}

impl UnitLink {
    /// Whether the unit must stay claimed.
    pub(in crate::worker) fn is_awaited(&self) -> bool {
        self.response.is_some() || self.ahead.len() > 0
    }
}

impl Context {
    /// Room behind what runs in a unit of this worker, the one with the fewest there, for a request that came at `since`.
    pub(super) fn room_ahead(&mut self, app: usize, since: Time) -> Option<Lease> {
        let queue = self.apps.queues.get(app)?;
        let (board, pool, now) = (self.board, queue.pool, self.now);
        let depth = queue.pace.depth(board.slow_at(pool), now);
        if depth == 0 {
            return None;
        }
        let is_oldest = board.is_oldest(pool, since);
        let mut best: Option<(usize, Lease, Key)> = None;
        for (lease, key) in &queue.streams {
            let Some(Link { peer: Peer::Unit(unit), .. }) = self.links.get_mut(*key) else { continue };
            let behind = unit.ahead.len();
            let has_room = behind < depth && best.is_none_or(|(fewest, ..)| behind < fewest);
            let may = unit.response.is_some() && (is_oldest || unit.ahead.spare > 0);
            if has_room && may && now.since(unit.began) < PATIENCE && board.keeps(*lease) {
                best = Some((behind, *lease, *key));
            }
        }
        let (_, lease, key) = best?;
        if let Some(Link { peer: Peer::Unit(unit), .. }) = self.links.get_mut(key) {
            unit.ahead.granted += 1;
            unit.ahead.spare -= usize::from(!is_oldest);
        }
        self.look_ahead();
        Some(lease)
    }

    /// The stream to a unit behind whose requests an exchange was granted room; `None` if that is lost.
    pub(super) fn take_room_ahead(&mut self, unit: Unit, owner: Owner) -> Option<Key> {
        let key = self.stream_of(unit)?;
        let Link { peer: Peer::Unit(link), .. } = self.links.get_mut(key)? else { return None };
        link.ahead.granted = link.ahead.granted.checked_sub(1)?;
        if link.response.is_none() {
            self.links.lend(key, owner);
        }
        Some(key)
    }

    /// The exchange does without it.
    pub(super) fn leave_room_ahead(&mut self, unit: Unit) {
        let Some(key) = self.stream_of(unit) else { return };
        let Some(Link { peer: Peer::Unit(link), .. }) = self.links.get_mut(key) else { return };
        // None: the stream that it was granted for is lost, and the unit with it.
        let Some(granted) = link.ahead.granted.checked_sub(1) else { return };
        link.ahead.granted = granted;
        if !link.is_awaited() {
            self.free_unit(unit);
        }
    }

    fn stream_of(&self, unit: Unit) -> Option<Key> {
        self.apps.queues.get(unit.app)?.streams.get(&unit.lease).copied()
    }

    /// The request that ran over a link is over: the one behind it runs. Whether the unit is still in use.
    pub(super) fn run_next(&mut self, key: Key) -> bool {
        let now = self.now;
        let Some(Link { peer: Peer::Unit(link), .. }) = self.links.get_mut(key) else { return false };
        let response = link.response.take();
        let Some(next) = link.ahead.sent.pop_front() else { return link.ahead.granted > 0 };
        link.response = response.map(|before| before.follow(next.stream));
        link.began = now;
        let app = link.unit.app;
        match next.owner {
            Some(owner) => {
                self.links.lend(key, owner);
                self.next.push_back(owner);
            }
            None => {
                let timeout = self.config.apps.get(app).map_or(Duration::ZERO, |app| app.timeout);
                self.finish_alone(key, now, now.after(timeout), now.after(timeout));
            }
        }
        true
    }

    /// Where a request is that was sent ahead.
    pub(super) fn whereabouts(&mut self, key: Key, stream: u32) -> Whereabouts {
        let Some(Link { peer: Peer::Unit(link), .. }) = self.links.get_mut(key) else {
            return Whereabouts::Back;
        };
        match &link.response {
            Some(response) if response.stream() == stream => Whereabouts::Runs,
            _ if link.ahead.sent(stream).is_some() => Whereabouts::Behind,
            _ => Whereabouts::Back,
        }
    }

    /// Nobody waits any more for a request that lies behind others.
    pub(super) fn leave_ahead(&mut self, key: Key, stream: u32) {
        let Some(link) = self.links.get_mut(key) else { return };
        let Peer::Unit(unit) = &mut link.peer else { return };
        if let Some(sent) = unit.ahead.sent(stream) {
            sent.owner = None;
            link.out.encode(|out| gateway::app::cancel(stream, out));
            self.links.keep(key);
        }
    }

    /// The stream is lost: what lies behind comes back.
    pub(super) fn give_back_ahead(&mut self, key: Key) {
        let Some(Link { peer: Peer::Unit(unit), .. }) = self.links.get_mut(key) else { return };
        let back = unit.ahead.take_all();
        unit.ahead = Ahead::default();
        self.next.extend(back.into_iter().map(|(_, owner)| owner));
    }

    /// Sees to it that somebody looks whether requests lie behind one that is slow.
    fn look_ahead(&mut self) {
        if !std::mem::replace(&mut self.apps.looks_ahead, true) {
            self.timers.insert(self.now.after(PATIENCE), Timer::Ahead);
        }
    }

    /// Calls requests back that lie behind one that is slow all of a sudden: they wait for any unit again.
    pub(in crate::worker) fn call_back(&mut self) {
        self.apps.looks_ahead = false;
        let streams = self.apps.queues.iter().flat_map(|queue| queue.streams.values().copied());
        let mut any = false;
        for key in streams.collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(key) else { continue };
            let Peer::Unit(unit) = &mut link.peer else { continue };
            any |= unit.ahead.len() > 0;
            if unit.ahead.sent.is_empty() || self.now.since(unit.began) < PATIENCE {
                continue;
            }
            let runs = unit.response.as_ref().map(gateway::app::Response::stream);
            if link.endpoint.readable() && std::mem::replace(&mut unit.ahead.doubted, runs) != runs {
                continue;
            }
            for (stream, owner) in unit.ahead.take_all() {
                link.out.encode(|out| gateway::app::cancel(stream, out));
                self.next.push_back(owner);
            }
            self.links.keep(key);
        }
        if any {
            self.look_ahead();
        }
    }

    /// Sends what was kept for the end of the turn, so that it goes out together.
    pub(in crate::worker) fn send_ahead(&mut self) {
        for key in self.links.take_kept() {
            let Some(link) = self.links.get_mut(key) else { continue };
            link.release();
            if link.write().is_ok() {
                link.await_room(key, &self.poll);
            } else {
                // Whoever reads it finds that out.
                self.drive_link(key);
            }
        }
    }

    /// Has the owner of a link look at it, in the next turn.
    fn drive_link(&mut self, key: Key) {
        match self.links.owner(key) {
            Some(owner) => self.runnable.push_back(owner),
            None => self.timers.insert(self.now, Timer::Loose(key)),
        }
    }

    /// Takes note of how long an app had a request.
    pub(super) fn note_pace(&mut self, unit: Unit, took: Option<Duration>) {
        let (Some(took), Some(queue)) = (took, self.apps.queues.get_mut(unit.app)) else { return };
        if queue.pace.note(took, self.now) {
            self.board.note_slow(unit.lease.pool, self.now);
        }
    }
}
