//! What children say, to inputs of the cores, or carried out here: workers in messages (`control::worker`), all others in frames
//! (`control::frame`).

use super::Master;
use super::apps::App;
use super::child::{Hearing, Id, Role};
use super::voice::{Heard, Reader, Voice};
use crate::control::frame::{self, Frame, Kind};
use crate::control::helper;
use crate::control::worker::{self, ToMaster, Unit};
use crate::dispatch::{Freed, Lease, Rows};
use crate::supervisor::{Break, ChildId, Input, templates};
use crate::sys::fd;
use crate::sys::sandbox::Applied;
use crate::timer::Time;
use std::os::fd::AsFd as _;

/// What READY says of a process whose units share one stream to each worker.
const INTERFACE_SHARED: &[u8] = b"asgi";

impl Master {
    /// Takes in what a child has said.
    pub(super) fn hear(&mut self, pid: u32, hearing: Hearing, now: Time) {
        match self.children.get(&pid).map(|child| (child.id, &child.role)) {
            Some((Id::Pool(id), Role::Worker(_))) => {
                self.listen::<worker::Reader>(pid, hearing, |master, message| {
                    message.map(|message| master.on_worker(id, message, now)).is_some()
                });
            }
            Some((Id::Helper, _)) => {
                self.listen::<helper::Reader>(pid, hearing, |master, answer| {
                    master.on_helper(answer, now);
                    true
                });
            }
            Some((Id::Resolver, _)) => {
                self.listen::<helper::Reader>(pid, hearing, |master, answer| master.on_resolver(answer, now));
            }
            _ => {
                self.listen::<frame::Reader>(pid, hearing, |master, frame| master.on_frame(pid, &frame, now))
            }
        }
        self.notice_break(pid, now);
    }

    /// Takes in its words until nothing more comes for now, or one that is none for us: false.
    fn listen<R: Reader>(
        &mut self,
        pid: u32,
        hearing: Hearing,
        mut on: impl FnMut(&mut Self, R::Word) -> bool,
    ) {
        let mut left = hearing.bytes();
        while let Some(voice) = self.voice(pid) {
            let words = match voice.hear::<R>(&mut left) {
                Heard::Silence => break,
                Heard::Words(words) => words,
                Heard::Garbled(words, error) => {
                    log::debug!(target: "hatchery", "process {pid} is not understood: {error:?}");
                    words
                }
            };
            if !words.into_iter().all(|word| on(self, word)) {
                log::debug!(target: "hatchery", "process {pid} says what is not for the master");
                self.voice(pid).map(Voice::refuse);
            }
        }
    }

    fn voice(&mut self, pid: u32) -> Option<&mut Voice> {
        self.children.get_mut(&pid)?.held.voice.as_mut()
    }

    /// The channel to a child may have ended.
    pub(super) fn notice_break(&mut self, pid: u32, now: Time) {
        let broken = self.children.get(&pid).and_then(|child| Some((child.id, child.broken()?)));
        match broken {
            Some((Id::Pool(child), how)) => self.supervisor.on(Input::Cut { child, how }, now),
            Some((Id::Template(key), how)) => self.template_input(templates::Input::Cut { key, how }, now),
            // What it says is not understood.
            Some((Id::Helper | Id::Resolver, Break::Garbled)) => {
                self.children.get_mut(&pid).into_iter().for_each(super::helper::kill);
            }
            Some((Id::Run(_) | Id::Trial | Id::Probe(_) | Id::Helper | Id::Resolver, _)) | None => {}
        }
    }

