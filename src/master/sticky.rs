//! What stands for the servers of an upstream in the cookies of its clients: nobody without the key can make it, or learn
//! from it where a server is.

use crate::config::Upstream;
use crate::control::digits::hex;
use crate::sys::fd;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Bytes of a tag, twice as many digits.
const TAG: usize = 16;

/// The key of upstreams that have no `secret`: it holds as long as the master lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key([u64; 4]);

impl Default for Key {
    fn default() -> Self {
        Self([(); 4].map(|()| fd::random()))
    }
}

/// Of each server of the upstream its tag; none where sessions do not stay.
pub(super) fn tags(upstream: &Upstream, key: &Key) -> Vec<String> {
    let Some(sticky) = &upstream.sticky else { return Vec::new() };
    let own: Vec<u8> = key.0.iter().flat_map(|part| part.to_be_bytes()).collect();
    let key = sticky.secret.as_ref().map_or(own.as_slice(), String::as_bytes);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = |address: String| {
        let signed = hmac::sign(&key, format!("{}\0{address}", upstream.name).as_bytes());
        hex(signed.as_ref().get(..TAG).unwrap_or_default())
    };
    upstream.servers.iter().map(|server| tag(server.address.to_string())).collect()
}
