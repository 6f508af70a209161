//! What a configuration wants of authorities: a certificate for all names of each site with `tls: Acme`. Sites with the same
//! names and the same authority have one together.

use super::store;
use crate::config::tls::{Acme, Certificates, Tls};
use crate::config::{Address, Complaint, Config, Listen, Place, Problem, Site, certificate_files};
use crate::control::helper::{Account, Binding, Challenge, Directory, Issue, Way};
use crate::renewal;
use crate::route::HostPattern;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

/// One certificate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// In lower case; at least one.
    pub(super) names: Vec<String>,
    /// Indices of the sites.
    pub(super) sites: Vec<usize>,
    /// Who is asked for it.
    pub(super) authority: Acme,
    /// How the names are shown to be ours.
    ways: Vec<Way>,
}

/// All, by their keys.
pub(super) fn of(config: &Config) -> BTreeMap<String, Wanted> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    let plain: BTreeSet<u16> =
        config.sites.iter().flat_map(|site| &site.listen).filter_map(port_of).collect();
    for (index, site) in config.sites.iter().enumerate() {
        let Some(tls) = &site.tls else { continue };
        let Certificates::Acme(authority) = &tls.certificates else { continue };
        let names = names(site);
        let key = renewal::key(&authority.directory, &names);
        let new =
            || Wanted { names, sites: Vec::new(), authority: authority.clone(), ways: ways(&plain, tls) };
        all.entry(key).or_insert_with(new).sites.push(index);
    }
    all
}

/// For what a certificate of a site is, in lower case.
pub(super) fn names(site: &Site) -> Vec<String> {
    site.names.iter().filter_map(HostPattern::plain).map(str::to_ascii_lowercase).collect()
}

/// An authority asks at port 80 or at port 443. The way whose port we listen on comes first; where that is both or neither, as
/// behind somebody who forwards ports, the one by HTTP, which works through more of what may stand in front.
fn ways(plain: &BTreeSet<u16>, tls: &Tls) -> Vec<Way> {
    let secure: BTreeSet<u16> = tls.listen.iter().filter_map(port_of).collect();
    let by_alpn = secure.contains(&443) && !plain.contains(&80);
    let mut ways = vec![(by_alpn, Way::Http, plain), (!by_alpn, Way::Alpn, &secure)];
    ways.sort_by_key(|(later, ..)| *later);
    ways.into_iter().filter(|(.., ports)| !ports.is_empty()).map(|(_, way, _)| way).collect()
}

/// The port of a TCP address; 0: of one that is not known before it is there.
fn port_of(listen: &Listen) -> Option<u16> {
    match &listen.address {
        Address::Unix(_) => None,
        address => Some(address.port().unwrap_or(0)),
    }
}

/// The ports of all authorities.
pub(super) fn ports(wanted: &BTreeMap<String, Wanted>) -> BTreeSet<u16> {
    wanted.values().map(|wanted| port(&wanted.authority.directory)).collect()
}

fn port(url: &str) -> u16 {
    let host = url.strip_prefix("https://").unwrap_or(url).split('/').next().unwrap_or_default();
    host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443)
}

impl Wanted {
    /// For people.
    pub(super) fn title(&self) -> String {
        self.names.join(", ")
    }

    /// Whom to ask; what is doubtful about what is known of it.
    ///
    /// # Errors
    /// For the operator: `directory_ca` is of no use.
    pub(super) fn directory(&self, origin: &str, doubts: &mut Vec<Problem>) -> Result<Directory, Problem> {
        let path = self.authority.directory_ca.as_deref();
        let key = self.key("directory_ca");
        let authorities = path.map(|path| certificate_files::read_directory_ca(origin, &key, path, doubts));
        Ok(Directory { url: self.authority.directory.clone(), authorities: authorities.transpose()? })
    }

    /// Who orders; `None`: nobody yet.
    ///
    /// # Errors
    /// For the operator: `storage` is not used, or what is in it not understood.
    pub(super) fn account(&self, origin: &str) -> Result<Option<Account>, Problem> {
        let Acme { storage, directory, .. } = &self.authority;
        store::account(storage, directory).map_err(|error| match error.kind() {
            // It says all by itself.
            ErrorKind::PermissionDenied if error.get_ref().is_some() => {
                self.refused(origin, error.to_string(), "")
            }
            _ => self.refused(
                origin,
                format!("the account in `{}` cannot be read: {error}", storage.display()),
                "put that right (without its file, a new account is made)",
            ),
        })
    }

    /// Account and certificates can be kept.
    ///
    /// # Errors
    /// For the operator: why not.
    pub(super) fn can_be_kept(&self, origin: &str) -> Result<(), Problem> {
        let storage = &self.authority.storage;
        store::usable(storage).map_err(|error| match error.get_ref() {
            Some(_) => self.refused(origin, error.to_string(), ""),
            None => self.refused(
                origin,
                format!("`{}` cannot be used: {error}", storage.display()),
                "correct the path, or its mode and owner",
            ),
        })
    }

    /// What is wrong with `storage`.
    pub(super) fn refused(&self, origin: &str, what: String, hint: &str) -> Problem {
        Place::named(origin, self.key("storage")).problem(Complaint::new(what, hint))
    }

