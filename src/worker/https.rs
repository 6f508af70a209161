//! What is said of HTTPS to those who come for a site: over HTTP where to go, over TLS that this is the only way.

use super::context::ListenerInfo;
use crate::config::Config;
use crate::http::Scheme;

/// By the index of the site; empty where no site has TLS.
#[derive(Default)]
pub(super) struct Https(Vec<Said>);

#[derive(Default)]
struct Said {
    /// Value of Strict-Transport-Security.
    strict: Option<String>,
    /// Requests by HTTP are sent there.
    port: Option<u16>,
}

const PORT: u16 = 443;

impl Https {
    pub(super) fn of(config: &Config, listeners: &[ListenerInfo]) -> Self {
        if config.sites.iter().all(|site| site.tls.is_none()) {
            return Self::default();
        }
        let said = |(index, site): (usize, &crate::config::Site)| {
            let Some(tls) = &site.tls else { return Said::default() };
            let own = |listener: &&ListenerInfo| {
                listener.scheme == Scheme::Https && listener.sites.contains(&index)
            };
            let ports = listeners.iter().filter(own).filter_map(|listener| Some(listener.local?.port()));
            // The one that needs not be said, if there is a choice; behind a Unix socket nobody knows better.
            let port = ports.min_by_key(|port| *port != PORT).unwrap_or(PORT);
            Said { strict: tls.hsts.map(|hsts| hsts.field()), port: tls.redirect_http.then_some(port) }
        };
        Self(config.sites.iter().enumerate().map(said).collect())
    }

    /// What that site says of Strict-Transport-Security.
    pub(super) fn strict(&self, site: usize) -> Option<&str> {
        self.0.get(site)?.strict.as_deref()
    }

    /// The port of HTTPS to which requests by HTTP for that site are sent.
    pub(super) fn port(&self, site: usize) -> Option<u16> {
        self.0.get(site)?.port
    }
}

/// The port as it stands in a URL of HTTPS.
pub(super) fn port_in_url(port: u16) -> String {
    if port == PORT { String::new() } else { format!(":{port}") }
}
