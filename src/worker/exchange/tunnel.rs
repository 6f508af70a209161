//! The part of an exchange after a 101: bytes between the client's connection and a link, as [`Tunnel`] has it. What was
//! read of one side and not written to the other is one read each way.

use super::{Exchange, Step};
use crate::buf::Segment;
use crate::event::{Read, Readiness};
use crate::gateway::{Tunnel, TunnelStep};
use crate::http::ResponseHead;
use crate::http::fault::Fault;
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};

/// See the module.
pub(super) struct Run {
    link: Key,
    tunnel: Tunnel,
    /// Something of the server may be there that its client had no room for.
    waits_for_room: bool,
}

impl Exchange {
    /// The upstream has switched: so do we.
    pub(super) fn open_tunnel(&mut self, head: &ResponseHead, drive: &mut Drive<'_>) {
        let Step::Proxy(run) = std::mem::replace(&mut self.step, Step::Sent) else { return };
        let Some((link, rest, idle, patience)) = run.into_tunnel(drive.cx) else {
            return drive.reply.break_off();
        };
        let run = Run { link, tunnel: Tunnel::new(idle, patience, drive.cx.now), waits_for_room: true };
        if !drive.reply.switch(head, drive.cx) {
            run.close(drive.cx);
            return drive.reply.break_off();
        }
        if !rest.is_empty() {
            drive.reply.send(Segment::from(rest));
        }
        self.received = Some(0);
        self.step = Step::Tunnel(Box::new(run));
    }

    /// Bytes of the client.
    pub(super) fn pass_up(&mut self, bytes: Vec<u8>, drive: &mut Drive<'_>) {
        let Step::Tunnel(run) = &mut self.step else { return };
        let Some(link) = drive.cx.links.get_mut(run.link) else { return };
        self.received = self.received.map(|received| received.saturating_add(bytes.len() as u64));
        link.out.push(Segment::from(bytes));
        run.tunnel.moved(true, drive.cx.now);
    }

    /// A tunnel ends when it is looked at next; whether it is one.
    pub(in crate::worker) fn ends_tunnel(&mut self) -> bool {
        match &mut self.step {
            Step::Tunnel(run) => run.tunnel.cut(),
            Step::WebSocket(run) => run.cut(),
            _ => {}
        }
        self.is_tunnel()
    }
}

impl Run {
    /// Whether bytes of the client are wanted.
    pub(super) fn wants_client(&self) -> bool {
        self.tunnel.wants_client()
    }

    /// Whether there is more to do once the client has taken something.
    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    /// The client sends nothing more.
    pub(super) fn client_ended(&mut self) {
        self.tunnel.client_ended();
    }

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Time {
        self.tunnel.deadline()
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, drive: &mut Drive<'_>) -> Advance {
        if let Some(fault) = self.tunnel.on_timeout(drive.cx.now) {
            return self.end(Advance::Broken(fault), drive.cx);
        }
        match self.pass(drive) {
            Ok(Advance::Done) => self.end(Advance::Done, drive.cx),
            Ok(advance) => advance,
            Err(fault) => self.end(Advance::Broken(fault), drive.cx),
        }
    }

    fn pass(&mut self, drive: &mut Drive<'_>) -> Result<Advance, Fault> {
        let Drive { reply, cx, .. } = drive;
        let link = cx.links.get_mut(self.link).ok_or(Fault::Truncated)?;
        let sent = link.send(&mut cx.keyring, &mut cx.scratch);
        link.await_room(self.link, &cx.poll);
        let mut any = match sent {
            Ok(any) => any,
            Err(_) => {
                // It has closed: what it said before may still be there to be read.
                link.out.clear();
                self.tunnel.server_refuses();
                link.endpoint.note(Readiness { read: true, ..Readiness::default() });
                false
            }
        };
        let waits = !link.out.is_empty();
        while self.tunnel.wants_server(reply.has_room()) && link.readable() {
            match link.read(&mut cx.keyring, &mut cx.scratch).map_err(|_| Fault::Truncated)? {
                Read::Bytes(0) => continue,
                Read::Bytes(count) => {
                    reply.send(Segment::from(cx.scratch.get(..count).unwrap_or_default().to_vec()));
                }
                Read::Eof => self.tunnel.server_ended(),
                Read::Blocked => break,
            }
            any = true;
        }
        self.waits_for_room = self.tunnel.wants_server(true) && link.readable();
        if any {
            self.tunnel.moved(waits, cx.now);
        }
        // All that could be moved was: only an end may be followed by more.
        let mut ended = false;
        while let Some(step) = self.tunnel.poll() {
            match step {
                TunnelStep::ShutServer => link.shut_write(),
                TunnelStep::ShutClient => reply.shut(),
                TunnelStep::Done => return Ok(Advance::Done),
            }
            ended = true;
        }
        Ok(if ended { Advance::Progress } else { Advance::Wait })
    }

    fn end(&self, advance: Advance, cx: &mut Context) -> Advance {
        cx.links.close(self.link);
        advance
    }

    /// Nobody goes on with it.
    pub(super) fn close(&self, cx: &mut Context) {
        cx.links.close(self.link);
    }
}
