//! The sites that the operator has closed for maintenance, as the master tells.

use super::handler::fixed;
use crate::config::{Config, Network};
use crate::control::maintenance::Maintenance;
use crate::http::ResponseHead;
use std::net::IpAddr;
use std::rc::Rc;

/// By the index of the site; empty while none is closed.
#[derive(Debug, Default)]
pub(super) struct Closed(Vec<Option<Rc<Site>>>);

/// One that is closed.
#[derive(Debug)]
pub(super) struct Site {
    allow: Vec<Network>,
    /// What the answer says besides its page.
    head: ResponseHead,
    /// A page with what the operator says; without it the site's own.
    page: Option<Vec<u8>>,
}

impl Closed {
    /// All sites of that label are open again, or closed. What this configuration does not have it does not close.
    pub(super) fn take(&mut self, label: &str, closed: Option<&Maintenance>, config: &Config) {
        let closed = closed.map(|closed| Rc::new(Site::of(closed)));
        self.0.resize(config.sites.len(), None);
        for (place, site) in self.0.iter_mut().zip(&config.sites) {
            if site.label == label {
                place.clone_from(&closed);
            }
        }
        if self.0.iter().all(Option::is_none) {
            self.0 = Vec::new();
        }
    }

    /// The site, if it is closed.
    #[inline]
    pub(super) fn site(&self, site: Option<usize>) -> Option<&Rc<Site>> {
        // Hardly ever is one closed.
        self.0.get(site?)?.as_ref()
    }
}

impl Site {
    fn of(closed: &Maintenance) -> Self {
        let mut head = ResponseHead::new(503).with("Cache-Control", "no-store");
        if closed.retry_after > 0 {
            head.fields.add("Retry-After", closed.retry_after.to_string());
        }
        // The master has read them before.
        let allow = closed.allow.iter().filter_map(|text| Network::parse(text).ok()).collect();
        let page = (!closed.message.is_empty()).then(|| fixed::closed_page(&closed.message));
        Self { allow, head, page }
    }

    /// Whether that client is served all the same.
    pub(super) fn admits(&self, client: Option<IpAddr>) -> bool {
        self.allow.iter().any(|network| network.contains(client))
    }

    /// What the answer says besides its page.
    pub(super) fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The page that the operator has said, in HTML.
    pub(super) fn page(&self) -> Option<&[u8]> {
        self.page.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_closed_by_its_label_but_for_those_who_are_let_in() {
        let site =
            |label: &str| crate::config::Site { label: label.to_owned(), ..crate::config::Site::default() };
        let config = Config { sites: vec![site("a"), site("b"), site("a")], ..Config::default() };
        let mut closed = Closed::default();
        assert!(closed.site(Some(0)).is_none() && closed.site(None).is_none());
        let allow = vec!["10.0.0.0/8".to_owned(), "nonsense".to_owned()];
        let a = Maintenance { site: "a".to_owned(), allow, retry_after: 60, ..Maintenance::default() };
        closed.take("a", Some(&a), &config);
        closed.take("gone", Some(&a), &config);
        let is_closed = [0, 1, 2, 3].map(|site| closed.site(Some(site)).is_some());
        assert_eq!(is_closed, [true, false, true, false]);
        let site = closed.site(Some(0)).unwrap();
        assert_eq!(site.head().fields.get("retry-after"), Some(&b"60"[..]));
        assert!(site.admits(Some("::ffff:10.1.2.3".parse().unwrap())) && site.page().is_none());
        assert!(!site.admits(Some("11.1.2.3".parse().unwrap())) && !site.admits(None));
        closed.take("a", None, &config);
        assert!(closed.0.is_empty());
        closed.take("b", Some(&Maintenance { message: "<b>".to_owned(), ..a }), &config);
        let page = String::from_utf8_lossy(closed.site(Some(1)).unwrap().page().unwrap()).into_owned();
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
    }
}
