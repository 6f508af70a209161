//! Which responses may be kept (RFC 9111 §3), how, and for how long.

use super::fresh::{self, Lifetime, Said, Times};
use super::hash::Secret;
use super::settings::{Client, Settings};
use super::stored::{Head, Life};
use super::{SECOND, control, tags, vary};
use crate::http::{Fields, Method, Names, RequestHead, ResponseHead};

/// A request that went to an app or upstream, and the head of what it said: as it came from there.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// As it was sent.
    pub request: &'a RequestHead,
    /// As it came.
    pub response: &'a ResponseHead,
    /// When that was.
    pub times: Times,
    /// It is known who asks, by `Authorization` or otherwise.
    pub authorized: bool,
}

/// A response that may be kept once its body is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What is kept of its head.
    pub head: Head,
    /// What selects it among responses of its URL.
    pub vary: vary::Names,
}

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It answers another request than a GET.
    Method,
    /// It is a part, or says only that something has not changed, or has a status whose meaning must be known and is not.
    Status,
    /// The client does not want it.
    RequestNoStore,
    /// `no-store`
    NoStore,
    /// `private`
    Private,
    /// `X-Accel-Expires` has said so.
    Accel,
    /// The client was authorized for it, and nothing says that others are, too.
    Authorization,
    /// It sets a cookie.
    SetCookie,
    /// It depends on what no request shows, or on too much.
    Vary,
    /// It has too many tags.
    Tags,
    /// Nobody says for how long it is good.
    Unsaid,
    /// It is of no use any more.
    Expired,
}

impl Refused {
    /// Whether this is so for what the request was, so that it tells nothing of responses to others for the same: whoever sends
    /// such a request must not keep others from being answered by the cache.
    #[must_use]
    pub fn is_of_request(self) -> bool {
        matches!(self, Self::Method | Self::RequestNoStore | Self::Authorization)
    }

    /// As it stands in `Cache-Status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Accel => "x-accel-expires",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::Tags => "tags",
            Self::Unsaid => "no-lifetime",
            Self::Expired => "expired",
        }
    }
}

/// Fields that are not kept: those of a connection, which end here anyway (RFC 9111 §3.1), those that are made anew for each
/// response, and cookies.
const NEVER: Names = Names::new(&[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "content-length",
    "date",
    "server",
    "age",
    "set-cookie",
    "set-cookie2",
]);

/// What an app says to the server in front of it; `x-accel-redirect` was followed before.
const ORDERS: &[u8] = b"x-accel-";

/// Judges the response to a request, whose body is still to come.
///
/// # Errors
/// Why it is not kept.
pub fn admit(exchange: &Exchange<'_>, settings: &Settings, secret: Secret) -> Result<Admitted, Refused> {
    let Exchange { request, response, times, .. } = *exchange;
    let fields = &response.fields;
    let status = response.status;
    if request.method() != Method::Get {
        return Err(Refused::Method);
    }
    let said = Said::read(fields, settings, times.received);
    may_keep(exchange, &said, settings)?;
    let withheld = withheld(&said.control, fields);
    if fields.iter().any(|(name, _)| COOKIES.has(name) && !withheld(name)) {
        return Err(Refused::SetCookie);
    }
    let vary = vary::Names::of(fields).map_err(|vary::Unusable| Refused::Vary)?;
    let tags = if settings.tags { tags::of(fields.iter(), secret).ok_or(Refused::Tags)? } else { Vec::new() };
    let date = fresh::date_of(fields, times.received);
    let age = fresh::initial_age(fields, times, date);
    let lifetime = said.lifetime(fields, (status.0, date), age, settings);
    let control = &said.control;
    let never_stale = control.must_revalidate || control.proxy_revalidate;
    // Such a response may be sent stale only if it says so itself (RFC 9111 §5.2.2.10, §4.2.4).
    let says_all = control.s_maxage.is_some();
    let window = |said: Option<u64>, configured| match said {
        _ if never_stale || control.no_cache => 0,
        Some(seconds) => seconds * SECOND,
        None if says_all => 0,
        None => configured,
    };
    let life = Life {
        date,
        received: times.received,
        age,
        lifetime: lifetime.length(),
        while_revalidate: window(control.stale_while_revalidate, settings.stale_while_revalidate),
        if_error: window(control.stale_if_error, settings.stale_if_error),
        always_validate: control.no_cache,
        never_stale: never_stale || says_all,
        for_authorized: said.for_authorized,
    };
    let mut kept = fields.clone();
    kept.retain(|name| is_kept(name, settings) && !withheld(name));
    let head = Head { status, reason: response.reason.clone(), fields: kept, life, tags };
    is_of_use(&head, lifetime, control)?;
    Ok(Admitted { head, vary })
}

