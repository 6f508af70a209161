//! Who may enter by what they know: passwords by Basic authentication (RFC 7617), or whatever an app or upstream goes by that is
//! asked about each request.

use crate::control::digits::unbase64;
use crate::http::{RequestHead, ResponseHead};
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// How those are known who are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By a password in a file of this server.
    Basic(Basic),
    /// By what an app or upstream says.
    Request(Inquiry),
}

/// Who is asked about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The app of this index.
    App(usize),
    /// The upstream of this index.
    Upstream(usize),
}

/// A question about a request: 2xx lets it in, and fields of the answer are told on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Who is asked.
    pub to: Whom,
    /// Path and perhaps query, as they stand in a URL.
    pub path: String,
    /// An answer that takes longer is none.
    pub timeout: Duration,
    /// The field of the answer that says who the user is, for REMOTE_USER and the log.
    pub user: Option<String>,
    /// Fields that are told on, each with that of the answer from which it is.
    pub pass: Vec<(String, String)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It is let in: with the user, and what is told on.
    Granted(Granted),
    /// It is not: with what is told to the client.
    Denied(ResponseHead),
    /// There is no answer, or none that says anything: why.
    Failed(&'static str),
}

/// What is known of who was let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Who it is.
    pub user: Option<Vec<u8>>,
    /// Fields for the app or upstream.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// What a client is told of an answer that does not let it in: how to log in, and where.
const TOLD: [&str; 4] = ["www-authenticate", "set-cookie", "location", "retry-after"];

impl Inquiry {
    /// What an answer says.
    #[must_use]
    pub fn judge(&self, answer: &ResponseHead) -> Permission {
        let value = |name: &str| answer.fields.get(name).filter(|value| !value.is_empty());
        match answer.status.0 {
            200..=299 => {
                let pass =
                    self.pass.iter().filter_map(|(name, from)| Some((name.clone(), value(from)?.to_vec())));
                let user = self.user.as_deref().and_then(value).map(<[u8]>::to_vec);
                Permission::Granted(Granted { user, fields: pass.collect() })
            }
            status @ (401 | 403 | 302 | 303 | 307) => {
                let mut head = ResponseHead::new(status);
                let told = answer
                    .fields
                    .iter()
                    .filter(|(name, _)| TOLD.iter().any(|told| name.eq_ignore_ascii_case(told.as_bytes())));
                told.for_each(|(name, value)| head.fields.add(name, value));
                Permission::Denied(head)
            }
            _ => Permission::Failed("who is asked about logins answered neither yes nor no"),
        }
    }
}

/// Passwords that are checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// What the browser shows of who asks.
    pub realm: String,
    /// The file with users and hashes.
    pub users: PathBuf,
    /// The app or upstream sees the password, too.
    pub pass_authorization: bool,
    /// The field in which an app or upstream is told of the user.
    pub user_header: Option<String>,
}

/// What browsers show unless something else is said.
pub const REALM: &str = "Restricted";

impl Default for Basic {
    fn default() -> Self {
        let users = PathBuf::new();
        Self { realm: REALM.to_owned(), users, pass_authorization: false, user_header: None }
    }
}

impl Basic {
    /// The answer to who has none, or the wrong ones.
    #[must_use]
    pub fn challenge(&self) -> ResponseHead {
        let realm = self.realm.replace('\\', "\\\\").replace('"', "\\\"");
        ResponseHead::new(401).with("WWW-Authenticate", format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
    }
}

/// A user and a password, as a client has sent them.
pub struct Login {
    all: Secret,
    colon: usize,
}

impl Login {
    /// What the request has of them; `None`: nothing, or nothing that is understood.
    #[must_use]
    pub fn of(head: &RequestHead) -> Option<Self> {
        let mut lines = head.all("authorization");
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let (scheme, rest) = line.split_at_checked(BASIC.len())?;
        if !scheme.eq_ignore_ascii_case(BASIC) || !rest.starts_with(b" ") {
            return None;
        }
        let all = Secret(unbase64(std::str::from_utf8(rest).ok()?.trim_matches(' '))?);
        // RFC 7617 §2: neither has a control character, and the name no colon.
        let colon = all.0.iter().position(|byte| *byte == b':').filter(|at| *at > 0)?;
        let is_text = all.0.iter().all(|byte| !byte.is_ascii_control());
        is_text.then_some(Self { all, colon })
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        self.all.0.get(..self.colon).unwrap_or_default()
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &[u8] {
        self.all.0.get(self.colon + 1..).unwrap_or_default()
    }
}

const BASIC: &[u8] = b"Basic";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Span, Version};

