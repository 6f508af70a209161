//! Certificates that sign themselves: for development (`tls: SelfSigned`), and for a site that waits for its first one of an
//! authority.

use crate::config::certificate::Facts;
use crate::config::certificate_files::DAY;
use crate::config::credentials::Certificate;
use crate::config::{Address, Config, Site};
use crate::policy::DefaultSite;
use crate::route::HostPattern;
use crate::secret::Secret;
use crate::timer::Wall;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use x509_cert::der::DateTime;

/// By this one of ours is known again.
const SUBJECT: &str = "Hatchery, self-signed";

/// How long one is good.
const LIFE: i64 = 365 * DAY;

/// One that ends sooner is made anew.
const LEAST: i64 = 30 * DAY;

/// Those that were made before, by their names; when each ends.
pub(super) type Made<'a> = HashMap<BTreeSet<String>, (i64, &'a Certificate)>;

/// The one for a site: of those that were made before, if one is for the same names, else a new one.
///
/// # Errors
/// For the operator: a name that no certificate can have.
pub(super) fn of(
    index: usize,
    config: &Config,
    site: &Site,
    before: &Made<'_>,
    now: Wall,
) -> Result<Certificate, String> {
    let names = names(site, config.default_site == DefaultSite::Site(index));
    match before.get(&names).filter(|(end, _)| end.saturating_sub(now.seconds) > LEAST) {
        Some((_, known)) => Ok(Certificate { site: index, ..(*known).clone() }),
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
pub(super) fn is_ours(facts: &Facts) -> bool {
    facts.subject == SUBJECT && facts.is_self_signed()
}

/// Those of the site; where it answers any host, also those by which a browser on this machine may call it.
fn names(site: &Site, is_default: bool) -> BTreeSet<String> {
    let own = site.names.iter().filter_map(HostPattern::in_certificate);
    let own = own.map(|name| name.trim_start_matches('[').trim_end_matches(']').to_owned());
    let mut names: BTreeSet<String> = own.collect();
    if is_default || names.is_empty() {
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        names.extend(site.addresses().filter_map(|(_, listen, is_tls)| match &listen.address {
            Address::Tcp(address) if is_tls && !address.ip().is_unspecified() => {
                Some(address.ip().to_string())
            }
            _ => None,
        }));
    }
    names
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

    fn config(default_site: DefaultSite) -> Config {
        let names = vec![
            HostPattern::Exact("a.example".to_owned()),
            HostPattern::Suffix(".a.example".to_owned()),
            HostPattern::Exact("[::2]".to_owned()),
        ];
        let sites = vec![Site { names, ..Site::default() }, Site::default()];
        Config { default_site, sites, ..Config::default() }
    }

    fn made(index: usize, config: &Config) -> Certificate {
        of(index, config, &config.sites[index], &Made::new(), NOW).unwrap()
    }

    #[test]
    fn it_is_for_what_the_site_answers_and_signs_nothing_else() {
        let own = ["a.example", "x.a.example", "[::2]"];
        let local = ["localhost", "127.0.0.1", "[::1]"];
        for (index, default, covered) in [
            (0, DefaultSite::Refuse, own.to_vec()),
            (0, DefaultSite::Site(0), [own, local].concat()),
            (1, DefaultSite::Refuse, local.to_vec()),
        ] {
            let made = made(index, &config(default));
            let facts = Facts::of(&made.chain[0]).unwrap();
            for name in [own, local].concat() {
                assert_eq!(facts.covers(name), covered.contains(&name), "{index} {name}: {facts:?}");
            }
            assert!(!facts.covers("b.example") && !facts.covers("x.x.a.example"));
            assert_eq!((made.site, facts.is_ca, fits(&made.chain, &made.key)), (index, false, Ok(())));
            assert!(is_ours(&facts) && facts.not_before < NOW.seconds);
            let days = (facts.not_after - NOW.seconds) / DAY;
            assert!((364..=365).contains(&days), "{days}");
        }
    }

    #[test]
    fn it_stays_as_long_as_the_names_and_is_made_anew_before_it_ends() {
        let config = config(DefaultSite::Refuse);
        let known = made(0, &config);
        let facts = Facts::of(&known.chain[0]).unwrap();
        let before = Made::from([(facts.names.into_iter().collect(), (facts.not_after, &known))]);
        let of = |index, site: &Site, now| of(index, &config, site, &before, now).unwrap();
        let again = of(7, &config.sites[0], NOW);
        assert_eq!((again.site, &again.chain), (7, &known.chain));
        let later = Wall { seconds: NOW.seconds + 340 * DAY, ..NOW };
        assert_ne!(of(0, &config.sites[0], later).chain, known.chain);
        assert_ne!(of(0, &config.sites[1], NOW).chain, known.chain);
    }
}