const COOKIES: Names = Names::new(&["set-cookie", "set-cookie2"]);

/// What request, status and directives say.
fn may_keep(exchange: &Exchange<'_>, said: &Said, settings: &Settings) -> Result<(), Refused> {
    let Exchange { request, response, authorized, .. } = *exchange;
    let status = response.status;
    let control = &said.control;
    let is_known = !status.reason().is_empty();
    if status.0 < 200 || matches!(status.0, 206 | 304) || control.must_understand && !is_known {
        return Err(Refused::Status);
    }
    // Whoever knows the status is to do what `no-store` stands in the place of (RFC 9111 §5.2.2.3).
    if control.no_store && !control.must_understand {
        return Err(Refused::NoStore);
    }
    if control.private {
        return Err(Refused::Private);
    }
    if said.forbids() {
        return Err(Refused::Accel);
    }
    if (authorized || request.get("authorization").is_some()) && !said.for_authorized {
        return Err(Refused::Authorization);
    }
    let by_client = settings.client == Client::Honour;
    if by_client && control::Request::parse(request.all("cache-control")).no_store {
        return Err(Refused::RequestNoStore);
    }
    Ok(())
}

/// Whether a response that may be kept is worth it: it is fresh, or may be sent stale, or can be asked for if it is still right.
fn is_of_use(head: &Head, lifetime: Lifetime, control: &control::Response) -> Result<(), Refused> {
    let Life { age, while_revalidate, if_error, .. } = head.life;
    if lifetime == Lifetime::Unsaid && !control.public {
        return Err(Refused::Unsaid);
    }
    let left = lifetime.length().saturating_add(while_revalidate.max(if_error)).saturating_sub(age);
    if left > 0 || head.has_validator() { Ok(()) } else { Err(Refused::Expired) }
}

/// Whether a field is kept, as far as its name tells.
pub(super) fn is_kept(name: &[u8], settings: &Settings) -> bool {
    let is_order = || name.get(..ORDERS.len()).is_some_and(|start| start.eq_ignore_ascii_case(ORDERS));
    let is_omitted = || settings.omit.iter().any(|omitted| name.eq_ignore_ascii_case(omitted.as_bytes()));
    let is_for_us = settings.tags && tags::FIELDS.has(name) || settings.accel && is_order();
    !(NEVER.has(name) || is_for_us || is_omitted())
}

/// The fields that the response names in lists of `no-cache` and `private`, or in `Connection`: they are for this client alone,
/// or for this connection.
fn withheld<'a>(control: &'a control::Response, fields: &'a Fields) -> impl Fn(&[u8]) -> bool + 'a {
    let options = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let nominated: Vec<&[u8]> =
        options.flat_map(|(_, value)| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect();
    move |name| {
        control.withheld.iter().any(|other| name.eq_ignore_ascii_case(other))
            || nominated.iter().any(|other| name.eq_ignore_ascii_case(other))
    }
}

/// Takes out of a response what was for this cache alone, whoever gets it and whether it is kept or not.
pub fn strip(fields: &mut Fields, settings: &Settings) {
    let is_ours = |name: &[u8]| {
        settings.tags && tags::FIELDS.has(name)
            || settings.accel && name.eq_ignore_ascii_case(b"x-accel-expires")
    };
    if fields.iter().any(|(name, _)| is_ours(name)) {
        fields.retain(|name| !is_ours(name));
    }
}