    fn head(values: &[&str]) -> RequestHead {
        let mut raw = b"GET /".to_vec();
        let mut span = |text: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            Span { start, end: raw.len() as u32 }
        };
        let fields = values.iter().map(|value| (span("authorization"), span(value))).collect();
        let (method, target) = (Span { start: 0, end: 3 }, Span { start: 4, end: 5 });
        RequestHead::new(raw, method, target, Version::Http11, fields)
    }

    #[test]
    fn credentials_are_those_of_one_line_with_a_name_and_a_colon() {
        let login = |values: &[&str]| {
            let login = Login::of(&head(values))?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(login.user()), text(login.password())))
        };
        let good = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(login(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), good("Aladdin", "open sesame"));
        assert_eq!(login(&["bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ== "]), good("Aladdin", "open sesame"));
        assert_eq!(login(&["Basic dGVzdDoxMjPCow=="]), good("test", "123\u{a3}"), "RFC 7617 §2.1");
        assert_eq!(login(&["Basic YTpiOmM="]), good("a", "b:c"));
        assert_eq!(login(&["Basic YTo="]), good("a", ""));
        for bad in [
            &[][..],
            &["Basic"],
            &["Basic "],
            &["Basic !!!"],
            // `a`, `:a`, `a\n:b`, `a:b\0`
            &["Basic YQ=="],
            &["Basic OmE="],
            &["Basic YQo6Yg=="],
            &["Basic YTpiAA=="],
            &["Bearer YTpi"],
            &["BasicYTpi"],
            &["Basic YTpi", "Basic YTpi"],
        ] {
            assert_eq!(login(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_answer_lets_in_or_denies_and_anything_else_is_a_fault() {
        let inquiry = Inquiry {
            to: Whom::App(0),
            path: "/verify".to_owned(),
            timeout: Duration::from_secs(1),
            user: Some("X-User".to_owned()),
            pass: vec![("Remote-Groups".to_owned(), "x-groups".to_owned()), ("B".to_owned(), "b".to_owned())],
        };
        let answer = |status| {
            ResponseHead::new(status)
                .with("X-User", "alice")
                .with("X-Groups", "admin, staff")
                .with("Set-Cookie", "a=1")
                .with("set-cookie", "b=2")
                .with("Content-Type", "text/html")
                .with("WWW-Authenticate", "Bearer")
                .with("B", "")
        };
        let fields = vec![("Remote-Groups".to_owned(), b"admin, staff".to_vec())];
        let granted = Granted { user: Some(b"alice".to_vec()), fields };
        for status in [200, 204, 299] {
            assert_eq!(inquiry.judge(&answer(status)), Permission::Granted(granted.clone()));
        }
        let silent = Inquiry { user: None, pass: Vec::new(), ..inquiry.clone() };
        assert_eq!(silent.judge(&answer(200)), Permission::Granted(Granted::default()));
        for status in [401, 403, 302, 303, 307] {
            let Permission::Denied(head) = inquiry.judge(&answer(status)) else { panic!("{status}") };
            assert_eq!(head.status.0, status);
            let names: Vec<String> =
                head.fields.iter().map(|(name, _)| String::from_utf8_lossy(name).to_lowercase()).collect();
            assert_eq!(names, ["set-cookie", "set-cookie", "www-authenticate"]);
        }
        for status in [100, 304, 301, 400, 404, 500, 502] {
            assert!(matches!(inquiry.judge(&answer(status)), Permission::Failed(_)), "{status}");
        }
    }

    #[test]
    fn a_realm_is_quoted() {
        let basic = Basic { realm: r#"a "b" \c"#.to_owned(), ..Basic::default() };
        let head = basic.challenge();
        let value = head.fields.get("www-authenticate").unwrap();
        assert_eq!(value, br#"Basic realm="a \"b\" \\c", charset="UTF-8""#);
        assert_eq!(head.status.0, 401);
    }
}
