//! A request, as far as its head tells, and what is made of it for those who answer and for the log.

use crate::config::{Config, FieldName, Site};
use crate::http::target::{self, Host, Target};
use crate::http::{RequestHead, forwarded, location, written};
use crate::policy::condition::Facts;
use crate::worker::context::Context;
use std::borrow::Cow;
use std::rc::Rc;

/// What is known once the head was understood.
pub(super) struct Request {
    pub(super) head: RequestHead,
    pub(super) target: Target,
    pub(super) host: Host,
    pub(super) origin: forwarded::Origin,
    /// Indices of the site, and of site and location.
    pub(super) site: Option<usize>,
    pub(super) place: Option<(usize, usize)>,
    /// The targets that it had before rewrites.
    pub(super) rewrites: Vec<Vec<u8>>,
}

impl Request {
    /// As conditions see it.
    pub(super) fn facts<'a>(&'a self, config: &'a Config) -> Facts<'a> {
        Facts {
            host: &self.host.name,
            client: self.origin.client,
            scheme: self.origin.scheme,
            conditions: &config.conditions,
            ..Facts::of(&self.head, &self.target)
        }
    }

    /// Looks for the location of its site that takes it.
    pub(super) fn find_place(&mut self, config: &Config, cx: &Context) {
        let location = |site: usize| {
            cx.table.location(site, self.target.path(), &self.facts(config)).map(|at| (site, at))
        };
        self.place = self.site.and_then(location);
    }

    /// Method and target, for the log.
    pub(super) fn line(&self) -> String {
        let (method, target) = (self.head.method_bytes(), self.head.written());
        format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(target).escape_debug())
    }

    /// Host and port as the client wrote them, those of an absolute target first (RFC 9112 §3.2.2); where it wrote
    /// none, the name of the site.
    pub(super) fn authority(&self) -> &[u8] {
        let written = self.target.authority(self.head.target()).or_else(|| self.head.get("host"));
        written.unwrap_or(&self.host.name)
    }

    /// A template of a location, made of this request; `None`: none has been found for it.
    pub(super) fn render(&self, template: &str, cx: &Context) -> Option<Vec<u8>> {
        self.place?;
        Some(self.render_with(template, None, false, cx))
    }

    /// The same with groups of another regular expression than that of its location, if there are some.
    pub(super) fn render_with(
        &self,
        template: &str,
        groups: Option<Vec<(String, Vec<u8>)>>,
        keeps_query: bool,
        cx: &Context,
    ) -> Vec<u8> {
        let (raw, path) = (self.head.target(), self.target.path());
        let has_groups = location::groups_of(template).next().is_some();
        let of_place =
            || self.place.filter(|_| has_groups).map(|(site, place)| cx.table.groups(site, place, path));
        let groups = groups.or_else(of_place).unwrap_or_default();
        let rest = self.place.map_or(path, |(site, place)| cx.table.rest(site, place, path));
        let (authority, scheme) = (self.authority(), self.origin.scheme);
        let asked = written::Asked { target: &self.target, raw, rest, authority, scheme };
        written::fill(template, &asked, &groups, keeps_query)
    }

    /// What of its path stands for the root of scripts, without a slash at the end.
    pub(super) fn mount_of_scripts(&self, cx: &Context) -> &str {
        let path = self.target.path();
        let file = self.place.map_or(path, |(site, place)| cx.table.file(site, place, path));
        let mount = path.get(..path.len() - file.len()).unwrap_or_default();
        std::str::from_utf8(mount).unwrap_or_default().trim_end_matches('/')
    }

    /// Path and query as the client wrote them, whatever a rewrite has made of them.
    pub(super) fn written_origin(&self) -> Cow<'_, [u8]> {
        if !self.head.is_rewritten() {
            return written::origin_form(&self.target, self.head.target());
        }
        let first = self.head.written();
        match target::parse(self.head.method(), first) {
            Ok(target) => written::origin_form(&target, first),
            Err(_) => Cow::Borrowed(first),
        }
    }

    /// Whether the request announced a body, be it an empty one.
    pub(super) fn has_body(&self) -> bool {
        self.head.get("content-length").is_some() || self.head.get("transfer-encoding").is_some()
    }
}

/// The field that tells who the client is.
pub(super) fn client_field<'a>(request: &Request, config: &'a Config) -> Option<&'a str> {
    config.sites.get(request.site?)?.client_address.as_ref().map(FieldName::as_str)
}

/// The host of a request that names none: the canonical one, or the first plain name of its site.
pub(super) fn default_host(site: Option<&Site>) -> Host {
    let of = |site: &Site| site.names.iter().find_map(|name| name.plain().map(str::to_owned));
    let plain = site.and_then(|site| site.canonical.clone().or_else(|| of(site)));
    let name = plain.map_or_else(|| Rc::from(*b"localhost"), |name| name.as_bytes().into());
    Host { name, port: None }
}
