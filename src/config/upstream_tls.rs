//! `tls: …` of an upstream: how its servers are spoken to.

use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::site::parse_host;
use super::upstream::Server;
use super::walk::{By, Section, Walk};
use crate::route::HostPattern;
use std::net::IpAddr;
use std::path::PathBuf;

/// How the servers of an upstream are spoken to by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamTls {
    /// PEM: who signs their certificates; those whom the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// PEM: the certificate that they are shown, and its key.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// The name that they are asked for, and that their certificates must have; that of the address.
    pub(crate) name: Option<String>,
    /// Their certificates are looked at; yes.
    pub(crate) verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, name: None, verify: true }
    }
}

impl UpstreamTls {
    /// The name that a server is asked for, and that its certificate must have.
    pub(crate) fn name_of(&self, server: &Server) -> Option<String> {
        self.name.clone().or_else(|| server.address.host())
    }

    /// The system's authorities are asked.
    pub(crate) fn trusts_system(&self) -> bool {
        self.verify && self.ca.is_none()
    }
}

impl Section for UpstreamTls {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("ca", &mut self.ca);
        keys.key("certificate", &mut self.certificate);
        keys.key("key", &mut self.key);
        keys.key("name", &mut By(&mut self.name, name));
        keys.key("verify", &mut self.verify);
    }

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "cert" => "it is called `certificate` here",
            "sni" | "server_name" | "host" => "it is called `name` here",
            "insecure" | "skip_verify" => "it is `verify: false`",
            "alpn" | "protocols" | "ciphers" => {
                "TLS 1.2 and 1.3 with the ciphers of today are all there is; remove it"
            }
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        for (one, other) in [("certificate", "key"), ("key", "certificate")] {
            if given.has(one) && !given.has(other) {
                let what = format!("`{one}` without `{other}`: a server is shown both or nothing");
                report
                    .add(&given.place_of(one), Complaint::new(what, format!("give `{other}`, or remove it")));
            }
        }
        if given.is_good("verify") && !self.verify {
            let place = given.place_of("verify");
            if given.has("ca") {
                let what = "`verify: false` believes whoever answers, and `ca` says who is to be believed";
                report.add(&place, Complaint::new(what, "remove one of them"));
            } else {
                let what = "whoever stands between here and the servers can read and change everything";
                let hint = "leave it out, and name who has signed their certificates: ca: \"ca.pem\"";
                report.warn(&place, Complaint::new(what, hint));
            }
        }
    }
}

/// A host, or an IP address without brackets.
fn name(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "a host such as \"api.internal\"", |text| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return Ok(Some(bare.to_owned()));
        }
        match parse_host(text)? {
            HostPattern::Exact(name) => Ok(Some(name)),
            _ => Err(Complaint::new(
                format!("`{text}` is many names"),
                "give one that is in the certificate of the servers",
            )),
        }
    })
}
