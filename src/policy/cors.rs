//! Which scripts of other origins may read what a place answers (Fetch, §3.2): what a preflight is answered, and the fields of
//! all other responses.
//!
//! | the list of origins | Allow-Origin | Vary: Origin |
//! |---|---|---|
//! | `"*"` | `*`, whoever asks | no |
//! | others | the origin that asks, if it is one of them | always: caches tell apart who asked |
//!
//! What an app or upstream says of it is dropped: two fields of a name make a browser refuse both. The server refuses nobody:
//! browsers do, by what they are told, and whoever is no browser never asked.

use crate::http::fields::is_name;
use crate::http::{Fields, Method, Names, RequestHead};
use std::time::Duration;

/// What a place says of other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cors {
    /// `None` was said: what the site says does not hold here.
    pub(crate) off: bool,
    pub(crate) origins: Origins,
    /// Methods that a script may use.
    pub(crate) methods: Listed,
    /// Fields of requests that it may set, besides those that need no leave.
    pub(crate) headers: Listed,
    /// Fields of responses that it may read, besides those.
    pub(crate) expose: Vec<String>,
    /// It may ask with cookies and the like, and read the answer.
    pub(crate) credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub(crate) max_age: Duration,
}

/// Whose scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// `"*"`
    Any,
    /// Those of one of them.
    Of(Vec<Origin>),
}

/// Origins, as they are written: `https://a.example`, `https://*.b.example`, `http://localhost:*`, `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

/// Names, or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// `"*"`
    Any,
    /// These.
    Of(Vec<String>),
}

/// Why a text names no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOrigin {
    /// No `https://` or the like.
    NoScheme,
    /// Something behind the port.
    Path,
    /// The port that browsers leave out.
    UsualPort,
    /// No port.
    Port,
    /// No host; `*` stands for the first part of one, or for the port.
    Host,
    /// `*` beside others.
    Any,
}

/// Fields of responses by which others are told; only this place says them where it says something.
const TOLD: Names = Names::new(&[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
]);

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// Methods that need no leave of anybody (Fetch, §2.2.1).
const SIMPLE: [&str; 3] = ["GET", "HEAD", "POST"];

/// Browsers keep it for five seconds if nothing is said, and for two hours at most.
const MAX_AGE: Duration = Duration::from_secs(600);

impl Default for Cors {
    fn default() -> Self {
        Self {
            off: false,
            origins: Origins::default(),
            methods: Listed::Of(SIMPLE.map(str::to_owned).into()),
            headers: Listed::default(),
            expose: Vec::new(),
            credentials: false,
            max_age: MAX_AGE,
        }
    }
}

