//! `Cache-Control` (RFC 9111 §5.2, RFC 5861), read so that a mistake in it makes a response older, never younger: a number that
//! is none is 0, one that is said twice and differently is 0, and a `private` or `no-cache` whose list of fields cannot be read
//! is about the whole response.

/// The longest time (RFC 9111 §1.2.2).
pub(super) const LONGEST: u64 = 1 << 31;

/// What a response says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, without a list of fields.
    pub no_cache: bool,
    /// `private`, without a list of fields.
    pub private: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `max-age`, in seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, in seconds.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`, in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, in seconds.
    pub stale_if_error: Option<u64>,
    /// The fields in lists of `no-cache` and `private`: they are for one client, the rest is for all.
    pub withheld: Vec<Box<[u8]>>,
}

/// What a request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`
    pub no_cache: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`, in seconds.
    pub max_age: Option<u64>,
    /// `min-fresh`, in seconds.
    pub min_fresh: Option<u64>,
    /// `max-stale`, in seconds; without a number, the longest time.
    pub max_stale: Option<u64>,
    /// `stale-if-error`, in seconds.
    pub stale_if_error: Option<u64>,
}

/// What stands behind the `=` of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    None,
    /// A token, or the text of a quoted string.
    Text(&'a [u8]),
    /// Something else.
    Broken,
}

impl Response {
    /// Reads the values of all fields `Cache-Control` of a response.
    #[must_use]
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut said = Self::default();
        values.for_each(|value| each(value, |name, argument| said.take(name, &argument)));
        said
    }

    pub(super) fn take(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= !withhold(argument, &mut self.withheld);
        } else if is("private") {
            self.private |= !withhold(argument, &mut self.withheld);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            once(&mut self.max_age, argument);
        } else if is("s-maxage") {
            once(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            once(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            once(&mut self.stale_if_error, argument);
        }
    }
}

impl Request {
    /// Reads the values of all fields `Cache-Control` of a request.
    #[must_use]
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut said = Self::default();
        values.for_each(|value| each(value, |name, argument| said.take(name, &argument)));
        said
    }

    fn take(&mut self, name: &[u8], argument: &Argument<'_>) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            once(&mut self.max_age, argument);
        } else if is("min-fresh") {
            // What cannot be read asks for more than there can be.
            self.min_fresh = self.min_fresh.max(Some(seconds(argument).unwrap_or(LONGEST)));
        } else if is("max-stale") {
            let most = if *argument == Argument::None { Some(LONGEST) } else { seconds(argument) };
            let most = most.unwrap_or(0);
            self.max_stale = Some(self.max_stale.map_or(most, |before| before.min(most)));
        } else if is("stale-if-error") {
            once(&mut self.stale_if_error, argument);
        }
    }
}

/// Takes a number that may be said once.
fn once(have: &mut Option<u64>, argument: &Argument<'_>) {
    let seconds = seconds(argument).unwrap_or(0);
    *have = Some(if have.is_some_and(|before| before != seconds) { 0 } else { seconds });
}

fn seconds(argument: &Argument<'_>) -> Option<u64> {
    match argument {
        Argument::Text(text) => delta_seconds(text),
        Argument::None | Argument::Broken => None,
    }
}

/// Digits; more than there can be is the longest time (RFC 9111 §1.2.2).
pub(super) fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some((number * 10 + digit).min(LONGEST))
    })
}

/// Takes a list of fields. `false`: there is none that can be read.
fn withhold(argument: &Argument<'_>, withheld: &mut Vec<Box<[u8]>>) -> bool {
    let Argument::Text(text) = argument else { return false };
    let names = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    let names: Vec<Box<[u8]>> = names.map(Into::into).collect();
    let are_names = !names.is_empty() && names.iter().all(|name| crate::http::fields::is_name(name));
    if are_names {
        withheld.extend(names);
    }
    are_names
}

/// Tells of each directive of a value.
fn each<'a>(value: &'a [u8], mut tell: impl FnMut(&'a [u8], Argument<'a>)) {
    let mut left = value;
    while !left.is_empty() {
        let end = left.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(left.len());
        let (name, rest) = left.split_at_checked(end).unwrap_or((left, &[]));
        let (argument, rest) = match rest.strip_prefix(b"=") {
            // No white space stands beside the sign.
            Some(rest) if name.ends_with(b" ") || name.ends_with(b"\t") => {
                (Argument::Broken, argument(rest).1)
            }
            Some(rest) => argument(rest),
            None => (Argument::None, rest),
        };
        left = rest.strip_prefix(b",").unwrap_or(rest);
        let name = name.trim_ascii();
        if !name.is_empty() {
            tell(name, argument);
        }
    }
}

/// What stands behind a `=`, and what follows it: nothing, or a comma and more.
fn argument(text: &[u8]) -> (Argument<'_>, &[u8]) {
    let (argument, rest) = match text.strip_prefix(b"\"") {
        Some(quoted) => match end_of_string(quoted) {
            Some((inside, rest)) => (Argument::Text(inside), rest),
            None => return (Argument::Broken, &[]),
        },
        None => {
            let (token, rest) = until_comma(text);
            let is_token = crate::http::fields::is_name(token) && text.starts_with(token);
            return (if is_token { Argument::Text(token) } else { Argument::Broken }, rest);
        }
    };
    let (between, rest) = until_comma(rest);
    (if between.is_empty() { argument } else { Argument::Broken }, rest)
}

fn until_comma(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
    let (before, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (before.trim_ascii(), rest)
}

/// The inside of a quoted string (RFC 9110 §5.6.4) whose begin was taken, and what follows its end. What is escaped in it stays
/// as it is: neither a number nor a name has anything to escape.
fn end_of_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}
