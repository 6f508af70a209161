//! What stands for the servers of an upstream in the cookies of its clients: nobody without the key can make it, or learn
//! from it where a server is.

use crate::balance::sticky::TAG;
use crate::config::{Upstream, Where};
use crate::control::digits::hex;
use crate::sys::fd;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The key of upstreams that have no `secret`: it holds as long as the master lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key([u64; 4]);

impl Default for Key {
    fn default() -> Self {
        Self([(); 4].map(|()| fd::random()))
    }
}

/// Of each place of the upstream its tag, which is empty where that is looked up; none where sessions do not stay.
pub(super) fn tags(upstream: &Upstream, key: &Key) -> Vec<String> {
    let tag = |address: &Where| match address {
        Where::At(address) => hex(&tag(upstream, key, &address.to_string()).unwrap_or_default()),
        Where::Named(_) => String::new(),
    };
    let places = upstream.places().filter(|_| upstream.sticky.is_some());
    places.map(|(_, server)| tag(&server.address)).collect()
}

/// The tag of a server; `None` where sessions do not stay.
pub(super) fn tag(upstream: &Upstream, key: &Key, address: &str) -> Option<[u8; TAG]> {
    let sticky = upstream.sticky.as_ref()?;
    let own: Vec<u8> = key.0.iter().flat_map(|part| part.to_be_bytes()).collect();
    let key = sticky.secret.as_ref().map_or(own.as_slice(), String::as_bytes);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signed = hmac::sign(&key, format!("{}\0{address}", upstream.name).as_bytes());
    signed.as_ref().first_chunk().copied()
}
