//! A worker: one process, one event loop, all bytes of its clients and of the upstreams it talks to.
//!
//! ```text
//!  client ═► transport ═► h1│h2::Conn ═════════► exchange ─► route ─► handler: file │ fixed │ app │ proxy
//!  client ◄═ transport ◄═ h1│h2::Conn ◄═ reply ◄═════════════════════════ head + body segments
//! ```
//!
//! One turn: **poll** (until the next deadline; stale keys are skipped) → **expire** → **accept** → **run** each
//! runnable connection within a budget → **settle** (arm timers, free what closed, never earlier) → **report**.
//! Nobody calls pause or resume: what has no room says so in `wants`. The loop never waits for a peer, an app or the
//! master; spooling to and reading from a local file are the only calls that may touch a disk.

mod accept;
mod beside;
mod budget;
mod cache;
mod challenges;
mod client;
mod closer;
mod context;
mod drain;
mod drive;
mod edits;
mod exchange;
mod filters;
mod guards;
pub(crate) mod handler;
mod handshakes;
mod heads;
mod heap;
mod https;
mod id;
mod limiter;
mod load;
mod maintenance;
mod outbox;
mod own;
mod owner;
mod party;
mod passwords;
mod reader;
mod reply;
mod report;
mod shortage;
mod spool;
mod stream;
mod throttle;
mod transport;
mod troubles;
mod upstream;

use crate::config::boot::WorkerBoot;
use crate::control::worker::ToMaster;
use crate::event::Source;
use crate::slab::{Key, Slab};
use crate::sys::{clock, code, fd, memory};
use client::{Client, DriveEnd};
use context::{Context, Timer};
use own::Own;
use owner::Owner;
use party::Party;
use reader::{Outcome, Whom};
use std::io;
use std::os::fd::AsFd;

/// So many exchanges go on in the turn in which others left them something; then new events have their turn.
const AT_ONCE: usize = 256;

/// Runs a worker until it is told to leave, or its master dies; returns its exit code: 0 left as told, 3 could not be
/// set up (the reason went to the master), 1 the loop broke.
#[must_use]
pub fn run(boot: WorkerBoot) -> i32 {
    memory::keep();
    let Ok(tell) = boot.tell.try_clone() else { return 3 };
    let mut worker = match Worker::new(boot) {
        Ok(worker) => worker,
        Err(reason) => {
            // If the master cannot hear it, the exit code still tells that this worker did not come up.
            let _ = fd::write_whole(tell.as_fd(), &ToMaster::Failed(reason).encode());
            return 3;
        }
    };
    drop(tell);
    let code = match worker.serve() {
        Ok(()) => 0,
        Err(error) => {
            log::error!("worker: the event loop broke: {error}");
            1
        }
    };
    // Everything is closed by the exit, which waits for no descriptor of a stranger's.
    std::mem::forget(worker);
    code
}

struct Worker {
    /// With what the server itself asks.
    clients: Slab<Party>,
    gate: accept::Gate,
    drain: drain::Mode,
    cx: Context,
    /// Clients that closed in this turn; their places are freed in `settle`, never earlier.
    closed: Vec<Key>,
    heap: heap::Heap,
}

