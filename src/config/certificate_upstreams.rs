//! The files of `tls` of upstreams: who signs the certificates of their servers, and what these are shown.

use super::certificate::{Facts, Unfit, fits};
use super::certificate_files::{Named, authorities, certificates, contents, expiry, private_key};
use super::credentials::{Credentials, Shown, Trust};
use super::problem::{Complaint, Place, Problem};
use super::{Config, Upstream, UpstreamTls};
use crate::timer::Wall;
use rustls_pki_types::ServerName;
use std::path::{Path, PathBuf};

/// The upstreams that are spoken to by TLS, by index.
fn of(config: &Config) -> impl Iterator<Item = (usize, &Upstream, &UpstreamTls)> {
    let upstreams = config.upstreams.iter().enumerate();
    upstreams.filter_map(|(index, upstream)| Some((index, upstream, upstream.tls.as_ref()?)))
}

/// All that is read for them.
pub(super) fn paths(config: &Config) -> impl Iterator<Item = PathBuf> {
    of(config).flat_map(|(_, _, tls)| [&tls.ca, &tls.certificate, &tls.key].into_iter().flatten().cloned())
}

/// Reads what is needed into `credentials`. Where a file is of no use, what is known from `before` stays; those are told.
pub(crate) fn read(
    config: &Config,
    before: Option<(&Config, &Credentials)>,
    credentials: &mut Credentials,
    now: Wall,
    doubts: &mut Vec<Problem>,
) -> Vec<Problem> {
    let mut faults = Vec::new();
    for (index, upstream, tls) in of(config) {
        match trust(&config.origin, (index, upstream), tls, now, doubts) {
            Ok(trust) => credentials.upstreams.push(trust),
            Err(fault) => {
                let same = before.filter(|(config, _)| config.upstreams.get(index) == Some(upstream));
                let kept =
                    same.and_then(|(_, known)| known.upstreams.iter().find(|kept| kept.upstream == index));
                credentials.upstreams.extend(kept.cloned());
                faults.push(fault);
            }
        }
    }
    if let Some((_, upstream, _)) = of(config).find(|(_, _, tls)| tls.trusts_system()) {
        credentials.roots = roots();
        if credentials.roots.is_empty() {
            credentials.roots = before.map(|(_, known)| known.roots.clone()).unwrap_or_default();
            let key = format!("upstreams.{}.tls", upstream.name);
            let what = "this system names no authority that signs certificates of servers";
            let hint = "install its package ca-certificates, or name a file: tls: (ca: \"ca.pem\")";
            faults.push(Place::named(&config.origin, key).problem(Complaint::new(what, hint)));
        }
    }
    faults
}

/// Whom the system trusts.
fn roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    found.errors.iter().for_each(|error| log::debug!("master: an authority of the system: {error}"));
    found.certs.iter().map(|der| der.to_vec()).collect()
}

fn trust(
    origin: &str,
    (index, upstream): (usize, &Upstream),
    tls: &UpstreamTls,
    now: Wall,
    doubts: &mut Vec<Problem>,
) -> Result<Trust, Problem> {
    let key = |part: &str| format!("upstreams.{}.tls.{part}", upstream.name);
    if let Some(name) = &tls.name
        && ServerName::try_from(name.as_str()).is_err()
    {
        let complaint = Complaint::new(format!("no certificate can be for `{name}`"), "correct the name");
        return Err(Place::named(origin, key("name")).problem(complaint));
    }
    let mut trust = Trust { upstream: index, authorities: None, certificate: None };
    if let Some(path) = &tls.ca {
        let key = key("ca");
        let named = Named { origin, key: &key, path };
        let (_, certificates) = authorities(&named, "that of the servers", doubts)?;
        trust.authorities = Some(certificates);
    }
    if let (Some(certificate), Some(private)) = (&tls.certificate, &tls.key) {
        let keys = [key("certificate"), key("key")];
        let [of_certificate, of_key] = &keys;
        let certificate = Named { origin, key: of_certificate, path: certificate };
        let private = Named { origin, key: of_key, path: private };
        let chain = chain(&certificate, now, doubts)?;
        trust.certificate = Some(shown(chain, &private, certificate.path, doubts)?);
    }
    Ok(trust)
}

fn chain(named: &Named<'_>, now: Wall, doubts: &mut Vec<Problem>) -> Result<Vec<Vec<u8>>, Problem> {
    let (text, _) = contents(named, doubts)?;
    let chain = certificates(named, &text.0)?;
    let Some(facts) = chain.first().and_then(|der| Facts::of(der)) else {
        return Err(named.wrong("the certificate in it is damaged", "get it anew from the authority"));
    };
    doubts.extend(expiry(&facts, now).map(|what| named.wrong(what, "renew it, or servers will refuse it")));
    Ok(chain)
}

fn shown(
    chain: Vec<Vec<u8>>,
    private: &Named<'_>,
    certificate: &Path,
    doubts: &mut Vec<Problem>,
) -> Result<Shown, Problem> {
    let key = private_key(private, "show itself as this server", doubts)?;
    fits(&chain, &key).map_err(|unfit| match unfit {
        Unfit::Key => private.wrong(
            "this kind of key is of no use",
            "use ECDSA (P-256 or P-384), Ed25519, or RSA of 2048 bits or more",
        ),
        Unfit::Other => private.wrong(
            format!("it is not the key of the certificate in `{}`", certificate.display()),
            "both are made together: give the key that the certificate was requested with",
        ),
    })?;
    Ok(Shown { chain, key })
}