    /// By which a new account is bound to one that there is.
    ///
    /// # Errors
    /// For the operator: the key of `eab` is of no use.
    pub(super) fn binding(
        &self,
        origin: &str,
        doubts: &mut Vec<Problem>,
    ) -> Result<Option<Binding>, Problem> {
        let Some(eab) = &self.authority.eab else { return Ok(None) };
        let key = certificate_files::read_eab(origin, &self.key("eab.key"), &eab.key, doubts)?;
        Ok(Some(Binding { key_id: eab.key_id.clone(), key }))
    }

    /// # Errors
    /// For the operator: what is of no use.
    pub(super) fn order(
        &self,
        origin: &str,
        directory: Directory,
        replaces: Option<String>,
    ) -> Result<Issue, Problem> {
        let account = self.account(origin)?;
        let binding = if account.is_none() { self.binding(origin, &mut Vec::new())? } else { None };
        Ok(Issue {
            directory,
            account,
            email: self.authority.email.clone(),
            binding,
            names: self.names.clone(),
            ways: self.ways.clone(),
            replaces,
        })
    }

    /// Of the first of its sites.
    fn key(&self, name: &str) -> String {
        let site = self.sites.first().copied().unwrap_or_default();
        format!("sites[{site}].tls.certificates.{name}")
    }

    /// Whether workers may answer so: for these names, and no others.
    pub(super) fn takes(&self, challenges: &[Challenge]) -> bool {
        let is_of_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_good = |challenge: &Challenge| match challenge {
            Challenge::Http { name, token, authorization } => {
                // RFC 8555 §8.1: the token, a dot, and the thumbprint of the account's key.
                let thumbprint =
                    authorization.strip_prefix(token.as_str()).and_then(|rest| rest.strip_prefix('.'));
                self.names.contains(name)
                    && !token.is_empty()
                    && thumbprint.is_some_and(|print| print.bytes().all(is_of_base64url))
                    && token.bytes().all(is_of_base64url)
            }
            Challenge::Alpn { name, .. } => self.names.contains(name),
        };
        challenges.iter().all(is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Disk, load};
    use crate::secret::Secret;

    fn wanted(sites: &str) -> BTreeMap<String, Wanted> {
        let file = std::env::temp_dir().join(format!("hatchery-wanted-{}.ron", std::process::id()));
        std::fs::write(&file, format!("(sites: [{sites}])")).unwrap();
        let config = load(&file, &Disk);
        std::fs::remove_file(file).unwrap();
        of(&config.unwrap())
    }

    fn site(names: &str, listen: &str, secure: &str, acme: &str) -> String {
        format!(
            "(names: [{names}], listen: [{listen}], tls: (listen: [{secure}], certificates: {acme}),
              locations: [(path: \"/\", to: Respond(status: 204))])"
        )
    }

    #[test]
    fn sites_of_the_same_names_and_authority_have_one_certificate() {
        let two = [
            site("\"a.b\", \"B.c\"", "", "\":443\"", "Acme"),
            site("\"b.c\", \"a.b\"", "", "\":8443\"", "Acme"),
            site("\"a.b\"", "", "\":9443\"", "Acme(directory: \"https://ca.lan:9000/dir\")"),
            site("\"d.e\"", "", "\":443\"", "SelfSigned"),
        ];
        let wanted = wanted(&two.join(", "));
        let mut sites: Vec<&[usize]> = wanted.values().map(|one| one.sites.as_slice()).collect();
        sites.sort_unstable();
        assert_eq!(sites, [&[0, 1][..], &[2]]);
        assert_eq!(ports(&wanted), BTreeSet::from([443, 9000]));
    }

    #[test]
    fn the_way_comes_first_whose_port_is_ours() {
        use Way::{Alpn, Http};
        for (plain, secure, ways) in [
            ("\":80\"", "\":443\"", &[Http, Alpn][..]),
            ("\":8080\"", "\":443\"", &[Alpn, Http]),
            ("\":8080\"", "\":8443\"", &[Http, Alpn]),
            ("", "\":443\"", &[Alpn]),
            ("\"unix:/x.sock\"", "\":8443\"", &[Alpn]),
        ] {
            let wanted = wanted(&site("\"a.b\"", plain, secure, "Acme"));
            assert_eq!(wanted.values().next().unwrap().ways, ways, "{plain} {secure}");
        }
    }

    #[test]
    fn workers_answer_for_names_of_the_order_and_nothing_else() {
        let wanted = wanted(&site("\"a.b\"", "\":80\"", "\":443\"", "Acme"));
        let wanted = wanted.values().next().unwrap();
        let http = |name: &str, token: &str, authorization: &str| Challenge::Http {
            name: name.into(),
            token: token.into(),
            authorization: authorization.into(),
        };
        let alpn = |name: &str| Challenge::Alpn {
            name: name.into(),
            certificate: Vec::new(),
            key: Secret::default(),
        };
        let good = [http("a.b", "tok_en-1", "tok_en-1.print"), alpn("a.b")];
        assert!(wanted.takes(&good));
        for bad in [
            http("c.d", "token", "token.print"),
            http("a.b", "", ".print"),
            http("a.b", "../x", "../x.print"),
            http("a.b", "token", "<script>"),
            http("a.b", "token", "token.<script>"),
            alpn("c.d"),
        ] {
            assert!(!wanted.takes(&[good[0].clone(), bad.clone()]), "{bad:?}");
        }
    }
}
