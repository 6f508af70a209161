//! What workers are handed for TLS and logins (`config::credentials`): the certificates, lists of networks and users of a
//! generation, and what belongs to the server as a whole: keys of tickets, and open challenges. A server with none of these has,
//! makes and watches nothing.
//!
//! | changes | how workers learn of it |
//! |---|---|
//! | another configuration | new workers have it from their fork |
//! | a file, an issued certificate, a challenge, a key of tickets | all of it anew to the workers of the generation, none is replaced |

use super::acme::{Best, Issued};
use super::child::Worker;
use super::generation::Generation;
use super::self_signed::{self, Made};
use super::touch::Touch;
use super::{Master, Token};
use crate::config::access_files;
use crate::config::certificate::{Facts, fingerprint};
use crate::config::certificate_files::{self, DAY};
use crate::config::certificate_upstreams;
use crate::config::credentials::{Authorities, Certificate, Challenge, Credentials, TicketKey};
use crate::config::{Certificates, Complaint, Config, Disk, Place, Problem, located};
use crate::control::command::CertificateStatus;
use crate::control::digits::hex;
use crate::secret::Secret;
use crate::sys::poll::Set;
use crate::sys::{clock, fd, process};
use crate::timer::{Time, Wall, earliest};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// A ticket is taken for two to three times so long.
const ROTATION: Duration = Duration::from_secs(8 * 3600);

/// The one that makes tickets, and those before it.
const TICKET_KEYS: usize = 3;

/// From here on the log tells each day of a certificate that ends.
const TOLD: i64 = 7 * DAY;

/// So many seconds after its end one has ended right now.
const MOMENT: i64 = 60;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(DAY as u64);

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Keyring {
    /// Without certificates, which are the generation's. Its serial number counts every change.
    own: Credentials,
    /// When the next key of tickets is made.
    rotation: Option<Time>,
    /// When the ends of certificates are looked at.
    look: Option<Time>,
    /// When the next of them ends, or what is stapled to one goes out of date.
    #[serde(skip)]
    end: Option<Time>,
    /// The files of the current generation.
    files: Touch,
    /// Files that are not taken, by their keys: why.
    faults: BTreeMap<String, String>,
}

/// What it is time for.
struct Due {
    /// There is another key of tickets.
    rotated: bool,
    /// The ends of certificates are looked at.
    looks: bool,
    /// One of them has ended, perhaps.
    ends: bool,
    /// A file is another one, or has gone.
    is_changed: bool,
}

/// The certificates of a configuration, and what is to be told of them.
#[derive(Debug)]
struct Read {
    credentials: Credentials,
    /// What is wrong with files, by their keys; what was there before stands in their place.
    faults: Vec<(String, Problem)>,
    /// For the log.
    doubts: Vec<Problem>,
}

/// What there was before, each of it looked at once.
#[derive(Default)]
struct Known<'a> {
    /// What authorities have given.
    issued: Issued,
    /// What was made here.
    made: Made<'a>,
    /// By the indices of their sites.
    certificates: HashMap<usize, Vec<&'a Certificate>>,
    authorities: HashMap<usize, &'a Authorities>,
}

impl<'a> Known<'a> {
    fn of(config: &Config, known: &'a Credentials) -> Self {
        let mut all = Self { certificates: by_site(known), ..Self::default() };
        all.authorities.extend(known.authorities.iter().map(|one| (one.site, one)));
        for one in &known.certificates {
            let Some(facts) = one.chain.first().and_then(|der| Facts::of(der)) else { continue };
            if self_signed::is_ours(&facts) {
                let names = facts.names.iter().cloned().collect();
                all.made.entry(names).or_insert((facts.not_after, one));
            } else if let Some(site) = config.sites.get(one.site) {
                all.issued.add(facts, one.clone(), site);
            }
        }
        all
    }
}

fn by_site(credentials: &Credentials) -> HashMap<usize, Vec<&Certificate>> {
    let mut sites: HashMap<usize, Vec<&Certificate>> = HashMap::new();
    for one in &credentials.certificates {
        sites.entry(one.site).or_default().push(one);
    }
    sites
}

