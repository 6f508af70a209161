//! Certificates that sign themselves: for development (`tls: SelfSigned`), and for a site that waits for its first one of an
//! authority.

use crate::config::certificate::Facts;
use crate::config::certificate_files::DAY;
use crate::config::credentials::Certificate;
use crate::config::{Address, Site};
use crate::route::HostPattern;
use crate::secret::Secret;
use crate::timer::Wall;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::collections::BTreeSet;
use std::time::Duration;
use x509_cert::der::DateTime;

/// By this one of ours is known again.
const SUBJECT: &str = "Hatchery, self-signed";

/// How long one is good.
const LIFE: i64 = 365 * DAY;

/// One that ends sooner is made anew.
const LEAST: i64 = 30 * DAY;

/// The one for a site: of those that were made before, if one is for the same names, else a new one.
///
/// # Errors
/// For the operator: a name that no certificate can have.
pub(super) fn of(
    index: usize,
    site: &Site,
    before: &[Certificate],
    now: Wall,
) -> Result<Certificate, String> {
    let names = names(site);
    let fits = |certificate: &&Certificate| {
        certificate.chain.first().and_then(|der| Facts::of(der)).is_some_and(|facts| {
            let same = facts.names.iter().cloned().collect::<BTreeSet<_>>() == names;
            let lasts = facts.not_after.saturating_sub(now.seconds) > LEAST;
            same && lasts && is_ours(&facts)
        })
    };
    match before.iter().find(fits) {
        Some(known) => Ok(Certificate { site: index, ..known.clone() }),
        None => {
            let made = make(names, now);
            let (chain, key) = made.map_err(|error| {
                format!("sites[{index}].tls: no certificate can be made for {}: {error}", site.label)
            })?;
            Ok(Certificate { site: index, chain: vec![chain], key, ocsp: None })
        }
    }
}

/// It was made here.
pub(super) fn is_one(certificate: &Certificate) -> bool {
    certificate.chain.first().and_then(|der| Facts::of(der)).is_some_and(|facts| is_ours(&facts))
}

fn is_ours(facts: &Facts) -> bool {
    facts.subject == SUBJECT && facts.is_self_signed()
}

/// Those of the site, and by which a browser on this machine may call it.
fn names(site: &Site) -> BTreeSet<String> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let own = site.names.iter().map(|name| match name {
        HostPattern::Exact(name) => name.trim_start_matches('[').trim_end_matches(']').to_owned(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    });
    let listens = site.addresses().filter_map(|(_, listen, is_tls)| match &listen.address {
        Address::Tcp(address) if is_tls && !address.ip().is_unspecified() => Some(address.ip().to_string()),
        _ => None,
    });
    local.into_iter().chain(own).chain(listens).collect()
}

fn make(names: BTreeSet<String>, now: Wall) -> Result<(Vec<u8>, Secret), rcgen::Error> {
    let mut params = CertificateParams::new(names.into_iter().collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A clock that is a little slow is no reason to refuse it.
    for (date, at) in
        [(&mut params.not_before, now.seconds - DAY), (&mut params.not_after, now.seconds + LIFE)]
    {
        let since = Duration::from_secs(u64::try_from(at).unwrap_or(0));
        if let Ok(day) = DateTime::from_unix_duration(since) {
            *date = date_time_ymd(day.year().into(), day.month(), day.day());
        }
    }
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?;
    Ok((certificate.der().to_vec(), Secret(pair.serialize_der())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::certificate::fits;

    const NOW: Wall = Wall { seconds: 1_790_000_000, nanos: 0 };

    fn site() -> Site {
        Site {
            names: vec![
                HostPattern::Exact("a.example".to_owned()),
                HostPattern::Suffix(".a.example".to_owned()),
                HostPattern::Exact("[::2]".to_owned()),
            ],
            ..Site::default()
        }
    }

    #[test]
    fn it_is_for_the_names_of_the_site_and_of_this_machine_and_signs_nothing_else() {
        let made = of(3, &site(), &[], NOW).unwrap();
        let facts = Facts::of(&made.chain[0]).unwrap();
        for name in ["a.example", "x.a.example", "localhost", "127.0.0.1", "[::1]", "[::2]"] {
            assert!(facts.covers(name), "{name}: {facts:?}");
        }
        assert!(!facts.covers("b.example") && !facts.covers("x.x.a.example"));
        assert_eq!((made.site, facts.is_ca, fits(&made.chain, &made.key)), (3, false, Ok(())));
        assert!(facts.is_self_signed() && facts.not_before < NOW.seconds);
        let days = (facts.not_after - NOW.seconds) / DAY;
        assert!((364..=365).contains(&days), "{days}");
    }

    #[test]
    fn it_stays_as_long_as_the_names_and_is_made_anew_before_it_ends() {
        let made = of(3, &site(), &[], NOW).unwrap();
        let before = std::slice::from_ref(&made);
        let again = of(0, &site(), before, NOW).unwrap();
        assert_eq!((again.site, &again.chain), (0, &made.chain));
        let later = Wall { seconds: NOW.seconds + 340 * DAY, ..NOW };
        assert_ne!(of(0, &site(), before, later).unwrap().chain, made.chain);
        let other = Site { names: Vec::new(), ..site() };
        assert_ne!(of(0, &other, before, NOW).unwrap().chain, made.chain);
    }
}
