//! Connections that a proxy begins with a header of the PROXY protocol, which says whose they are. It comes before all else,
//! TLS too, and is looked at where it is: no byte behind it is taken. What the header says holds for the whole connection, in
//! logs and quotas, for apps and upstreams.

use super::{CLOSED, Client, Http, Phase, TOO_MANY};
use crate::event::Read;
use crate::http::serving::End;
use crate::proxied::{self, Addresses, Header};
use crate::sys::socket;
use crate::worker::context::Context;
use crate::worker::exchange::Peer;
use crate::worker::limiter::Counted;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

const LATE: &str = "did not come in time; raise limits.header_timeout";

/// Whether a peer begins with such a header. What others send is none, whatever it looks like.
pub(super) fn is_expected(address: Option<SocketAddr>, listener: u16, cx: &Context) -> bool {
    let listener = cx.listeners.get(usize::from(listener));
    listener.is_some_and(|listener| listener.trusts(&listener.proxies, address.map(|address| address.ip())))
}

/// Where a client connected to, if an upstream is told of it.
pub(super) fn local(fd: &OwnedFd, cx: &Context) -> Option<Rc<SocketAddr>> {
    let is_told = cx.config.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some());
    if is_told { socket::local(fd.as_fd()).map(Rc::new) } else { None }
}

impl Client {
    /// Takes the header; whether it was there.
    ///
    /// # Errors
    /// It is none, or comes no more: the connection is to be closed, and why was logged.
    pub(super) fn hear_proxy(&mut self, cx: &mut Context) -> io::Result<bool> {
        let socket = self.wire.transport.socket();
        let mut seen = 0;
        // As much always tells.
        let most = cx.scratch.get_mut(..proxied::MOST).unwrap_or_default();
        let read = if socket.readable() { socket.peek(most)? } else { Read::Blocked };
        if let Read::Bytes(count) = read {
            seen = count;
            let bytes = cx.scratch.get(..count).unwrap_or_default();
            match proxied::read(bytes) {
                Ok(Some(Header { addresses, length })) => {
                    socket.read(cx.scratch.get_mut(..length).unwrap_or_default())?;
                    return self.introduce(addresses, cx).map(|()| true);
                }
                Ok(None) => {}
                Err(mistake) => return Err(refuse(&self.wire.peer, mistake.why(), cx)),
            }
        }
        let ended = socket.read_closed();
        let http = self.http.face();
        let late = http.deadline().is_some_and(|deadline| deadline <= cx.now);
        let waits = self.wire.phase == Phase::Open && http.end() == End::Open;
        match (ended, late) {
            (true, _) if seen > 0 => Err(refuse(&self.wire.peer, "breaks off", cx)),
            (false, true) => Err(refuse(&self.wire.peer, LATE, cx)),
            (false, false) if waits => Ok(false),
            // Who only looks whether somebody listens sends nothing.
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The connection is that of these ends.
    fn introduce(&mut self, addresses: Option<Addresses>, cx: &mut Context) -> io::Result<()> {
        let Some(Addresses { source, destination }) = addresses else { return Ok(()) };
        let peer = &mut self.wire.peer;
        (peer.address, peer.local) = (Some(source), Some(Rc::new(destination)));
        let Some(counted) = cx.enter(peer.address, peer.listener) else {
            cx.note(log::Level::Info, CLOSED, format_args!("{CLOSED}"));
            return Err(io::ErrorKind::QuotaExceeded.into());
        };
        self.wire.counted = counted;
        if let (Counted::Refused, Http::H1(http), false) =
            (counted, &mut self.http, self.wire.transport.is_tls())
        {
            http.conn.refuse_early(TOO_MANY);
            self.wire.fresh = false;
        }
        Ok(())
    }
}

/// Tells why a connection of a proxy is closed.
fn refuse(peer: &Peer, why: &str, cx: &mut Context) -> io::Error {
    let address = peer.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
    let line = format!("closed: the PROXY header {why}");
    cx.note(log::Level::Info, &line, format_args!("{address}: {line}"));
    io::ErrorKind::InvalidData.into()
}
