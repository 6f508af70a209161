//! Named conditions: what a location, and each policy that depends on more than its place, asks of a request. Pure: a request
//! in, yes or no out. They refer to each other by their index in one list, without cycles.

use crate::http::message::is_one_of;
use crate::http::target::Target;
use crate::http::{Method, Network, RequestHead, Scheme, percent, readings};
use regex_lite::Regex;
use std::borrow::Cow;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// A condition; all that it says must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// One of these; GET is also HEAD.
    pub(crate) method: Vec<String>,
    /// A field of the head.
    pub(crate) header: Option<Pair>,
    /// A parameter of the query.
    pub(crate) query: Option<Pair>,
    /// A cookie.
    pub(crate) cookie: Option<Pair>,
    /// The client's address, as proxies that are trusted say it.
    pub(crate) client: Vec<Network>,
    /// The host in lower case, without a port.
    pub(crate) host: Vec<Text>,
    /// How the client has come, as proxies that are trusted say it.
    pub(crate) scheme: Option<Scheme>,
    /// The path, decoded and normalised.
    pub(crate) path: Vec<Text>,
    /// One of these holds.
    pub(crate) any: Vec<Term>,
    /// All of these hold.
    pub(crate) all: Vec<Term>,
    /// This one does not hold.
    pub(crate) not: Option<Box<Term>>,
}

/// Something of a name, with one of these values; none: with any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) values: Vec<Text>,
}

/// What a text is compared with.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// This text, and no other.
    Is(String),
    /// One in which this is found.
    Has(Regex),
}

/// A condition within another one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    /// The one at this index.
    Named(When),
    Own(Box<Condition>),
}

/// A reference to the condition at this index of [`Facts::conditions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub(crate) usize);

/// A request, as conditions see it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The fields, and the target as it was written.
    pub(crate) head: &'a RequestHead,
    /// A WebSocket is asked for by GET in each version of HTTP.
    pub(crate) method: &'a [u8],
    /// How its target was understood.
    pub(crate) target: &'a Target,
    /// The path that counts; that of the target but where somebody may read another one in it.
    pub(crate) path: &'a [u8],
    /// The host in lower case, without a port.
    pub(crate) host: &'a [u8],
    /// `None`: it came by a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) scheme: Scheme,
    /// All conditions with their names.
    pub(crate) conditions: &'a [(String, Condition)],
}

impl<'a> Facts<'a> {
    /// A request with this head and target; nothing else is known of it yet.
    pub(crate) fn of(head: &'a RequestHead, target: &'a Target) -> Self {
        let method = if head.method() == Method::Connect { b"GET" } else { head.method_bytes() };
        let (client, scheme) = (None, Scheme::Http);
        Self { head, method, target, path: target.path(), host: &[], client, scheme, conditions: &[] }
    }

    /// Whether an upstream, which gets the path as it was written, could read one in it that does not lead here, or for which
    /// other conditions hold: policies may ask for the path, too.
    pub(crate) fn may_be_misread(&self, leads_here: impl Fn(&Facts<'_>) -> bool) -> bool {
        let on_path: Vec<When> =
            (0..self.conditions.len()).map(When).filter(|when| when.sees_path(self.conditions)).collect();
        !readings::agree(self.target, self.target.raw_path(self.head.target()), |path| {
            let read = Facts { path, ..*self };
            leads_here(&read) && on_path.iter().all(|when| when.holds(&read) == when.holds(self))
        })
    }
}

impl When {
    /// Whether the condition holds for this request.
    #[must_use]
    pub fn holds(self, facts: &Facts<'_>) -> bool {
        facts.conditions.get(self.0).is_some_and(|(_, condition)| condition.holds(facts))
    }

    /// Whether it depends on the path, which others may read in another way.
    pub(crate) fn sees_path(self, conditions: &[(String, Condition)]) -> bool {
        conditions.get(self.0).is_some_and(|(_, condition)| condition.sees_path(conditions))
    }
}

impl Condition {
    /// Whether it holds for this request.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let Self { method, header, query, cookie, client, host, scheme, path, any, all, not } = self;
        (method.is_empty() || is_one_of(method, facts.method))
            && scheme.is_none_or(|scheme| scheme == facts.scheme)
            && (client.is_empty() || client.iter().any(|network| network.contains(facts.client)))
            && is_any(host, facts.host)
            && is_any(path, facts.path)
            && header.as_ref().is_none_or(|header| has_header(header, facts))
            && cookie.as_ref().is_none_or(|cookie| has_cookie(cookie, facts))
            && query.as_ref().is_none_or(|query| has_parameter(query, facts))
            && (any.is_empty() || any.iter().any(|term| term.holds(facts)))
            && all.iter().all(|term| term.holds(facts))
            && not.as_ref().is_none_or(|term| !term.holds(facts))
    }

    fn sees_path(&self, conditions: &[(String, Self)]) -> bool {
        !self.path.is_empty()
            || self.terms().any(|term| match term {
                Term::Named(when) => when.sees_path(conditions),
                Term::Own(condition) => condition.sees_path(conditions),
            })
    }

    /// The conditions that it consists of.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &Term> {
        self.any.iter().chain(&self.all).chain(self.not.as_deref())
    }
}

impl Term {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Named(when) => when.holds(facts),
            Self::Own(condition) => condition.holds(facts),
        }
    }
}

impl Text {
    fn fits(&self, text: &[u8]) -> bool {
        match self {
            Self::Is(wanted) => wanted.as_bytes() == text,
            Self::Has(regex) => regex.is_match(&String::from_utf8_lossy(text)),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(one), Self::Is(two)) => one == two,
            (Self::Has(one), Self::Has(two)) => one.as_str() == two.as_str(),
            _ => false,
        }
    }
}

/// No texts: any fits.
fn is_any(texts: &[Text], value: &[u8]) -> bool {
    texts.is_empty() || texts.iter().any(|text| text.fits(value))
}

/// Each line of a field is a value of its own.
fn has_header(wanted: &Pair, facts: &Facts<'_>) -> bool {
    facts.head.all(&wanted.name).any(|value| is_any(&wanted.values, value))
}

fn has_cookie(wanted: &Pair, facts: &Facts<'_>) -> bool {
    let lines = facts.head.all("cookie");
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.map(divided).any(|(name, value)| {
        name.trim_ascii_end() == wanted.name.as_bytes() && is_any(&wanted.values, value.trim_ascii_start())
    })
}

/// As forms are sent: decoded, `+` is a space.
fn has_parameter(wanted: &Pair, facts: &Facts<'_>) -> bool {
    let query = facts.target.query(facts.head.target()).unwrap_or_default();
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(divided).any(|(name, value)| {
        *of_form(name) == *wanted.name.as_bytes() && is_any(&wanted.values, &of_form(value))
    })
}

/// `name=value`; without `=` the value is empty.
fn divided(pair: &[u8]) -> (&[u8], &[u8]) {
    let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    (pair.get(..end).unwrap_or_default(), pair.get(end + 1..).unwrap_or_default())
}

fn of_form(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent::decoded(&spaced))
}