/// What a configuration has for TLS. Of what files say `before` is not read what is of no use; a certificate that was made
/// here stays, and one that is to be had by ACME and of which there is none at all is made here.
fn read(config: &Config, before: Option<(&Config, &Credentials)>, now: Wall) -> Result<Read, String> {
    let mut read = Read { credentials: Credentials::default(), faults: Vec::new(), doubts: Vec::new() };
    let mut known = before.map(|(config, known)| Known::of(config, known)).unwrap_or_default();
    for (index, site) in config.sites.iter().enumerate() {
        let Some(tls) = &site.tls else { continue };
        let is_same = before.is_some_and(|(config, _)| config.sites.get(index) == Some(site));
        let mut own: Vec<Certificate> = Vec::new();
        let earlier = known.certificates.get(&index).filter(|_| is_same);
        for (number, (key, files)) in certificate_files::of_site(index, site).enumerate() {
            let kept = earlier.and_then(|earlier| earlier.get(number)).copied();
            let found = certificate_files::read(&config.origin, &key, files, index, now);
            let found = found.and_then(|mut found| {
                let kept_is_better = is_better(kept, &found.certificate, now);
                found.untimely.take_if(|_| kept_is_better).map_or(Ok(found), Err)
            });
            match found {
                Ok(found) => {
                    read.doubts.extend(found.doubts.into_iter().chain(found.untimely));
                    own.push(found.certificate);
                }
                Err(fault) => {
                    own.extend(kept.cloned());
                    read.faults.push((key, fault));
                }
            }
        }
        read.doubts.extend(certificate_files::uncovered(&config.origin, index, site, &own));
        if !matches!(tls.certificates, Certificates::Files(_)) {
            let issued = known.issued.serving(site, now);
            read.doubts
                .extend(issued.as_ref().and_then(|best| provisional(&config.origin, index, best, now)));
            own.push(match issued {
                Some(Best { certificate, .. }) => Certificate { site: index, ..certificate.clone() },
                None => self_signed::of(index, config, site, &known.made, now)?,
            });
        }
        read.credentials.certificates.extend(own);
        if let Some(clients) = &tls.clients {
            match certificate_files::read_clients(&config.origin, clients, index, &mut read.doubts) {
                Ok(authorities) => read.credentials.authorities.push(authorities),
                Err(problem) => {
                    let kept = known.authorities.get(&index).filter(|_| is_same);
                    read.credentials.authorities.extend(kept.map(|kept| (*kept).clone()));
                    read.faults.push((format!("sites[{index}].tls.clients.ca"), problem));
                }
            }
        }
    }
    let of_upstreams =
        certificate_upstreams::read(config, before, &mut read.credentials, now, &mut read.doubts);
    let known = before.map(|(_, known)| known);
    let of_access = access_files::read(config, known, &mut read.credentials, &mut read.doubts);
    let others = of_upstreams.into_iter().chain(of_access);
    read.faults.extend(others.map(|fault| (fault.key.clone(), fault)));
    Ok(read)
}

/// That an authority's certificate is not what the site should have.
fn provisional(origin: &str, index: usize, best: &Best<'_>, now: Wall) -> Option<Problem> {
    let what = if !best.facts.is_valid(now.seconds) {
        certificate_files::expiry(best.facts, now)?
    } else if best.missing.is_empty() {
        return None;
    } else {
        format!("the certificate is not for {}, which browsers will refuse", best.missing.join(", "))
    };
    let place = Place::named(origin, format!("sites[{index}].tls.certificates"));
    Some(place.problem(Complaint::new(what, "it serves until there is another one, which is ordered")))
}

/// What authorities gave to the sites of the generation in use while the candidate was tried.
pub(super) fn take_issued(candidate: &mut Generation, current: &Generation) {
    let Known { issued, .. } = Known::of(&current.config, &current.credentials);
    let Generation { config, credentials, .. } = candidate;
    for known in &mut credentials.certificates {
        let best = config.sites.get(known.site).and_then(|site| issued.best(site, clock::wall()));
        if let Some(Best { certificate, is_right: true, .. }) = best {
            *known = Certificate { site: known.site, ..certificate.clone() };
        }
    }
}