impl Default for Origins {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

impl Default for Listed {
    fn default() -> Self {
        Self::Of(Vec::new())
    }
}

impl Origin {
    /// Reads one; in small letters, as browsers write it.
    ///
    /// # Errors
    /// [`NoOrigin`]
    pub(crate) fn parse(text: &str) -> Result<Self, NoOrigin> {
        if text == "null" {
            return Ok(Self(text.to_owned()));
        }
        if text == "*" {
            return Err(NoOrigin::Any);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(NoOrigin::NoScheme)?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|char: char| char.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return Err(NoOrigin::NoScheme);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(NoOrigin::Path);
        }
        let (host, port) = split_port(rest);
        match port {
            None | Some("*") => {}
            Some(port) if (scheme, port) == ("https", "443") || (scheme, port) == ("http", "80") => {
                return Err(NoOrigin::UsualPort);
            }
            // As browsers write it.
            Some(port)
                if port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) => {}
            Some(_) => return Err(NoOrigin::Port),
        }
        let plain = host.strip_prefix("*.").unwrap_or(host);
        let is_address = plain == host && plain.starts_with('[') && plain.ends_with(']');
        let inside = plain.trim_start_matches('[').trim_end_matches(']');
        let is_good = match is_address {
            true => inside.parse::<std::net::Ipv6Addr>().is_ok(),
            false => !plain.is_empty() && plain.split('.').all(|part| !part.is_empty() && is_host(part)),
        };
        if is_good { Ok(Self(text)) } else { Err(NoOrigin::Host) }
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of a request. Every `*` is of one place: what stands for it holds no `/`, `@` or `:`.
    fn is(&self, origin: &[u8]) -> bool {
        if !self.0.contains('*') {
            return origin == self.0.as_bytes();
        }
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let (Some((scheme, ours)), Some((other, theirs))) =
            (self.0.split_once("://"), origin.split_once("://"))
        else {
            return false;
        };
        let ((host, port), (their_host, their_port)) = (split_port(ours), split_port(theirs));
        let is_port = match (port, their_port) {
            (Some("*"), None) => true,
            (Some("*"), Some(port)) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
            (port, theirs) => port == theirs,
        };
        let is_below = |suffix: &str| {
            let below = their_host.strip_suffix(suffix);
            below.is_some_and(|below| below.split('.').all(|part| !part.is_empty() && is_host(part)))
        };
        let is_host = match host.strip_prefix('*') {
            Some(suffix) => is_below(suffix),
            None => host == their_host,
        };
        scheme == other && is_port && is_host
    }
}

/// Host and port; the colons of an IPv6 address are its own.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_host(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl Listed {
    /// What is answered to who asks for that: all that may be, or what was asked for where that is anything.
    fn answer(&self, asked: Option<&[u8]>) -> Option<Vec<u8>> {
        match self {
            Self::Of(names) => (!names.is_empty()).then(|| names.join(", ").into_bytes()),
            // `*` is a name like any other where there are credentials, and never stands for Authorization.
            Self::Any => asked.filter(|asked| is_list(asked)).map(<[u8]>::to_vec),
        }
    }
}

/// Whether it is a list of names and nothing else.
fn is_list(text: &[u8]) -> bool {
    text.split(|byte| *byte == b',').all(|name| is_name(name.trim_ascii()))
}

/// Whether a request is a browser's question whether it may ask (Fetch, §4.8).
pub(crate) fn is_preflight(head: &RequestHead) -> bool {
    head.method() == Method::Options
        && head.get("origin").is_some()
        && head.get("access-control-request-method").is_some()
}

impl Cors {
    /// The origin that a request comes from, if its scripts may read the answer and the answer says so of them alone.
    pub(crate) fn allowed<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        let Origins::Of(origins) = &self.origins else { return None };
        let mut all = head.all("origin");
        let origin = all.next().filter(|_| all.next().is_none())?;
        origins.iter().any(|known| known.is(origin)).then_some(origin)
    }

    /// The fields of the answer to a preflight; second: whether it says yes.
    pub(crate) fn preflight(&self, head: &RequestHead) -> (Fields, bool) {
        let mut fields = Fields::new();
        let varies = "Access-Control-Request-Method, Access-Control-Request-Headers";
        let allowed = match self.origins {
            Origins::Any => Some(&b"*"[..]),
            Origins::Of(_) => self.allowed(head),
        };
        match self.origins {
            Origins::Any => fields.add("Vary", varies),
            Origins::Of(_) => fields.add("Vary", format!("Origin, {varies}")),
        }
        let Some(origin) = allowed else { return (fields, false) };
        fields.add(ALLOW_ORIGIN, origin);
        let mut say = |name: &str, value: Option<Vec<u8>>| {
            value.into_iter().for_each(|value| fields.add(name, value));
        };
        let asked = |name| head.get(name);
        say(
            "Access-Control-Allow-Methods",
            self.methods.answer(asked("access-control-request-method").filter(|method| is_name(method))),
        );
        if let Some(names) = asked("access-control-request-headers") {
            say("Access-Control-Allow-Headers", self.headers.answer(Some(names)));
        }
        say("Access-Control-Allow-Credentials", self.credentials.then(|| b"true".to_vec()));
        say("Access-Control-Max-Age", Some(self.max_age.as_secs().to_string().into_bytes()));
        (fields, true)
    }

    /// Gives a response the fields that scripts of `origin` need, if that is [`Self::allowed`].
    pub(crate) fn apply(&self, fields: &mut Fields, origin: Option<&[u8]>) {
        fields.retain(|name| !TOLD.has(name));
        if matches!(self.origins, Origins::Of(_)) && !varies_by_origin(fields) {
            fields.add("Vary", "Origin");
        }
        let origin = if self.origins == Origins::Any { Some(&b"*"[..]) } else { origin };
        let Some(origin) = origin else { return };
        fields.add(ALLOW_ORIGIN, origin);
        if self.credentials {
            fields.add("Access-Control-Allow-Credentials", "true");
        }
        if !self.expose.is_empty() {
            fields.add("Access-Control-Expose-Headers", self.expose.join(", "));
        }
    }
}

