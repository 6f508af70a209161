//! What an operator says about the cache of a place.

use super::{Millis, SECOND};

/// How the responses of one place are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a response is fresh that says nothing about it: of success, or a redirect (see [`Settings::own_ttl`]).
    pub ttl: Option<Millis>,
    /// The same for single statuses, before `ttl`.
    pub statuses: Vec<(u16, Millis)>,
    /// The longest that is concluded from how long ago something was modified (RFC 9111 §4.2.2); 0: nothing is.
    pub heuristic: Millis,
    /// How long after its time a response may answer while it is fetched anew, if it says nothing about it (RFC 5861 §3).
    pub stale_while_revalidate: Millis,
    /// How long after its time a response may answer in the place of an error, if it says nothing about it (RFC 5861 §4).
    pub stale_if_error: Millis,
    /// Whether clients decide with `Cache-Control` and `Pragma` of their requests what is good for them.
    pub client: Client,
    /// What `X-Accel-Expires` says holds, and it goes no further.
    pub accel: bool,
    /// Fields for caches like this one (RFC 9213), the most important first: one of them, if it says anything, is heard in the
    /// place of `Cache-Control` and `Expires`.
    pub targets: Vec<String>,
    /// Responses are purged by what `Cache-Tag` and `Surrogate-Key` name, and both go no further.
    pub tags: bool,
    /// Fields that are of one exchange, and not kept: the id of the request.
    pub omit: Vec<String>,
    /// What of a request makes it another one.
    pub key: Keyed,
}

/// What of a request, beside scheme, host, port and path, belongs to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Which parameters of the query.
    pub query: Query,
    /// The order of parameters of different names makes no difference.
    pub sorts: bool,
    /// Names of fields.
    pub headers: Vec<String>,
    /// Names of cookies.
    pub cookies: Vec<String>,
}

/// Which parameters of a query make a difference. A name with `*` at its end stands for all that begin like that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Query {
    /// Each.
    #[default]
    All,
    /// None.
    None,
    /// Each but these.
    Ignore(Vec<String>),
    /// These.
    Only(Vec<String>),
}

/// What the directives of requests are worth, but for `only-if-cached`, which always holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Nothing: else whoever can send a request could have the app do the work that the cache is to spare it.
    #[default]
    Ignore,
    /// What RFC 9111 §5.2.1 says.
    Honour,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: None,
            statuses: Vec::new(),
            heuristic: 24 * 3600 * SECOND,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            client: Client::default(),
            accel: true,
            targets: vec!["CDN-Cache-Control".to_owned()],
            tags: true,
            omit: vec!["X-Request-Id".to_owned()],
            key: Keyed::default(),
        }
    }
}

impl Default for Keyed {
    fn default() -> Self {
        Self { query: Query::All, sorts: true, headers: Vec::new(), cookies: Vec::new() }
    }
}

impl Settings {
    /// How long a response of this status is fresh that says nothing itself. What has a `ttl` of its own is named by status;
    /// `ttl` alone is for what went well and for redirects, not for errors.
    #[must_use]
    pub fn own_ttl(&self, status: u16) -> Option<Millis> {
        let named = self.statuses.iter().find(|(have, _)| *have == status).map(|(_, ttl)| *ttl);
        named.or(self.ttl.filter(|_| matches!(status, 200 | 203 | 204 | 300..=302 | 307 | 308)))
    }
}
