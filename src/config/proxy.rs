//! `to: Proxy(…)` of a location: an upstream, what it sees of a request, and what of its response the client sees.

use super::located::{Given, Node, Report};
use super::names::{self, Named};
use super::problem::Complaint;
use super::sending::directories;
use super::walk::{By, Choice, Form, Section, Walk};
use crate::gateway::accel::Accel;
use crate::http::{Changes, location, target};
use std::path::PathBuf;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proxy {
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub(crate) upstream: usize,
    /// The prefix of the location is dropped from the path.
    pub(crate) strip: bool,
    /// A template of the path that is asked for instead, as that of a redirect.
    pub(crate) rewrite: Option<String>,
    /// The host that is asked for, if not the one that the client has asked for.
    pub(crate) host: Option<String>,
    /// Fields of the request.
    pub(crate) request: Changes,
    /// Fields of the response.
    pub(crate) response: Changes,
    /// Bodies are kept for slow clients, so that they hold no server.
    pub(crate) buffering: bool,
    /// An error for which the site has a page is answered with that.
    pub(crate) intercept_errors: bool,
    /// Interim responses, such as 103, reach the client.
    pub(crate) early_hints: bool,
    /// So do trailers of responses, if it says that it takes them; and those of its requests reach the upstream.
    pub(crate) trailers: bool,
    /// What is done if a response says who is to answer in its place.
    pub(crate) accel: Accel,
    /// Where the files are that its responses may have sent.
    pub(crate) send_files_from: Vec<PathBuf>,
}

/// As it is written.
const BUFFERING: [(&str, bool); 2] = [("On", true), ("Off", false)];

pub(super) const ACCELS: [(&str, Accel); 3] =
    [("Follow", Accel::Follow), ("Pass", Accel::Pass), ("Ignore", Accel::Ignore)];

/// No upstream yet.
const NONE: usize = usize::MAX;

impl Default for Proxy {
    fn default() -> Self {
        Self {
            upstream: NONE,
            strip: false,
            rewrite: None,
            host: None,
            request: Changes::default(),
            response: Changes::default(),
            buffering: true,
            intercept_errors: false,
            early_hints: true,
            trailers: false,
            accel: Accel::default(),
            send_files_from: Vec::new(),
        }
    }
}

impl Section for Proxy {
    const SHORT: Option<&'static str> = Some("name");

    fn walk(&mut self, keys: &mut dyn Walk) {
        let mut upstream = Some(self.upstream).filter(|upstream| *upstream != NONE);
        keys.need("name", "\"api\"", &mut Named(&mut upstream, names::Kind::Upstream));
        self.upstream = upstream.unwrap_or(NONE);
        keys.key("strip", &mut self.strip);
        keys.key("rewrite", &mut By(&mut self.rewrite, template));
        keys.key("host", &mut By(&mut self.host, host));
        keys.key("request_headers", &mut self.request);
        keys.key("response_headers", &mut self.response);
        keys.key("buffering", &mut Choice(&mut self.buffering, &BUFFERING, &[]));
        keys.key("intercept_errors", &mut self.intercept_errors);
        keys.key("early_hints", &mut self.early_hints);
        keys.key("trailers", &mut self.trailers);
        keys.key("x_accel", &mut Choice(&mut self.accel, &ACCELS, &[]));
        keys.key("send_files_from", &mut By(&mut self.send_files_from, directories));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.strip && self.rewrite.is_some() {
            let what = "`strip` and `rewrite` exclude each other";
            let hint =
                "`strip` is what rewrite: \"$rest\" does, and maps back what the upstream answers; keep one";
            report.add(&given.place_of("rewrite"), Complaint::new(what, hint));
        }
    }
}

fn template(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    path_template(node, report, "it is asked for at the upstream").map(Some)
}

/// A template of a path that no browser sees; `what` says what becomes of it.
pub(super) fn path_template(node: &Node<'_>, report: &mut Report<'_>, what: &str) -> Option<String> {
    let text = String::read(node, report)?;
    let is_path = ["/", "$rest", "$path"].iter().any(|start| text.starts_with(start));
    let complaint = match location::check(&text, &report.groups) {
        _ if !is_path => Complaint::new(
            format!("`{text}` is no path"),
            format!("{what}: begin with \"/\", \"$rest\" or \"$path\""),
        ),
        _ if text.contains('#') => {
            Complaint::new("a `#` in a path", "no server is told what follows it: remove it")
        }
        _ if !text.is_ascii() => {
            Complaint::new("a character of a path that is none of ASCII", "percent-encode it")
        }
        Ok(()) => return Some(text),
        Err(error) => super::handler::no_location(&text, error, &report.groups),
    };
    node.refuse(report, complaint)
}

fn host(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "a host such as \"api.internal\"", |text| match target::host(text.as_bytes()) {
        Ok(_) if !text.is_empty() => Ok(Some(text.to_owned())),
        _ => Err(Complaint::new(
            format!("`{text}` is no host"),
            "a name and perhaps a port: \"api.internal:8080\"",
        )),
    })
}