fn varies_by_origin(fields: &Fields) -> bool {
    let vary = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"vary"));
    let mut names = vary.flat_map(|(_, value)| value.split(|byte| *byte == b','));
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin") || name.trim_ascii() == b"*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::conditional::tests::head;

    fn cors(origins: &[&str]) -> Cors {
        let origins = origins.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let names = |names: &[&str]| Listed::Of(names.iter().map(|name| (*name).to_owned()).collect());
        Cors {
            origins: Origins::Of(origins),
            methods: names(&["GET", "PUT"]),
            headers: names(&["X-Token"]),
            expose: vec!["X-Total".to_owned(), "ETag".to_owned()],
            credentials: true,
            max_age: Duration::from_secs(600),
            off: false,
        }
    }

    fn lines(fields: &Fields) -> Vec<String> {
        let line = |(name, value): (&[u8], &[u8])| String::from_utf8([name, b": ", value].concat()).unwrap();
        fields.iter().map(line).collect()
    }

    #[test]
    fn an_origin_is_one_of_those_that_are_listed() {
        let listed = [
            "https://a.example",
            "https://*.b.example",
            "http://localhost:*",
            "https://c.example:8443",
            "http://[::1]:*",
            "HTTPS://Big.Example",
            "capacitor://localhost",
        ];
        let cors = cors(&listed);
        for (origin, is_allowed) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://a.example.evil.example", false),
            ("https://evil-a.example", false),
            ("https://x.b.example", true),
            ("https://x.y.b.example", true),
            ("https://b.example", false),
            ("https://.b.example", false),
            ("https://x..b.example", false),
            ("https://evil.example/.b.example", false),
            ("https://evil.example#.b.example", false),
            ("https://evil@x.b.example", false),
            ("https://evil.example:1.b.example", false),
            ("https://xb.example", false),
            ("https://x.b.example:443", false),
            ("http://localhost", true),
            ("http://localhost:3000", true),
            ("http://localhost:", false),
            ("http://localhost:3000.evil.example", false),
            ("http://localhost:3x", false),
            ("http://[::1]:5173", true),
            ("https://c.example:8443", true),
            ("https://c.example", false),
            ("https://big.example", true),
            ("capacitor://localhost", true),
            ("null", false),
            ("", false),
            ("https://A.example", false),
        ] {
            let head = head("GET", &[("Origin", origin)]);
            assert_eq!(cors.allowed(&head).is_some(), is_allowed, "{origin}");
        }
        let twice = head("GET", &[("Origin", "https://a.example"), ("Origin", "https://a.example")]);
        assert_eq!(cors.allowed(&twice), None);
        let null = Origins::Of(vec![Origin::parse("null").unwrap()]);
        assert!(Cors { origins: null, ..cors }.allowed(&head("GET", &[("Origin", "null")])).is_some());
    }

    #[test]
    fn what_names_no_origin() {
        for (text, why) in [
            ("a.example", NoOrigin::NoScheme),
            ("://a.example", NoOrigin::NoScheme),
            ("https://a.example/", NoOrigin::Path),
            ("https://a.example:443", NoOrigin::UsualPort),
            ("http://a.example:80", NoOrigin::UsualPort),
            ("https://a.example:x", NoOrigin::Port),
            ("https://a.example:0800", NoOrigin::Port),
            ("https://", NoOrigin::Host),
            ("https://*", NoOrigin::Host),
            ("https://a.*.example", NoOrigin::Host),
            ("https://*a.example", NoOrigin::Host),
            ("https://b\u{fc}cher.example", NoOrigin::Host),
            ("https://[::1", NoOrigin::Host),
            ("*", NoOrigin::Any),
        ] {
            assert_eq!(Origin::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_may_be_asked() {
        let asks = |fields: &[(&str, &str)]| {
            let base = [("Access-Control-Request-Method", "PUT")];
            let head = head("OPTIONS", &[&base[..], fields].concat());
            let (fields, yes) = cors(&["https://a.example"]).preflight(&head);
            (lines(&fields), yes)
        };
        let vary = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        let (said, yes) =
            asks(&[("Origin", "https://a.example"), ("Access-Control-Request-Headers", "x-token")]);
        assert!(yes);
        assert_eq!(
            said,
            [
                vary,
                "Access-Control-Allow-Origin: https://a.example",
                "Access-Control-Allow-Methods: GET, PUT",
                "Access-Control-Allow-Headers: X-Token",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Max-Age: 600",
            ]
        );
        assert_eq!(asks(&[("Origin", "https://evil.example")]), (vec![vary.to_owned()], false));
    }

    #[test]
    fn any_name_is_the_one_that_was_asked_for() {
        let cors = Cors {
            origins: Origins::Any,
            methods: Listed::Any,
            headers: Listed::Any,
            credentials: false,
            max_age: Duration::ZERO,
            ..cors(&[])
        };
        let asked = |method: &str, names: &str| {
            let fields = [
                ("Origin", "https://a.example"),
                ("Access-Control-Request-Method", method),
                ("Access-Control-Request-Headers", names),
            ];
            lines(&cors.preflight(&head("OPTIONS", &fields)).0)
        };
        let start = [
            "Vary: Access-Control-Request-Method, Access-Control-Request-Headers",
            "Access-Control-Allow-Origin: *",
        ];
        let said = asked("PATCH", "authorization, x-a");
        let more =
            ["Access-Control-Allow-Methods: PATCH", "Access-Control-Allow-Headers: authorization, x-a"];
        let end = ["Access-Control-Max-Age: 0"];
        assert_eq!(said, [&start[..], &more, &end].concat());
        assert_eq!(asked("P<>", "x-a;, y"), [&start[..], &end].concat(), "what is no name is not said again");
    }

    #[test]
    fn only_a_question_of_a_browser_is_a_preflight() {
        let (origin, method) = (("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT"));
        assert!(is_preflight(&head("OPTIONS", &[origin, method])));
        assert!(!is_preflight(&head("OPTIONS", &[origin])));
        assert!(!is_preflight(&head("OPTIONS", &[method])));
        assert!(!is_preflight(&head("GET", &[origin, method])));
    }

    #[test]
    fn a_response_says_it_once_and_caches_tell_apart_who_asked() {
        let said = |cors: &Cors, has: &[(&str, &str)], origin: Option<&str>| {
            let mut fields = Fields::new();
            has.iter().for_each(|(name, value)| fields.add(name, value));
            cors.apply(&mut fields, origin.map(str::as_bytes));
            lines(&fields)
        };
        let theirs = [("access-control-allow-origin", "*"), ("Vary", "Accept"), ("X-Total", "3")];
        let of_list = cors(&["https://a.example"]);
        let yes = [
            "Vary: Accept",
            "X-Total: 3",
            "Vary: Origin",
            "Access-Control-Allow-Origin: https://a.example",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Expose-Headers: X-Total, ETag",
        ];
        assert_eq!(said(&of_list, &theirs, Some("https://a.example")), yes);
        assert_eq!(said(&of_list, &theirs, None), yes[..3]);
        assert_eq!(said(&of_list, &[("vary", "Cookie, origin")], None), ["vary: Cookie, origin"]);
        let any = Cors { origins: Origins::Any, credentials: false, ..of_list };
        let want = ["Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-Total, ETag"];
        assert_eq!(said(&any, &[], None), want);
    }
}