impl Worker {
    fn new(boot: WorkerBoot) -> Result<Self, String> {
        let mut boot = boot;
        let listeners = std::mem::take(&mut boot.listeners);
        let limit = boot.config.workers.connections;
        let mut cx = Context::new(boot)?;
        cx.listeners = listeners.iter().map(context::ListenerInfo::of).collect();
        cx.https = https::Https::of(&cx.config, &cx.listeners);
        cx.watch_own().map_err(|error| format!("cannot set up the event loop: {error}"))?;
        cx.tell(&ToMaster::Ready);
        code::release();
        let gate = accept::Gate::new(listeners, limit);
        Ok(Self {
            clients: Slab::new(),
            gate,
            drain: drain::Mode::Waiting,
            cx,
            closed: Vec::new(),
            heap: heap::Heap::default(),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        while !self.turn()? {}
        self.cx.report.flush();
        self.cx.tell_logged();
        self.cx.tell_held(true);
        self.cx.tell_faults(true);
        self.cx.tell_limited(true);
        Ok(())
    }

    /// One round of the loop; `true` when the worker has nothing left to do and leaves.
    fn turn(&mut self) -> io::Result<bool> {
        let events = self.poll()?;
        self.expire();
        if events.control {
            self.cx.tell_waiting();
            self.obey();
        }
        if events.wake && fd::quiet(self.cx.own_wake().as_fd()) {
            self.cx.woken();
            self.cx.cache.poked();
            self.cx.give_all_places(false);
        }
        if events.files {
            self.cx.files.catch_up();
        }
        if events.reader {
            self.note_reads();
        }
        self.accept();
        self.run_clients();
        self.settle();
        let leaves = self.may_leave();
        if leaves && !self.clients.is_empty() {
            self.break_off();
            self.settle();
        }
        self.cx.report.turn_ends(self.cx.board);
        self.cx.tell_logged();
        self.cx.tell_faults(false);
        self.cx.tell_limited(false);
        Ok(leaves)
    }

    /// What still runs has had its time: it ends here, and each request has its record.
    fn break_off(&mut self) {
        for key in self.clients.keys() {
            if let Some(client) = self.clients.get_mut(key) {
                client.cut();
                self.run_client(key);
            }
        }
    }

    fn poll(&mut self) -> io::Result<Events> {
        let mut events = Events::default();
        let Self { clients, gate, cx, .. } = self;
        let now = clock::now();
        cx.measure(now, gate.is_full());
        let deadline = if cx.has_work() { Some(cx.now) } else { cx.deadline(gate.deadline()) };
        cx.report.rests(cx.board);
        let mut loose = Vec::new();
        let Context { links, runnable, poll, .. } = cx;
        poll.wait(now, deadline, |source, readiness| match source {
            Source::Listener(number) => gate.note(number),
            Source::Control => events.control = true,
            Source::Wake => events.wake = true,
            Source::Files => events.files = true,
            Source::Reader => events.reader = true,
            Source::Client(key) => {
                if let Some(client) = clients.get_mut(key) {
                    client.note(readiness);
                    runnable.push_back(Owner::none_of(key));
                }
            }
            Source::Link(key) => match links.note(key, readiness) {
                Some(Some(owner)) => runnable.push_back(owner),
                Some(None) => loose.push(key),
                None => {}
            },
        })?;
        cx.begin_turn();
        loose.into_iter().for_each(|key| cx.tend_loose_link(key));
        Ok(events)
    }

    /// Marks what a timer names as runnable; it compares with its real deadline.
    fn expire(&mut self) {
        let cx = &mut self.cx;
        cx.tell_held(false);
        cx.tell_long_reads();
        let mut fired = Vec::new();
        cx.timers.expire(cx.now, |timer| fired.push(timer));
        for timer in fired {
            match timer {
                Timer::Client(key) => {
                    if let Some(client) = self.clients.get_mut(key) {
                        client.disarm(cx.now);
                        cx.run_soon(key);
                    }
                }
                Timer::Links => cx.expire_links(),
                Timer::Places => cx.look_for_places(),
                Timer::Wants => cx.want_again(),
                Timer::Ahead => cx.look_ahead_now(),
                Timer::Checks => cx.check_servers(),
                Timer::Check(key) => cx.end_check(key),
                Timer::Unit(key) => cx.unit_timer(key),
                Timer::Loose(key) => cx.tend_loose_link(key),
                Timer::Cut(key) => {
                    if let Some(client) = self.clients.get_mut(key) {
                        client.cut();
                        cx.run_soon(key);
                    }
                }
            }
        }
    }

    /// What clients waited for is there now.
    fn note_reads(&mut self) {
        for (whom, outcome) in self.cx.take_read() {
            self.note_read(whom, outcome);
        }
    }

    fn note_read(&mut self, whom: Whom, outcome: Outcome) {
        let (Whom::Exchange(Owner { client: key, .. }) | Whom::Connection(key)) = whom else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        match whom {
            Whom::Exchange(owner) => client.note_found(owner.stream, outcome),
            _ => client.note_read(outcome),
        }
        self.cx.run_soon(key);
    }

    fn run_clients(&mut self) {
        let due = self.cx.runnable.len();
        // All before the first is driven, so that what they answer leaves together.
        for owner in self.cx.runnable.iter().filter(|owner| owner.stream > 0) {
            if let Some(client) = self.clients.get_mut(owner.client) {
                client.wake(owner.stream);
            }
        }
        for _ in 0..due {
            let Some(Owner { client: key, .. }) = self.cx.runnable.pop_front() else { break };
            self.run_client(key);
        }
        self.run_next();
        self.begin_own();
        self.cx.call_back();
        self.run_handshakes();
    }

    /// What exchanges have asked the server for.
    fn begin_own(&mut self) {
        while let Some(ask) = self.cx.owns.next() {
            let cx = &mut self.cx;
            let key = self.clients.insert_with(|key| Party::Own(Box::new(Own::new(ask, key, cx))));
            self.run_client(key);
        }
    }

    /// Those who have got what they waited for while others ran; one that has an answer may give its place to the next.
    fn run_next(&mut self) {
        for _ in 0..AT_ONCE {
            if self.cx.cache.has_woken() {
                let woken = self.cx.cache.take_woken(self.cx.now);
                self.cx.next.extend(woken);
            }
            let Some(owner) = self.cx.next.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(owner.client) {
                client.wake(owner.stream);
            }
            self.run_client(owner.client);
        }
        self.cx.runnable.append(&mut self.cx.next);
    }

    /// After all others.
    fn run_handshakes(&mut self) {
        for key in self.cx.handshakes.turn(|key| self.clients.get(key).is_some_and(Party::waits)) {
            if let Some(client) = self.clients.get_mut(key) {
                client.take_turn();
                self.run_client(key);
            }
        }
    }

    fn run_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.drive(key, &mut self.cx) {
            DriveEnd::Again => self.cx.run_soon(key),
            DriveEnd::Idle => client.rearm(key, &mut self.cx),
            DriveEnd::Closed => self.closed.push(key),
        }
    }

    fn settle(&mut self) {
        self.make_room();
        for key in self.closed.drain(..) {
            if let Some(client) = self.clients.remove(key) {
                client.left(&mut self.cx);
            }
        }
        if self.heap.is_sparse(self.clients.len() + self.cx.beside.taken(), self.cx.now) {
            memory::trim();
        }
        self.cx.send_ahead();
        self.cx.poke_for_cache();
        let left = self.cx.links.free_closed(&self.cx.poll);
        left.into_iter().for_each(|held| self.cx.tunnel_ended(held));
        let connections = self.clients.len().saturating_sub(self.cx.owns.running()) as u64;
        self.cx.board.set_connections(connections);
        self.cx.board.set_tunnels(self.cx.links.tunnels() + self.cx.shared_tunnels());
        self.cx.board.set_buffered(self.cx.store.budget.held());
        let wanted = self.drain.accepts();
        self.gate.settle(wanted, connections, &mut self.cx);
    }

    fn accept(&mut self) {
        if self.gate.is_pressed() {
            self.make_place();
        }
        let Self { clients, gate, cx, drain, .. } = self;
        let draining = !drain.accepts();
        let accepted = gate.accept(cx.now, |fd, peer, listener| {
            let result = Client::open(clients, fd, peer, listener, draining, cx);
            if let Err(error) = result {
                log::warn!("worker: cannot watch a new connection: {error}");
            }
        });
        if let Err(error) = accepted {
            self.lacks(&error);
        }
    }
}

/// What one wait reported besides sockets.
#[derive(Default)]
struct Events {
    control: bool,
    wake: bool,
    files: bool,
    reader: bool,
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn an_idle_connection_is_small() {
        let size = size_of::<Client>();
        assert!(size <= 448, "{size} bytes for each open connection");
    }
}
