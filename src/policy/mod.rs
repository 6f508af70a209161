//! What a request must get past before its location's handler has it: policies of the places of a configuration, and
//! [`chain`], the ordered list of the rules over them. Pure: a rule sees a request as [`chain::Asked`] and says what
//! comes of it; the exchange carries that out.

pub mod access;
pub mod auth;
pub mod chain;
pub mod compress;
pub mod condition;
pub(crate) mod cors;
pub(crate) mod headers;
pub mod rewrite;

pub mod htpasswd;
pub mod limit;
pub mod password;

use access::Access;
use auth::Auth;
use compress::Compressing;
use cors::Cors;
use headers::Headers;
use limit::{Bandwidth, Limit};
use rewrite::Rewrite;
use std::rc::Rc;

/// What is demanded in a place: a site, or one of its locations. What is more than a word is shared (`Rc`): a location has that
/// of its site unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    /// Largest request body, 413; `None`: any.
    pub max_body: Option<u64>,
    /// While the app sleeps, 200 is the answer, and it sleeps on. Of a location only.
    pub asleep_200: bool,
    /// Only who was led there by an answer of the same site is answered, others 404. Of a location only.
    pub internal: bool,
    /// What is said of the fields of responses.
    pub(crate) headers: Option<Rc<Headers>>,
    /// What scripts of other origins may.
    pub(crate) cors: Option<Rc<Cors>>,
    /// Whether and how its responses are compressed.
    pub compress: Compressing,
    /// How often and how many at a time, 429; none.
    pub(crate) limits: Option<Rc<Vec<Limit>>>,
    /// How fast a response leaves; as fast as it can.
    pub(crate) bandwidth: Option<Bandwidth>,
    /// Other paths by which it is routed again; the first that applies counts. Of a location only.
    pub rewrite: Option<Rc<[Rewrite]>>,
    /// Whose addresses are let in, 403.
    pub access: Said<Access>,
    /// Who has to show who they are, 401.
    pub auth: Said<Auth>,
    /// One of the two is enough; `None`: nothing is said of it.
    pub satisfy_any: Option<bool>,
}

/// What a place says of a policy that can be switched off.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Said<T> {
    /// Nothing: as its site.
    #[default]
    Nothing,
    /// This, or that there is none.
    Own(Option<Rc<T>>),
}

impl<T> Said<T> {
    /// What holds, if anything does.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Own(Some(own)) => Some(own),
            Self::Nothing | Self::Own(None) => None,
        }
    }

    /// The same, with what the site says for who says nothing.
    #[must_use]
    pub fn or(self, site: &Self) -> Self {
        match self {
            Self::Nothing => match site {
                Self::Own(Some(own)) => Self::Own(Some(Rc::clone(own))),
                Self::Nothing | Self::Own(None) => Self::Nothing,
            },
            Self::Own(own) => Self::Own(own),
        }
    }
}

impl Policies {
    /// What holds of other origins.
    pub(crate) fn cors(&self) -> Option<&Rc<Cors>> {
        self.cors.as_ref().filter(|cors| !cors.off)
    }

    /// What a site demands holds for its locations, unless they say otherwise.
    #[must_use]
    pub fn inherit(self, site: &Self) -> Self {
        let headers = Headers::inherit(self.headers.as_deref(), site.headers.as_deref());
        Self {
            max_body: self.max_body.or(site.max_body),
            headers: headers.map(Rc::new),
            cors: self.cors.or_else(|| site.cors.clone()),
            compress: self.compress.or(&site.compress),
            access: self.access.or(&site.access),
            auth: self.auth.or(&site.auth),
            satisfy_any: self.satisfy_any.or(site.satisfy_any),
            limits: self.limits.or_else(|| site.limits.clone()),
            bandwidth: self.bandwidth.or(site.bandwidth),
            ..self
        }
    }
}

/// Which site a host belongs to that no site names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSite {
    /// None: 421 Misdirected Request.
    Refuse,
    /// The site of this index.
    Site(usize),
}

impl DefaultSite {
    /// The site of a host, by the site that names it.
    #[must_use]
    pub fn of(self, named: Option<usize>) -> Option<usize> {
        named.or(match self {
            Self::Site(site) => Some(site),
            Self::Refuse => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_says_otherwise_than_its_site() {
        let site = Policies { max_body: Some(5), ..Policies::default() };
        assert_eq!(Policies::default().inherit(&site), site);
        let own = Policies { max_body: Some(9), asleep_200: true, internal: true, ..Policies::default() };
        assert_eq!(own.clone().inherit(&site), own);
        let probed = Policies { asleep_200: true, ..Policies::default() };
        assert_eq!(probed.clone().inherit(&site), Policies { max_body: Some(5), ..probed });
        assert_eq!(site.clone().inherit(&own), site, "a probe is of its location alone");
        let open = Access { deny: vec![access::Who::Unix], ..Access::default() };
        let guarded = Policies {
            access: Said::Own(Some(Rc::new(open))),
            auth: Said::Own(Some(Rc::new(Auth::Basic(auth::Basic::default())))),
            satisfy_any: Some(true),
            ..Policies::default()
        };
        assert_eq!(Policies::default().inherit(&guarded), guarded);
        let none = Policies { access: Said::Own(None), satisfy_any: Some(false), ..Policies::default() };
        let inherited = none.clone().inherit(&guarded);
        assert_eq!((&inherited.access, inherited.satisfy_any), (&none.access, Some(false)));
        assert!(inherited.access.get().is_none() && inherited.auth.get().is_some());
    }

    #[test]
    fn a_host_belongs_to_the_site_that_names_it_else_to_the_default_one() {
        for (default, named, site) in [
            (DefaultSite::Refuse, None, None),
            (DefaultSite::Refuse, Some(1), Some(1)),
            (DefaultSite::Site(0), None, Some(0)),
            (DefaultSite::Site(0), Some(1), Some(1)),
        ] {
            assert_eq!(default.of(named), site, "{default:?} {named:?}");
        }
    }
}
