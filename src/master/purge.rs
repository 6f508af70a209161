//! The response cache as commands see it: what it has, and what is taken out.

use super::Master;
use crate::cache::key::{self, Parts};
use crate::cache::settings::{Keyed, Query};
use crate::cache::store::{Ban, Count, Url};
use crate::cache::tags;
use crate::config::{Config, Site, render_host, suggestion};
use crate::control::command::{CacheStatus, Purged, Response};
use crate::control::worker::Purge;
use crate::http::target::Host;
use crate::http::{Method, Scheme, target};

/// A URL as it was typed.
struct Typed {
    scheme: Scheme,
    host: Host,
    /// Path and query.
    rest: Vec<u8>,
}

impl Master {
    /// Purges, at once and for all workers.
    pub(super) fn purge(&mut self, what: &Purged) -> Response {
        let done = match what {
            Purged::All => self.ban("everything", &[Ban::ALL]),
            Purged::Tag(tag) => {
                let hash = tags::hash(tag.as_bytes(), self.cache.master().secret());
                let ban = Ban { tag: Some(hash), ..Ban::ALL };
                self.ban(&format!("what is tagged `{tag}`"), &[ban])
            }
            Purged::Site(name) => site_label(&self.current.config, name).and_then(|label| {
                let ban = Ban { site: Some(label.as_bytes()), ..Ban::ALL };
                self.ban(&format!("site {label}"), &[ban])
            }),
            Purged::Url(url) => typed(url).and_then(|typed| {
                // A place may compare less of the query than another one.
                let mut all: Vec<Vec<u8>> =
                    keyed(&self.current.config).iter().map(|keyed| typed.written(keyed)).collect();
                all.sort_unstable();
                all.dedup();
                let bans = all.iter().map(|url| Ban { url: Url::Is(url), ..Ban::ALL });
                self.ban(url, &bans.collect::<Vec<_>>())
            }),
            Purged::Prefix(url) => typed(url).and_then(|typed| {
                let start = typed.written(&Keyed { query: Query::None, ..Keyed::default() });
                self.ban(&format!("{url}…"), &[Ban { url: Url::Begins(&start), ..Ban::ALL }])
            }),
        };
        match done {
            Ok(text) => Response::Done { text },
            Err(text) => Response::Failed { text },
        }
    }

    /// A worker was asked for it by a client that may. It holds at once, and is written down at the end of the turn: so
    /// however often workers say so, the file is written once for all that.
    pub(super) fn purge_asked(&mut self, site: &str, what: &Purge) {
        let all = Ban { site: Some(site.as_bytes()), ..Ban::ALL };
        match what {
            Purge::Prefix(start) => {
                self.cache.ban_for_now(&Ban { url: Url::Begins(start.as_bytes()), ..all });
            }
            Purge::Tags(tags) => {
                for tag in tags.iter().take(Purge::MOST_TAGS) {
                    self.cache.ban_for_now(&Ban { tag: Some(*tag), ..all });
                }
            }
        }
    }

    /// Writes down what was purged in this turn.
    pub(super) fn write_purges(&mut self) {
        if let Err(error) = self.cache.write_down() {
            log::error!(
                target: "hatchery",
                "what was purged by request is purged, but not for files after a restart: cannot write that down: {error}"
            );
        }
    }

    /// How it is with it; `None`: no place uses it.
    pub(super) fn cache_status(&self) -> Option<CacheStatus> {
        let config = &self.current.config;
        let mut locations = config.sites.iter().flat_map(|site| &site.locations);
        locations.find(|location| location.caching.on().is_some())?;
        let store = self.cache.master();
        let census = store.census(0..store.sets());
        Some(CacheStatus {
            objects: census.in_memory,
            memory: config.cache.memory,
            files: census.on_disk,
            disk: census.disk_bytes,
            hits: store.sum(Count::Hits),
            misses: store.sum(Count::Misses),
            stored: store.sum(Count::Stored),
            evicted: store.sum(Count::Evicted),
        })
    }

    fn ban(&mut self, what: &str, bans: &[Ban<'_>]) -> Result<String, String> {
        for ban in bans {
            self.cache.ban(ban).map_err(|error| {
                format!(
                    "{what} is purged, but not for files after a restart: cannot write that down: {error}"
                )
            })?;
        }
        let text = format!("purged {what}");
        log::info!(target: "hatchery", "{text}");
        Ok(text)
    }
}

/// The label of the site of that name.
fn site_label(config: &Config, name: &str) -> Result<String, String> {
    let names = |site: &Site| {
        let names = site.names.iter().map(render_host);
        std::iter::once(site.label.clone()).chain(names).collect::<Vec<_>>()
    };
    if let Some(site) = config.sites.iter().find(|site| names(site).iter().any(|own| own == name)) {
        return Ok(site.label.clone());
    }
    let all: Vec<String> = config.sites.iter().flat_map(names).collect();
    let known: Vec<&str> = all.iter().map(String::as_str).collect();
    let meant =
        suggestion(name, &known).map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
    Err(format!("there is no site \"{name}\"; a URL begins with http:// or https://{meant}"))
}

/// All ways in which places of the configuration compare URLs.
fn keyed(config: &Config) -> Vec<Keyed> {
    let locations = config.sites.iter().flat_map(|site| &site.locations);
    let own = locations.filter_map(|location| location.caching.on()).map(|how| how.settings.key.clone());
    let mut all = vec![Keyed::default()];
    for keyed in own {
        if !all.contains(&keyed) {
            all.push(keyed);
        }
    }
    all
}

fn typed(url: &str) -> Result<Typed, String> {
    let bad = || format!("`{url}` is no URL: write it whole, https://shop.example/news/?page=2");
    let (scheme, rest) = match url.split_once("://").ok_or_else(bad)? {
        ("http", rest) => (Scheme::Http, rest),
        ("https", rest) => (Scheme::Https, rest),
        _ => return Err(bad()),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = target::host(authority.as_bytes()).map_err(|_| bad())?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    target::parse(Method::Get, rest.as_bytes()).map_err(|_| bad())?;
    Ok(Typed { scheme, host, rest: rest.into_bytes() })
}

impl Typed {
    /// As it stands in a key.
    fn written(&self, keyed: &Keyed) -> Vec<u8> {
        let at = self.rest.iter().position(|byte| *byte == b'?').unwrap_or(self.rest.len());
        let (path, query) = self.rest.split_at_checked(at).unwrap_or_default();
        let parts = Parts {
            site: "",
            when: "",
            unless: "",
            scheme: self.scheme,
            host: &self.host.name,
            port: self.host.port,
            path,
            query: query.get(1..).unwrap_or_default(),
            rewritten: None,
            trusted: false,
        };
        key::url(&parts, keyed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_typed_as_a_key_has_it() {
        let written =
            |url: &str| typed(url).map(|typed| String::from_utf8(typed.written(&Keyed::default())).unwrap());
        for (url, wanted) in [
            ("http://Shop.example", "http://shop.example/"),
            ("https://shop.example:443/a?b=2&a=1", "https://shop.example/a?a=1&b=2"),
            ("http://[::1]:8000/%7ea", "http://[::1]:8000/~a"),
            ("http://shop.example?a", "http://shop.example/?a"),
        ] {
            assert_eq!(written(url).as_deref(), Ok(wanted), "{url}");
        }
        for bad in ["shop.example", "ftp://shop.example/", "http:///a", "http://a b/", "http://a/%00"] {
            assert!(written(bad).is_err(), "{bad}");
        }
    }
}
