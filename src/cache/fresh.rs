//! For how long a response is fresh, and how old it is (RFC 9111 §4.2).

use super::control::{self, delta_seconds};
use super::settings::Settings;
use super::{Millis, SECOND, targeted};
use crate::http::{Fields, date};
use crate::timer::Wall;

/// When an exchange took place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The request went to the app or upstream.
    pub requested: Millis,
    /// The head of the response came.
    pub received: Millis,
}

/// What a response says about its own freshness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Its directives; of those that hold here.
    pub(super) control: control::Response,
    /// One of them lets it answer others than who was authorized for it (RFC 9111 §3.5).
    pub(super) for_authorized: bool,
    /// `X-Accel-Expires`, in milliseconds from its receipt.
    accel: Option<Millis>,
    /// `Expires`, in seconds since the epoch; what is no date is long ago.
    expires: Option<i64>,
}

/// How long it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// The response has said so.
    Said(Millis),
    /// The operator has.
    Configured(Millis),
    /// It was concluded.
    Guessed(Millis),
    /// Nobody knows.
    Unsaid,
}

impl Said {
    /// Reads the fields of a response, which came then.
    pub(super) fn read(fields: &Fields, settings: &Settings, received: Millis) -> Self {
        let all = |name: &str| {
            let name = name.to_owned();
            let is_it = move |have: &[u8]| have.eq_ignore_ascii_case(name.as_bytes());
            fields.iter().filter(move |(have, _)| is_it(have)).map(|(_, value)| value)
        };
        let targeted = settings.targets.iter().find_map(|name| targeted::parse(all(name)));
        let for_all = targeted.is_none();
        let mut control = targeted.unwrap_or_else(|| control::Response::parse(all("cache-control")));
        if for_all && fields.get("cache-control").is_none() {
            // It has no meaning in a response (RFC 9111 §5.4), but who says it means it.
            control.no_cache |=
                fields.get("pragma").is_some_and(|value| value.eq_ignore_ascii_case(b"no-cache"));
        }
        let for_authorized = control.public || control.s_maxage.is_some() || control.must_revalidate;
        let accel = settings.accel.then(|| accel(fields, received)).flatten();
        if accel.is_some() {
            // It is for us, and what it says in the place of `Cache-Control` is for others.
            let control::Response { stale_while_revalidate, stale_if_error, withheld, .. } = control;
            control =
                control::Response { stale_while_revalidate, stale_if_error, withheld, ..Default::default() };
        }
        let expires = for_all.then(|| expires(all("expires"), received)).flatten();
        Self { control, for_authorized, accel, expires }
    }

    /// `X-Accel-Expires: 0`, or a time in the past.
    pub(super) fn forbids(&self) -> bool {
        self.accel == Some(0)
    }

    /// How long the response is fresh, counted from when it was made: it was that old when it was received.
    pub(super) fn lifetime(
        &self,
        fields: &Fields,
        (status, date): (u16, i64),
        age: Millis,
        settings: &Settings,
    ) -> Lifetime {
        let control = &self.control;
        if let Some(accel) = self.accel {
            return Lifetime::Said(accel.saturating_add(age));
        }
        if control.no_cache {
            return Lifetime::Said(0);
        }
        if let Some(seconds) = control.s_maxage.or(control.max_age) {
            return Lifetime::Said(seconds.saturating_mul(SECOND));
        }
        if let Some(expires) = self.expires {
            let seconds = u64::try_from(expires.saturating_sub(date)).unwrap_or(0);
            return Lifetime::Said(seconds.min(control::LONGEST) * SECOND);
        }
        if let Some(ttl) = settings.own_ttl(status) {
            return Lifetime::Configured(ttl.saturating_add(age));
        }
        let may_guess = is_heuristic(status) || control.public;
        guess(fields, date, settings).filter(|_| may_guess).map_or(Lifetime::Unsaid, Lifetime::Guessed)
    }
}

impl Lifetime {
    pub(super) fn length(self) -> Millis {
        match self {
            Self::Said(length) | Self::Configured(length) | Self::Guessed(length) => length,
            Self::Unsaid => 0,
        }
    }
}

/// Statuses whose responses may be kept although nobody says so (RFC 9110 §15.1), but 206.
fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// A tenth of how long ago it was modified (RFC 9111 §4.2.2).
fn guess(fields: &Fields, date: i64, settings: &Settings) -> Option<Millis> {
    if settings.heuristic == 0 {
        return None;
    }
    let modified = single_date(fields, "last-modified", date)?;
    let seconds = u64::try_from(date.saturating_sub(modified)).unwrap_or(0);
    Some((seconds.saturating_mul(SECOND) / 10).min(settings.heuristic))
}

/// `X-Accel-Expires`: seconds, or `@` and seconds since the epoch. What is neither says nothing, as in nginx.
fn accel(fields: &Fields, received: Millis) -> Option<Millis> {
    let value = fields.get("x-accel-expires")?;
    match value.strip_prefix(b"@") {
        Some(point) => {
            let point = std::str::from_utf8(point).ok()?;
            let point =
                point.bytes().all(|byte| byte.is_ascii_digit()).then(|| point.parse::<u64>().ok())??;
            let length = point.saturating_mul(SECOND).saturating_sub(received);
            Some(length.min(control::LONGEST * SECOND))
        }
        None => delta_seconds(value).map(|seconds| seconds * SECOND),
    }
}

/// What several fields say that differ is no date, and what is none is long ago (RFC 9111 §5.3).
fn expires<'a>(mut values: impl Iterator<Item = &'a [u8]>, received: Millis) -> Option<i64> {
    let first = values.next()?;
    let is_one = values.all(|other| other == first);
    Some(date::parse(first, wall(received)).filter(|_| is_one).unwrap_or(0))
}

/// The date in the only field of that name.
pub(super) fn single_date(fields: &Fields, name: &str, now: i64) -> Option<i64> {
    let mut values = fields.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()));
    let (_, value) = values.next()?;
    if values.next().is_some() {
        return None;
    }
    date::parse(value, Wall { seconds: now, nanos: 0 })
}

fn wall(point: Millis) -> Wall {
    Wall { seconds: seconds(point), nanos: 0 }
}

/// Whole seconds since the epoch.
pub(super) fn seconds(point: Millis) -> i64 {
    i64::try_from(point / SECOND).unwrap_or(i64::MAX)
}

/// `Date`, or when it was received, if it does not say (RFC 9110 §6.6.1).
pub(super) fn date_of(fields: &Fields, received: Millis) -> i64 {
    let received = seconds(received);
    single_date(fields, "date", received).unwrap_or(received)
}

/// How old a response was when it was received (RFC 9111 §4.2.3).
pub(super) fn initial_age(fields: &Fields, times: Times, date: i64) -> Millis {
    let apparent = u64::try_from(seconds(times.received).saturating_sub(date)).unwrap_or(0);
    let apparent = apparent.min(control::LONGEST) * SECOND;
    let delay = times.received.saturating_sub(times.requested);
    apparent.max((age_value(fields) * SECOND).saturating_add(delay))
}

/// `Age`: the first of a list, and nothing if that is no number (RFC 9111 §5.1).
fn age_value(fields: &Fields) -> u64 {
    let first = fields.get("age").and_then(|value| value.split(|byte| *byte == b',').next());
    first.and_then(|value| delta_seconds(value.trim_ascii())).unwrap_or(0)
}
