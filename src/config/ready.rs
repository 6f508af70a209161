//! `ready: (…)` of an app.

use super::handler::Handler;
use super::located::{Node, Report};
use super::problem::Complaint;
use super::read::status;
use super::shape::Shape;
use super::site::Site;
use super::walk::{By, Form, Section, Walk};
use super::written::Written;
use crate::gateway::ready::{Accepted, Question};
use crate::http::{Method, Scheme, target};
use crate::route::HostPattern;
use std::time::Duration;

/// The request that each new process of an app must answer before it counts as ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its host is by default the first plain name of a site that routes to the app, else `localhost`; its mount that of the
    /// first location of the app below which the path is.
    pub(crate) question: Question,
    /// That of the question, if the app's own keys say it; else the site that gives the host does.
    scheme: Option<Scheme>,
    /// Longest time until the whole answer is there.
    pub(crate) timeout: Duration,
}

impl Default for Ready {
    fn default() -> Self {
        Self { question: Question::default(), scheme: None, timeout: Duration::from_secs(10) }
    }
}

impl Section for Ready {
    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.question;
        keys.need("path", "\"/healthz\"", &mut By(&mut of.path, path));
        keys.key("host", &mut By(&mut of.host, host));
        keys.key("scheme", &mut self.scheme);
        keys.key("status", &mut of.status);
        keys.key("timeout", &mut self.timeout);
    }
}

impl Ready {
    /// What the sites say about the app at `index`: its host, its scheme and its mount.
    pub(crate) fn resolve(&mut self, index: usize, sites: &[Site]) {
        let of = &mut self.question;
        let plain = |name: &HostPattern| name.plain().map(str::to_owned);
        let own = || sites.iter().filter(|site| mounts(site, index).next().is_some());
        let named = own().find_map(|site| Some((site, site.names.iter().find_map(plain)?)));
        let site = named.as_ref().map(|(site, _)| *site).or_else(|| own().next());
        let is_tls = site.is_some_and(|site| site.tls.is_some());
        of.scheme = *self.scheme.get_or_insert(if is_tls { Scheme::Https } else { Scheme::Http });
        if of.host.is_empty() {
            of.host = named.map_or_else(|| "localhost".to_owned(), |(_, name)| name);
        }
        let path = of.path.split('?').next().unwrap_or_default();
        let below = |mount: &&str| {
            path.strip_prefix(*mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mount = sites.iter().flat_map(|site| mounts(site, index)).find(below);
        mount.unwrap_or_default().clone_into(&mut of.mount);
    }
}

/// The mounts of an app in a site.
fn mounts(site: &Site, index: usize) -> impl Iterator<Item = &str> {
    site.locations.iter().filter_map(move |location| match &*location.handler {
        Handler::App { app, mount } if *app == index => Some(mount.as_str()),
        _ => None,
    })
}

pub(super) fn path(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a path such as \"/healthz\"", |text| {
        let wrong = |what: &str| Complaint::new(format!("`{text}`: {what}"), "for example \"/healthz\"");
        if !text.starts_with('/') {
            return Err(wrong("a path starts with a slash"));
        }
        target::parse(Method::Get, text.as_bytes()).map_err(|error| wrong(error.why()))?;
        Ok(text.to_owned())
    })
}

pub(super) fn host(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a host such as \"shop.example\"", |text| {
        let fits = |char: char| char.is_ascii_alphanumeric() || ".-_:[]".contains(char);
        if text.is_empty() || !text.chars().all(fits) {
            let what = format!("`{text}` is not the name of a host");
            return Err(Complaint::new(what, "for example \"shop.example\", or with a port"));
        }
        Ok(text.to_owned())
    })
}

impl Form for Scheme {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "\"http\" or \"https\"", |text| {
            let wrong = || Complaint::new(format!("`{text}` is neither \"http\" nor \"https\""), "");
            Self::parse(text.as_bytes()).ok_or_else(wrong)
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.as_str())
    }
}

/// `204`, or `"2xx"` for a whole class.
impl Form for Accepted {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let hint = "a number from 200 to 599, or \"2xx\"";
        if let (Shape::Text(_), false) = (node.shape(), node.has_variable()) {
            return node.parse(report, hint, |text| match text {
                "2xx" => Ok(Self::Class(2)),
                "3xx" => Ok(Self::Class(3)),
                "4xx" => Ok(Self::Class(4)),
                _ => Err(Complaint::new(format!("`{text}` is not a status"), hint)),
            });
        }
        status(node, "a status", |status| (200..600).contains(&status), hint, report).map(Self::Exactly)
    }

    fn write(&self) -> Written {
        match self {
            Self::Exactly(status) => status.write(),
            Self::Class(_) => Written::text(self),
        }
    }
}