/// The one that is there is another one than the one in the file, and valid.
fn is_better(kept: Option<&Certificate>, found: &Certificate, now: Wall) -> bool {
    let kept = kept.filter(|kept| kept.chain != found.chain);
    let facts = kept.and_then(|kept| Facts::of(kept.chain.first()?));
    facts.is_some_and(|facts| facts.is_valid(now.seconds))
}

/// The certificates of a configuration that a generation is made from; `before` those of the one in use.
///
/// # Errors
/// For the operator: every file that is of no use.
pub(super) fn certificates(
    config: &Config,
    before: Option<(&Config, &Credentials)>,
) -> Result<Credentials, String> {
    let now = clock::wall();
    let Read { credentials, faults, doubts } = read(config, before, now)?;
    let located = |problems| located(&config.origin, &Disk, problems);
    if !faults.is_empty() {
        let faults = located(faults.into_iter().map(|(_, fault)| fault).collect());
        let lines: Vec<String> = faults.iter().map(Problem::to_string).collect();
        return Err(lines.join("\n"));
    }
    located(doubts).iter().for_each(|doubt| log::warn!(target: "hatchery", "{doubt}"));
    Ok(credentials)
}

impl Keyring {
    /// What the workers of a generation are to have.
    pub(super) fn handed(&self, generation: &Generation) -> Credentials {
        let Credentials { serial, tickets, challenges, .. } = self.own.clone();
        Credentials { serial, tickets, challenges, ..generation.credentials.clone() }
    }

    /// Counts every change of what is handed.
    pub(super) fn serial(&self) -> u64 {
        self.own.serial
    }

    /// The configuration has, or has not, something to do here.
    pub(super) fn follow(&mut self, config: &Config, now: Time) {
        let is_there = config.sites.iter().any(|site| site.tls.is_some());
        let paths = [certificate_files::paths(config), access_files::paths(config)].concat();
        self.files.follow("tls, access or auth", &paths, now);
        if !is_there {
            self.own.tickets.clear();
            (self.rotation, self.look) = (None, None);
        } else if self.rotation.is_none() {
            self.rotate(now);
            self.look = Some(now.after(LOOK));
        }
    }

    /// A new key makes tickets, the oldest is forgotten.
    fn rotate(&mut self, now: Time) {
        let mut key = Secret(vec![0; 32]);
        let mut name = [0; 16];
        fd::randomize(&mut key.0);
        fd::randomize(&mut name);
        self.own.tickets.insert(0, TicketKey { name, key });
        self.own.tickets.truncate(TICKET_KEYS);
        self.own.serial += 1;
        self.rotation = Some(now.after(ROTATION));
    }

    fn due(&mut self, now: Time) -> Due {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let (rotated, looks) = (is_due(self.rotation), is_due(self.look));
        if rotated {
            self.rotate(now);
        }
        if looks {
            self.look = Some(now.after(LOOK));
        }
        let ends = self.end.take_if(|end| *end <= now).is_some();
        Due { rotated, looks, ends, is_changed: self.files.is_changed(now) }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let ends = earliest(self.look, self.end);
        earliest(earliest(self.rotation, ends), self.files.deadline())
    }

    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        self.files.watch(set, Token::Certificates);
    }

    /// Something may have happened to a file.
    pub(super) fn ready(&mut self, now: Time) {
        self.files.ready(now);
    }

    /// What has happened without a watch nobody tells.
    pub(super) fn go_on(&mut self, now: Time) {
        self.files.go_on(now);
    }

    /// All files were read for another generation, and taken.
    pub(super) fn forget_faults(&mut self) {
        self.faults.clear();
    }

    /// Why files of a site are not taken that stand behind keys with this end.
    fn fault(&self, site: usize, end: &str) -> Option<String> {
        self.faults.get(&format!("sites[{site}].tls.{end}")).cloned()
    }
}

impl Master {
    /// Does what is due for TLS.
    pub(super) fn tend_keyring(&mut self, now: Time) {
        let Due { rotated, looks, ends, is_changed } = self.keyring.due(now);
        if is_changed || looks || ends {
            self.read_certificates();
        }
        // Whatever the files say.
        if rotated {
            self.hand_credentials();
        }
        if looks || ends {
            self.tell_ends(looks);
            self.await_end(now);
        }
    }

