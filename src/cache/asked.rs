//! Whether the cache may answer a request at all, and what the request says about it.

use super::control;
use super::settings::{Client, Settings};
use super::status::Forward;
use crate::http::{BodyLength, Method, Names, RequestHead};

/// What a request says, as far as it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What it says about caches.
    pub control: control::Request,
    /// It comes with `Authorization`, or it is known otherwise who asks.
    pub authorized: bool,
}

const READ: Names = Names::new(&["cache-control", "pragma", "authorization", "upgrade"]);

/// Looks at a request with a body of this length.
///
/// # Errors
/// It goes on as if there were no cache, and why: it reads nothing, brings something along that its key does not tell of, or
/// wants another protocol.
pub fn asked(head: &RequestHead, body: BodyLength, settings: &Settings) -> Result<Asked, Forward> {
    if !matches!(head.method(), Method::Get | Method::Head) {
        return Err(Forward::Method);
    }
    if !matches!(body, BodyLength::None | BodyLength::Known(0)) {
        return Err(Forward::Bypass);
    }
    let (mut authorized, mut says, mut upgrades) = (false, false, false);
    for (name, _) in head.fields().filter(|(name, _)| READ.has(name)) {
        match name.len() {
            13 if name.eq_ignore_ascii_case(b"authorization") => authorized = true,
            7 => upgrades = true,
            _ => says = true,
        }
    }
    // "pragma" has six letters, "upgrade" seven.
    if upgrades {
        return Err(Forward::Bypass);
    }
    let control = if says { said(head, settings) } else { control::Request::default() };
    Ok(Asked { control, authorized })
}

fn said(head: &RequestHead, settings: &Settings) -> control::Request {
    let mut control = control::Request::parse(head.all("cache-control"));
    match settings.client {
        Client::Ignore => {
            control::Request { only_if_cached: control.only_if_cached, ..control::Request::default() }
        }
        Client::Honour => {
            // RFC 9111 §5.4: only where the newer field says nothing.
            if head.get("cache-control").is_none() {
                let mut words = head.all("pragma").flat_map(|value| value.split(|byte| *byte == b','));
                control.no_cache = words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-cache"));
            }
            control
        }
    }
}
