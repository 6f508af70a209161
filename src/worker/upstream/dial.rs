//! Connecting to a server of an upstream, the handshake of TLS included.

use super::links::Link;
use crate::config::{Address, Upstream};
use crate::event::Endpoint;
use crate::http::fault::Fault;
use crate::sys::socket;
use crate::worker::context::Context;
use crate::worker::transport::{Keyring, Outgoing};
use std::io;
use std::os::fd::AsFd as _;

/// Why there is none.
pub(super) struct NoConnection {
    pub(super) fault: Fault,
    /// In more words, if there are any.
    pub(super) why: Option<String>,
}

impl Context {
    /// Whether a server is reached by TCP, in the clear: what it sends can go through a pipe, and is better off there. From a
    /// Unix socket it would be copied once more.
    pub(super) fn can_be_piped(&self, upstream: usize, server: usize) -> bool {
        let is_plain = self.config.upstreams.get(upstream).is_some_and(Upstream::can_be_piped);
        let address = self.servers.spot(upstream, server).and_then(|spot| spot.address.as_ref());
        is_plain && matches!(address, Some(Address::Tcp(_)))
    }

    /// A connection to a server: it may not be there yet. `header` is what one begins with that begins with TLS.
    ///
    /// # Errors
    /// As connect(2); the server has no address to connect to.
    pub(super) fn dial(
        &self,
        upstream: usize,
        server: usize,
        header: &[u8],
    ) -> io::Result<(Endpoint, Option<Box<Outgoing>>)> {
        let settings = self.config.upstream(upstream).ok_or(io::ErrorKind::NotFound)?;
        let spot = self.servers.spot(upstream, server).ok_or(io::ErrorKind::NotFound)?;
        let endpoint = match spot.address.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)? {
            Address::Tcp(address) => Endpoint::connecting(socket::connect_tcp(*address)?),
            Address::Unix(path) => {
                let stream = socket::connect_unix(path, socket::Expect::Bytes)?;
                if spot.owner.is_some() && socket::peer_user(stream.as_fd()) != spot.owner {
                    return Err(io::Error::other("who listens on the socket of the process is another user"));
                }
                Endpoint::new(stream)
            }
            Address::Any(_) | Address::Passed(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        if settings.tls.is_none() {
            return Ok((endpoint, None));
        }
        let unusable = "what its `tls` names is of no use, as an error before this one says";
        let terms = self.keyring.to_server(upstream, spot.entry).ok_or_else(|| io::Error::other(unusable))?;
        Ok((endpoint, Some(Box::new(Outgoing::new(terms, header)?))))
    }
}

impl Link {
    /// Goes on with connecting; whether that is done.
    pub(super) fn connects(
        &mut self,
        keyring: &mut Keyring,
        scratch: &mut [u8],
    ) -> Result<bool, NoConnection> {
        let Self { endpoint, tls, .. } = self;
        if !tls.as_ref().is_some_and(|tls| tls.has_begun()) {
            if !endpoint.writable() {
                return Ok(false);
            }
            if endpoint.error().is_some() {
                return Err(NoConnection { fault: Fault::Refused, why: None });
            }
        }
        let Some(tls) = tls else { return Ok(true) };
        tls.shake(endpoint, keyring, scratch).map_err(|error| NoConnection {
            fault: Fault::Handshake,
            why: Some(format!("TLS failed: {error}")),
        })
    }
}
