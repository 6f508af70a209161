//! Requests that are sent to a unit while it still runs another: they lie behind that one and are answered in their order.
//! When that is done and what may be sent so: `docs/decisions/0027-look-ahead.md`; how many: [`crate::dispatch::ahead`].

use super::Grant;
use super::shared::write_waiting;
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
const LATE: Duration = Duration::from_millis(5);

/// What lies behind the request that runs in a unit.
#[derive(Debug, Default)]
pub(in crate::worker) struct Ahead {
    sent: VecDeque<Sent>,
    /// Room that exchanges were granted which have not been driven since.
    granted: usize,
    /// So many have gone ahead since the unit was claimed although requests of other workers waited longer.
    overtaking: usize,
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
    pub(super) fn push(&mut self, stream: u32, owner: Owner) {
        self.sent.push_back(Sent { stream, owner: Some(owner) });
    }

    fn len(&self) -> usize {
        self.sent.len() + self.granted
    }

    /// How many were sent behind the request that runs, called back or not.
    pub(super) fn sent_behind(&self) -> usize {
        self.sent.len()
    }

    /// Whether anybody waits for them.
    fn is_awaited(&self) -> bool {
        self.granted > 0 || self.sent.iter().any(|sent| sent.owner.is_some())
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
    pub(super) fn room_ahead(&mut self, app: usize, since: Time) -> Option<Grant> {
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
            let may = unit.response.is_some() && (is_oldest || unit.ahead.overtaking < depth);
            // A host that does not say how long it took knows nothing of this either.
            if has_room && may && unit.tells_time && now.since(unit.began) < LATE && board.keeps(*lease) {
                best = Some((behind, *lease, *key));
            }
        }
        let (_, lease, key) = best?;
        if let Some(Link { peer: Peer::Unit(unit), .. }) = self.links.get_mut(key) {
            unit.ahead.granted += 1;
            unit.ahead.overtaking += usize::from(!is_oldest);
        }
        self.look_ahead();
        Some(Grant::Ahead(lease, key))
    }

    /// An exchange takes the room that it was granted; `None` if the stream is lost.
    pub(super) fn take_room_ahead(&mut self, unit: Unit, key: Key, owner: Owner) -> Option<Key> {
        if self.granted_on(unit, key)?.response.is_none() {
            self.links.lend(key, owner);
        }
        Some(key)
    }

    /// The exchange does without it.
    pub(super) fn leave_room_ahead(&mut self, unit: Unit, key: Key) {
        if self.granted_on(unit, key).is_some_and(|link| !link.is_awaited()) {
            self.free_unit(unit);
        }
    }

    /// Takes back what was granted on a stream; `None` if that is lost, and the unit with it.
    fn granted_on(&mut self, unit: Unit, key: Key) -> Option<&mut UnitLink> {
        let stream = self.apps.queues.get(unit.app)?.streams.get(&unit.lease);
        stream.filter(|stream| **stream == key)?;
        let Link { peer: Peer::Unit(link), .. } = self.links.get_mut(key)? else { return None };
        link.ahead.granted = link.ahead.granted.checked_sub(1)?;
        Some(link)
    }

    /// The request that ran over a link is over: the one behind it runs. Whether the unit is still in use. If nobody waits for
    /// the next, it is read here, and the one behind that may begin: no deeper than requests lie there.
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
        let Some(link) = self.links.get_mut(key) else { return Whereabouts::Back };
        let is_loose = link.is_loose();
        let Peer::Unit(link) = &mut link.peer else { return Whereabouts::Back };
        match &link.response {
            // If it was called back before it ran, the link is nobody's.
            Some(response) if response.stream() == stream && !is_loose => Whereabouts::Runs,
            _ if link.ahead.sent(stream).is_some() => Whereabouts::Behind,
            _ => Whereabouts::Back,
        }
    }

    /// How many requests were sent behind the one that runs: it may be over, and its answer kept in the host.
    pub(super) fn sent_behind(&mut self, key: Key) -> usize {
        match self.links.get_mut(key) {
            Some(Link { peer: Peer::Unit(link), .. }) => link.ahead.sent_behind(),
            _ => 0,
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
        let Some(link) = self.links.get_mut(key) else { return };
        link.abandon_output();
        let Peer::Unit(unit) = &mut link.peer else { return };
        let back = unit.ahead.take_all();
        unit.ahead = Ahead::default();
        self.next.extend(back.into_iter().map(|(_, owner)| owner));
    }

    /// Sees to it that somebody looks whether requests lie behind one that is slow.
    fn look_ahead(&mut self) {
        if !std::mem::replace(&mut self.apps.looks_ahead, true) {
            self.timers.insert(self.now.after(LATE), Timer::Ahead);
        }
    }

    /// It is time to look.
    pub(in crate::worker) fn look_ahead_now(&mut self) {
        self.apps.calls_back = true;
    }

    /// Calls requests back that lie behind one that is slow all of a sudden: they wait for any unit again. At the end of a turn:
    /// what has been answered by then was read.
    pub(in crate::worker) fn call_back(&mut self) {
        if !std::mem::take(&mut self.apps.calls_back) {
            return;
        }
        self.apps.looks_ahead = false;
        let streams = self.apps.queues.iter().flat_map(|queue| queue.streams.values().copied());
        let mut any = false;
        for key in streams.collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(key) else { continue };
            let Peer::Unit(unit) = &mut link.peer else { continue };
            if !unit.ahead.is_awaited() {
                continue;
            }
            any = true;
            if self.now.since(unit.began) < LATE {
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
            if let Peer::Shared(_) = &link.peer {
                write_waiting(link);
            }
            if link.write_or_read() {
                link.await_room(key, &self.poll);
            } else {
                self.drive_link(key);
            }
        }
    }

    /// Has whom a link concerns look at it, in the next turn.
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
