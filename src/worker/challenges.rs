//! What certificate authorities ask by HTTP to see that a name is ours (RFC 8555 §8.3): answered before everything else that
//! a site does with a request. Only questions that are open: any other is a request like all.

use crate::config::credentials::{Challenge, Credentials};

/// Before the token.
const PLACE: &[u8] = b"/.well-known/acme-challenge/";

/// Those that are open now.
pub(super) struct Challenges(Vec<Open>);

struct Open {
    name: Vec<u8>,
    token: Vec<u8>,
    answer: String,
}

impl Challenges {
    /// Those of `credentials`.
    pub(super) fn of(credentials: &Credentials) -> Self {
        let open = credentials.challenges.iter().filter_map(|challenge| match challenge {
            Challenge::Http { name, token, authorization } => {
                let (name, token) = (name.clone().into_bytes(), token.clone().into_bytes());
                Some(Open { name, token, answer: authorization.clone() })
            }
            Challenge::Alpn { .. } => None,
        });
        Self(open.collect())
    }

    /// What to answer to a request for `path` on `host`, in lower case; `None`: nobody of ours has asked for that.
    pub(super) fn answer(&self, host: &[u8], path: &[u8]) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let token = path.strip_prefix(PLACE)?;
        let open = self.0.iter().find(|open| open.token == token && open.name == host)?;
        Some(&open.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_is_answered_and_only_for_its_name() {
        let challenges = Challenges::of(&Credentials::default());
        assert_eq!(challenges.answer(b"shop.example", b"/.well-known/acme-challenge/abc"), None);
        let open = Challenge::Http {
            name: "shop.example".to_owned(),
            token: "abc".to_owned(),
            authorization: "abc.x".to_owned(),
        };
        let challenges = Challenges::of(&Credentials { challenges: vec![open], ..Credentials::default() });
        assert_eq!(challenges.answer(b"shop.example", b"/.well-known/acme-challenge/abc"), Some("abc.x"));
        for (host, path) in [
            (&b"blog.example"[..], &b"/.well-known/acme-challenge/abc"[..]),
            (b"shop.example", b"/.well-known/acme-challenge/"),
            (b"shop.example", b"/.well-known/acme-challenge/abc/"),
            (b"shop.example", b"/.well-known/acme-challenge/abcd"),
            (b"shop.example", b"/abc"),
        ] {
            assert_eq!(challenges.answer(host, path), None, "{}", String::from_utf8_lossy(path));
        }
    }
}