    /// The next end of a certificate in use, or of what is stapled to one, is not missed.
    pub(super) fn await_end(&mut self, now: Time) {
        let wall = clock::wall();
        let ends = self.current.credentials.certificates.iter().flat_map(certificate_files::ends);
        let left = ends.filter_map(|end| u64::try_from(end.saturating_sub(wall.seconds)).ok()).min();
        // It is good to the end of that second.
        self.keyring.end = left.map(|left| now.after(Duration::from_secs(left + 1)));
    }

    /// Reads the files of the current generation again.
    pub(super) fn read_certificates(&mut self) {
        let Generation { config, credentials, .. } = &self.current;
        let read = match read(config, Some((config, credentials)), clock::wall()) {
            Ok(read) => read,
            Err(reason) => return log::error!(target: "hatchery", "certificates stay as they are: {reason}"),
        };
        let before = std::mem::take(&mut self.keyring.faults);
        for (key, fault) in &read.faults {
            let fault = fault.to_string();
            if before.get(key) != Some(&fault) {
                log::error!(target: "hatchery", "{fault}; what was read before stays in use");
            }
        }
        let faults = read.faults.into_iter().map(|(key, fault)| (key, fault.to_string()));
        self.keyring.faults = faults.collect();
        if read.credentials == *credentials {
            return;
        }
        read.doubts.iter().for_each(|doubt| log::warn!(target: "hatchery", "{doubt}"));
        let of_access = access_files::changed(credentials, &read.credentials);
        of_access.iter().for_each(|what| log::info!(target: "hatchery", "read anew: {what}"));
        if let Some(what) = changed(config, credentials, &read.credentials) {
            log::info!(target: "hatchery", "certificates were read anew: {what}");
        }
        self.current.credentials = read.credentials;
        self.credentials_changed();
        self.await_end(clock::now());
    }

    /// A certificate for a site of the current generation came from an authority.
    pub(super) fn issued(&mut self, site: usize, chain: Vec<Vec<u8>>, key: Secret) {
        let all = &mut self.current.credentials.certificates;
        let Some(place) = all.iter().position(|known| known.site == site) else { return };
        if let Some(known) = all.get_mut(place).filter(|known| known.chain != chain) {
            *known = Certificate { site, chain, key, ocsp: None };
            self.credentials_changed();
            self.await_end(clock::now());
        }
    }

    /// These are the open challenges from now on. The number that they go to the workers under.
    pub(super) fn set_challenges(&mut self, challenges: Vec<Challenge>) -> u64 {
        if self.keyring.own.challenges != challenges {
            self.keyring.own.challenges = challenges;
            self.credentials_changed();
        }
        self.keyring.serial()
    }

    pub(super) fn credentials_changed(&mut self) {
        self.keyring.own.serial += 1;
        self.hand_credentials();
    }

    /// Has all workers of the current generation, and of the one that is being tried, hold what there is now; those that do
    /// not read get it later.
    pub(super) fn hand_credentials(&mut self) {
        let Self { children, keyring, current, candidate, generation, .. } = self;
        let own = *generation;
        for (source, order) in [(Some(&*current), Ordering::Equal), (candidate.as_ref(), Ordering::Greater)] {
            let Some(source) = source else { continue };
            let mut file = None;
            let of = |worker: &Worker| worker.generation.cmp(&own) == order;
            for (_, worker) in children.workers_mut().filter(|(_, worker)| of(worker)) {
                worker.needs(keyring.serial());
                if !worker.is_needy() {
                    continue;
                }
                match file.get_or_insert_with(|| sealed(&keyring.handed(source))) {
                    Ok(file) => worker.hand_over(file.as_fd()),
                    Err(error) => {
                        log::error!(target: "hatchery", "workers keep the certificates that they have: {error}");
                        return;
                    }
                }
            }
        }
    }