    /// A child is of no use, as it says or shows; its exit follows.
    pub(super) fn failed(&mut self, pid: u32, reason: String, now: Time) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        match child.id {
            Id::Pool(child) => self.supervisor.on(Input::Failed { child, reason }, now),
            Id::Template(key) => self.template_input(templates::Input::Failed { key, reason }, now),
            Id::Run(_) | Id::Trial | Id::Probe(_) | Id::Helper | Id::Resolver => child.failure = Some(reason),
        }
    }

    fn on_worker(&mut self, id: ChildId, message: ToMaster, now: Time) {
        match message {
            ToMaster::Ready => self.supervisor.on(Input::Ready { child: id }, now),
            ToMaster::Failed(reason) => self.supervisor.on(Input::Failed { child: id, reason }, now),
            ToMaster::Sandboxed { landlock, seccomp } => {
                if let Some(worker) = self.children.worker_mut(id) {
                    worker.sandbox = Some(Applied { landlock, seccomp });
                }
            }
            ToMaster::Credentials { serial } => {
                if let Some(worker) = self.children.worker_mut(id) {
                    worker.credentials = serial.min(self.keyring.serial());
                }
            }
            ToMaster::Purge { site, what } => self.purge_asked(&site, &what),
            ToMaster::RootReplaced => self.root_replaced(now),
            ToMaster::Log(status) => self.note_log(id, &status),
            ToMaster::Faults { upstream, word, count } => self.note_faults(upstream, &word, count),
            ToMaster::Limited { label, refused, spared } => self.note_limited(label, refused, spared),
            ToMaster::Logged(text) => {
                if let Some(child) = self.children.find(Id::Pool(id)) {
                    self.journal.note_of(&child.name, &text);
                }
            }
            ToMaster::Closed => self.supervisor.on(Input::Closed { child: id }, now),
            ToMaster::Load(load) => self.supervisor.on(Input::Load { child: id, load }, now),
            // Apps only: how many workers there are is not theirs to say, but by how busy they are.
            ToMaster::Want { pool: 0 } => {}
            ToMaster::Want { pool } => self.supervisor.on(Input::Wanted { pool }, now),
            ToMaster::Left { pool, slot } => {
                if let Some(app) = self.app_in(pool, slot, None) {
                    self.let_go(app, now);
                }
            }
            ToMaster::Tunnels { at, any } => self.on_tunnels(id, at, any, now),
            ToMaster::Runs { at, since, request } => {
                let row = self.row_of(id);
                if let (Some(row), Some(app)) = (row, self.app_of(at)) {
                    app.runs(at.thread, row, Time(since), &request, now);
                }
            }
            ToMaster::Ran { at } => {
                let row = self.row_of(id);
                if let (Some(row), Some(app)) = (row, self.app_of(at)) {
                    app.running.ran(at.thread, row, now);
                }
            }
            ToMaster::Stuck { at, complaint, reason } => self.on_complaint(id, at, complaint, reason, now),
        }
    }

    /// False: a frame that the child does not send to the master.
    fn on_frame(&mut self, pid: u32, frame: &Frame, now: Time) -> bool {
        let Some(child) = self.children.get_mut(&pid) else { return true };
        let (id, payload) = (child.id, frame.payload.as_slice());
        let text = || String::from_utf8_lossy(payload).into_owned();
        match frame.header.kind {
            Kind::Hello => log::debug!(target: "hatchery", "{}: {}", child.name, text()),
            Kind::Ready => {
                // Once: each is answered with a request of ours.
                if child.answers() {
                    self.on_ready(id, payload, now);
                }
            }
            Kind::Failed => {
                child.answers();
                self.failed(pid, text(), now);
            }
            Kind::Trouble if !child.answered && !std::mem::replace(&mut child.troubled, true) => {
                log::error!(target: "hatchery", "{}: {}", child.name, text());
            }
            kind => {
                return match id {
                    Id::Pool(id) => self.on_app(id, kind, payload, now),
                    Id::Template(key) => self.on_template(key, kind, payload, now),
                    Id::Run(_) | Id::Trial | Id::Probe(_) | Id::Helper | Id::Resolver => false,
                };
            }
        }
        true
    }

    fn on_ready(&mut self, id: Id, payload: &[u8], now: Time) {
        match id {
            Id::Pool(child) => {
                if payload == INTERFACE_SHARED
                    && let Some(app) = self.children.app_mut(child)
                {
                    app.shares();
                }
                self.ask_ready(child, now);
            }
            Id::Template(key) => {
                let threads = payload.first_chunk().map_or(1, |threads| u32::from_le_bytes(*threads));
                self.template_input(templates::Input::Ready { key, threads }, now);
            }
            Id::Run(_) | Id::Trial | Id::Probe(_) | Id::Helper | Id::Resolver => {}
        }
    }

    /// False: a frame that no process of an app sends to the master.
    fn on_app(&mut self, id: ChildId, kind: Kind, payload: &[u8], now: Time) -> bool {
        let Some(app) = self.children.app_mut(id) else { return true };
        match (kind, payload) {
            // No request of the worker in this row runs in this unit any more.
            (Kind::Free, [r0, r1, u0, u1]) => {
                let (row, unit) = (u16::from_le_bytes([*r0, *r1]), u16::from_le_bytes([*u0, *u1]));
                self.unit_freed(id, unit, row, now);
            }
            (Kind::Worn, requests) => {
                let Ok(requests) = requests.try_into().map(u32::from_le_bytes) else { return false };
                let reason = format!("it served {requests} requests (max_requests)");
                self.supervisor.on(Input::Worn { child: id, reason }, now);
            }
            (Kind::Lingers, names) => app.lingers(names),
            _ => return false,
        }
        true
    }

    /// No request of the worker in that row runs in that unit any more.
    pub(super) fn unit_freed(&mut self, id: ChildId, unit: u16, row: u16, now: Time) {
        let Some(app) = self.children.app_mut(id) else { return };
        app.running.freed(unit, row, now);
        let App { pool, slot, incarnation, .. } = *app;
        match self.board().freed(Lease { pool, slot, thread: unit, incarnation }, row, now) {
            Freed::Offered(row) => self.poke(row),
            Freed::Left => self.let_go(id, now),
            Freed::Idle | Freed::Stale => {}
        }
    }

    /// A process of an app that was told to drain leaves once none of its units is claimed.
    pub(super) fn let_go(&mut self, id: ChildId, now: Time) {
        let board = self.board();
        let Some(child) = self.children.find_mut(Id::Pool(id)) else { return };
        if let Some(app) = child.role.app_mut()
            && app.leaving
            && board.claimed(app.pool, app.slot) == 0
            && app.is_free_of_tunnels()
        {
            // On TERM, too, a host finishes the requests that run in it.
            let (signal, again) = (app.stop_signal(), app.ending && app.command.is_some());
            // A second signal would have some servers end at once.
            if !app.leave() && !again {
                child.signal(signal, false);
            }
            self.supervisor.on(Input::Idle { child: id }, now);
        }
    }

    pub(super) fn row_of(&self, worker: ChildId) -> Option<u16> {
        Some(self.children.find(Id::Pool(worker))?.role.worker()?.row)
    }

    pub(super) fn app_of(&mut self, unit: Unit) -> Option<&mut App> {
        let id = self.app_in(unit.pool, unit.slot, Some(unit.incarnation))?;
        self.children.app_mut(id)
    }

    pub(super) fn app_in(&self, pool: u16, slot: u16, incarnation: Option<u32>) -> Option<ChildId> {
        let is_it = |app: &App| {
            (app.pool, app.slot) == (pool, slot) && incarnation.is_none_or(|wanted| wanted == app.incarnation)
        };
        self.children.apps().find(|(_, app)| is_it(app)).map(|(id, _)| id)
    }

    /// Wakes the worker in a row.
    pub(super) fn poke(&self, row: u16) {
        if let Some(wake) = self.wake.get(usize::from(row)) {
            fd::poke(wake.as_fd());
        }
    }

    /// Wakes all workers: who waits for a server may have one now.
    pub(super) fn poke_workers(&self) {
        self.poke_all(Rows::of(self.children.workers().map(|(_, worker)| worker.row)));
    }

    /// Wakes the workers in these rows.
    pub(super) fn poke_all(&self, rows: Rows) {
        rows.iter().for_each(|row| self.poke(row));
    }
}