    /// What `status` shows of the certificates in use.
    pub(super) fn certificates(&self, now: Time) -> Vec<CertificateStatus> {
        let wall = clock::wall();
        let Generation { config, credentials, .. } = &self.current;
        let mut shown = Vec::new();
        let (by_site, standings) = (by_site(credentials), self.acme_standings(now));
        for (index, site) in config.sites.iter().enumerate() {
            let Some(tls) = &site.tls else { continue };
            for (number, certificate) in by_site.get(&index).into_iter().flatten().enumerate() {
                let first = certificate.chain.first().map(Vec::as_slice).unwrap_or_default();
                let facts = Facts::of(first).unwrap_or_default();
                let (_, files) = certificate_files::of_site(index, site).nth(number).unzip();
                let (from, end) = match &tls.certificates {
                    Certificates::Files(_) => ("file", format!("certificates[{number}]")),
                    Certificates::Acme(_) if !self_signed::is_ours(&facts) => ("acme", String::new()),
                    Certificates::Acme(_) | Certificates::SelfSigned => ("self-signed", String::new()),
                };
                let of_clients = || self.keyring.fault(index, "clients.ca").filter(|_| number == 0);
                shown.push(CertificateStatus {
                    site: site.label.clone(),
                    names: facts.names,
                    issuer: facts.issuer,
                    key: facts.key,
                    serial: hex(&facts.serial),
                    fingerprint: fingerprint(first),
                    file: files.map(|files| files.cert.display().to_string()),
                    stapled: certificate.ocsp.is_some(),
                    not_before: facts.not_before,
                    not_after: facts.not_after,
                    expires_in_seconds: facts.not_after.saturating_sub(wall.seconds),
                    from: from.to_owned(),
                    fault: self.keyring.fault(index, &end).or_else(of_clients),
                    acme: standings.get(&index).cloned(),
                });
            }
        }
        shown
    }

    /// The log tells of certificates that end soon, or have ended; or of those only that have done so right now.
    fn tell_ends(&self, is_daily: bool) {
        let now = clock::wall();
        for certificate in &self.current.credentials.certificates {
            let Some(facts) = certificate.chain.first().and_then(|der| Facts::of(der)) else { continue };
            let left = facts.not_after.saturating_sub(now.seconds);
            let is_told = match is_daily {
                true => !facts.is_valid(now.seconds) || left < TOLD,
                false => (-MOMENT..0).contains(&left),
            };
            if !is_told {
                continue;
            }
            let Some(what) = certificate_files::expiry(&facts, now) else { continue };
            let site = self.current.config.sites.get(certificate.site);
            let site = site.map_or("", |site| site.label.as_str());
            let level = if facts.is_valid(now.seconds) { log::Level::Warn } else { log::Level::Error };
            log::log!(target: "hatchery", level, "{site}: {what} ({}, by {})", facts.names.join(", "), facts.issuer);
        }
    }
}

/// In a file in memory that nobody changes.
fn sealed(credentials: &Credentials) -> std::io::Result<OwnedFd> {
    process::sealed_file(&credentials.encode().0)
}

/// The sites and upstreams whose certificates differ, if any do.
fn changed(config: &Config, before: &Credentials, after: &Credentials) -> Option<String> {
    let of_tls = |of: &Credentials| Credentials { lists: Vec::new(), users: Vec::new(), ..of.clone() };
    if of_tls(before) == of_tls(after) {
        return None;
    }
    let trust = |of: &Credentials, index| of.upstreams.iter().find(|trust| trust.upstream == index).cloned();
    let upstreams = config.upstreams.iter().enumerate();
    let upstreams = upstreams.filter(|(index, _)| trust(before, *index) != trust(after, *index));
    let upstreams = upstreams.map(|(_, upstream)| format!("upstream {}", upstream.name));
    let (before, after) = (by_site(before), by_site(after));
    let sites = config.sites.iter().enumerate().filter(|(index, _)| before.get(index) != after.get(index));
    let labels: Vec<String> = sites.map(|(_, site)| site.label.clone()).chain(upstreams).collect();
    Some(if labels.is_empty() { "authorities of clients".to_owned() } else { labels.join(", ") })
}

#[cfg(test)]
mod tests;
