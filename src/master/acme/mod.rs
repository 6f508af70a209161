//! Certificates from authorities (ACME), as the master handles them: what the configuration wants, orders to the helper, its
//! answers, what is kept on disk. When to do what, `renewal` decides. What the helper says is checked as a stranger's word.

mod chain;
mod issued;
mod store;
mod wanted;

use super::Master;
use super::child::{Child, Id, Role, Worker};
use super::helper::{self, Helper};
use crate::config::{Config, Problem};
use crate::control::command::Response;
use crate::control::helper::{Answer, Order};
use crate::control::text::about;
use crate::http::date;
use crate::renewal::{self, Decision, Ended, Errand, Outcome, Renewals, Standing, Validity, Window};
use crate::secret::Secret;
use crate::supervisor::Kill;
use crate::sys::clock;
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use store::Kept;
use wanted::Wanted;

pub(super) use issued::{Best, Issued};

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Acme {
    renewals: Renewals,
    /// By their keys.
    #[serde(skip)]
    wanted: BTreeMap<String, Wanted>,
    /// What could not be written to disk.
    #[serde(skip)]
    unwritten: BTreeMap<String, Kept>,
}

/// What orders would fail of on this machine, and what is doubtful: for `hatchery check`.
pub(super) fn judge(config: &Config) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut doubts) = (Vec::new(), Vec::new());
    let (origin, now) = (&config.origin, clock::wall().seconds);
    for (key, wanted) in wanted::of(config) {
        problems.extend(wanted.directory(origin, &mut doubts).err());
        problems.extend(wanted.binding(origin, &mut doubts).err());
        if let Err(problem) = wanted.can_be_kept(origin).and_then(|()| wanted.account(origin)) {
            problems.push(problem);
            continue;
        }
        let what = match Acme::default().kept(&key, &wanted) {
            Ok(Some(validity)) if validity.until < now => {
                let ago = about(now.saturating_sub(validity.until).unsigned_abs());
                format!("the certificate for {} has expired {ago} ago", wanted.title())
            }
            Ok(_) => continue,
            Err(what) => what,
        };
        doubts.push(wanted.refused(
            origin,
            what,
            "`hatchery status` of the running server says why there is no other",
        ));
    }
    (problems, doubts)
}

impl Acme {
    /// When to look at it again.
    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        self.renewals.deadline(clock::wall(), now)
    }

    /// What there is for a certificate already; it may have expired.
    ///
    /// # Errors
    /// For the log: what is there is of no use.
    fn kept(&self, key: &str, wanted: &Wanted) -> Result<Option<Validity>, String> {
        let storage = &wanted.authority.storage;
        let found = match self.unwritten.get(key) {
            Some(kept) => Ok(Some(kept.clone())),
            None => store::certificate(storage, key).map_err(|error| error.to_string()),
        };
        let good = found.and_then(|found| {
            let Some(kept) = found else { return Ok(None) };
            chain::check(&kept.chain, &kept.key, &wanted.names, clock::wall().seconds).map(Some)
        });
        good.map_err(|why| {
            let path = storage.join(store::certificate_name(key));
            format!("{} is not used: {why}", path.display())
        })
    }
}

impl Master {
    /// The certificates of the current configuration, from now on.
    pub(super) fn follow_acme(&mut self) {
        let wanted = wanted::of(&self.current.config);
        let ports = wanted::ports(&wanted);
        let mut all = Vec::new();
        for (key, one) in &wanted {
            let kept = self.acme.kept(key, one).unwrap_or_else(|what| {
                log::warn!(target: "hatchery", "acme: {what}; another one is ordered");
                None
            });
            all.push((key.clone(), kept));
        }
        self.acme.wanted = wanted;
        self.acme.renewals.want(all);
        // It cannot be given more than it was started with.
        if self.helper().is_some_and(|helper| !ports.is_subset(&helper.ports)) {
            self.acme.renewals.dismiss();
        }
    }

    /// After an upgrade: the helper is another program's.
    pub(super) fn follow_acme_again(&mut self) {
        self.acme.renewals.dismiss();
        self.follow_acme();
    }

    /// Carries out what is due.
    pub(super) fn run_errands(&mut self, now: Time) {
        // Those that leave accept nobody any more, and get nothing new.
        let own = self.generation;
        let is_told = |worker: &&Worker| worker.generation >= own && worker.hears();
        let workers = self.children.workers().map(|(_, worker)| worker).filter(is_told);
        let have = workers.map(|worker| worker.credentials).min();
        self.acme.renewals.workers_have(have.unwrap_or(u64::MAX));
        while let Some(decision) = self.acme.renewals.poll(clock::wall(), now) {
            match decision {
                Decision::Start => self.start_helper(now),
                Decision::Order(key, errand) => match self.order(&key, errand) {
                    Ok(order) => self.tell_helper(&order),
                    Err(reason) => self.errand_ended(Outcome::Failed(reason, None), now),
                },
                Decision::Placed => self.tell_helper(&Order::Placed),
                Decision::Withdraw => _ = self.set_challenges(Vec::new()),
                Decision::Kill(how) => {
                    if let Some(child) = self.children.find_mut(Id::Helper) {
                        child.kill(match how {
                            renewal::Kill::Term => Kill::Term,
                            renewal::Kill::Kill => Kill::Kill,
                        });
                    }
                }
                Decision::Abandon => {
                    self.abandon(Id::Helper, now);
                    let ended = self.acme.renewals.exited(clock::wall(), now);
                    self.tell_ended(ended);
                }
            }
        }
    }

    /// The server stops.
    pub(super) fn stop_acme(&mut self) {
        self.acme.renewals.stop();
    }

    fn start_helper(&mut self, now: Time) {
        match helper::spawn(&self.current, Id::Helper, wanted::ports(&self.acme.wanted), now) {
            Ok(child) => {
                log::debug!(target: "hatchery", "started the helper (process {})", child.process.pid);
                self.children.add(child);
            }
            Err(error) => {
                log::error!(target: "hatchery", "the helper, which orders certificates, cannot be started: {error}");
                self.acme.renewals.could_not_start(now);
            }
        }
    }

    fn helper(&mut self) -> Option<&mut Helper> {
        match &mut self.children.find_mut(Id::Helper)?.held.role {
            Role::Helper(helper) => Some(helper),
            _ => None,
        }
    }

    fn tell_helper(&mut self, order: &Order) {
        if let Some(helper) = self.helper() {
            helper.tell(order);
        }
    }

    /// The order for an errand.
    ///
    /// # Errors
    /// For the operator: a file that is needed.
    fn order(&self, key: &str, errand: Errand) -> Result<Order, String> {
        let wanted = self.acme.wanted.get(key).ok_or("nobody wants it any more")?;
        let kept = store::certificate(&wanted.authority.storage, key).ok().flatten();
        let id = kept.and_then(|kept| chain::id(&kept.chain));
        let origin = &self.current.config.origin;
        let told = |problem: Problem| problem.to_string();
        let directory = wanted.directory(origin, &mut Vec::new()).map_err(told)?;
        Ok(match (errand, id) {
            (Errand::Issue, id) => {
                let replaces = id.filter(|_| self.acme.renewals.has_window(key));
                Order::Issue(Box::new(wanted.order(origin, directory, replaces).map_err(told)?))
            }
            (Errand::Look, Some(certificate)) => Order::Look { directory, certificate },
            (Errand::Look, None) => return Err("the certificate does not say who has issued it".to_owned()),
        })
    }

    /// The helper has said something.
    pub(super) fn on_helper(&mut self, answer: Answer, now: Time) {
        let key = self.acme.renewals.running().map(|(key, _)| key.to_owned());
        let wanted = key.as_ref().and_then(|key| Some((key.as_str(), self.acme.wanted.get(key)?)));
        match (answer, wanted) {
            (Answer::Ready, _) => {
                self.acme.renewals.ready(now);
                self.children.find_mut(Id::Helper).map(Child::answers);
            }
            (Answer::Note(text), _) => log::warn!(target: "hatchery", "helper: {text}"),
            (Answer::Account(account), Some((_, wanted))) => {
                let acme = &wanted.authority;
                if let Err(error) = store::keep_account(&acme.storage, &acme.directory, &account) {
                    log::error!(
                        target: "hatchery",
                        "acme: the account cannot be kept in {}: {error}; the next order makes another one",
                        acme.storage.display()
                    );
                }
            }
            (Answer::Place(challenges), Some((_, wanted))) if wanted.takes(&challenges) => {
                let number = self.set_challenges(challenges);
                self.acme.renewals.place(number, now);
            }
            (Answer::Place(_), Some(_)) => {
                let reason = "what the authority wants to see is no challenge for these names; see that `directory` is the \
                              address of the right one";
                self.errand_ended(Outcome::Failed(reason.to_owned(), None), now);
                // It waits for an answer.
                self.acme.renewals.dismiss();
            }
            (Answer::Issued { chain, key: own }, Some((key, wanted))) => {
                let outcome = match received(&chain, own, wanted) {
                    Ok((kept, validity)) => {
                        let (key, sites) = (key.to_owned(), wanted.sites.clone());
                        self.keep(key, &kept);
                        sites
                            .iter()
                            .for_each(|site| self.issued(*site, kept.chain.clone(), kept.key.clone()));
                        Outcome::Issued(validity)
                    }
                    Err(why) => Outcome::Failed(format!("what the authority gave is not used: {why}"), None),
                };
                self.errand_ended(outcome, now);
            }
            (Answer::Window { start, end, again, explanation }, Some((_, wanted))) => {
                if let Some(explanation) = explanation {
                    log::info!(
                        target: "hatchery",
                        "acme: when {} is renewed its authority explains: {explanation}", wanted.title()
                    );
                }
                self.errand_ended(Outcome::Window(Window { start, end }, again), now);
            }
            (Answer::NoWindow, _) => self.errand_ended(Outcome::NoWindow, now),
            (Answer::Failed { reason, again }, _) => self.errand_ended(Outcome::Failed(reason, again), now),
            // It is another process that looks names up.
            (Answer::Found { .. } | Answer::NotFound { .. } | Answer::Stale, _) => {
                self.children.find_mut(Id::Helper).into_iter().for_each(helper::kill);
            }
            // Of an errand that nobody wants any more.
            (Answer::Account(_) | Answer::Place(_) | Answer::Issued { .. } | Answer::Window { .. }, None) => {
            }
        }
    }

    fn keep(&mut self, key: String, kept: &Kept) {
        let Some(wanted) = self.acme.wanted.get(&key) else { return };
        let storage = &wanted.authority.storage;
        match store::keep_certificate(storage, &key, kept) {
            Ok(()) => _ = self.acme.unwritten.remove(&key),
            Err(error) => {
                log::error!(
                    target: "hatchery",
                    "acme: the certificate for {} cannot be kept in {}: {error}; it serves until the server is started \
                     anew, which orders another one",
                    wanted.title(),
                    storage.display()
                );
                self.acme.unwritten.insert(key, kept.clone());
            }
        }
    }

    fn errand_ended(&mut self, outcome: Outcome, now: Time) {
        let ended = self.acme.renewals.ended(outcome, clock::wall(), now);
        self.tell_ended(ended);
    }

    /// The process was reaped.
    pub(super) fn helper_ended(&mut self, now: Time) {
        let ended = self.acme.renewals.exited(clock::wall(), now);
        self.tell_ended(ended);
    }

    fn tell_ended(&self, ended: Option<Ended>) {
        let Some(Ended { key, errand, outcome, next }) = ended else { return };
        let held = self.acme.renewals.held(&key).map(|held| held.until);
        let title = self.acme.wanted.get(&key).map_or(key, Wanted::title);
        let next = about(next.as_secs());
        match (errand, outcome) {
            (Errand::Issue, Outcome::Issued(validity)) => log::info!(
                target: "hatchery",
                "acme: the certificate for {title} is there, good until {}", date::iso(validity.until)
            ),
            (Errand::Issue, Outcome::Failed(reason, _)) => {
                let now = clock::wall().seconds;
                let (what, until) = match held.map(|until| (until, date::iso(until))) {
                    None => (format!("no certificate for {title}"), String::new()),
                    Some((until, day)) => (
                        format!("the certificate for {title} is not renewed"),
                        format!(
                            "; it {} {day}",
                            if until > now { "is good until" } else { "has expired on" }
                        ),
                    ),
                };
                log::error!(target: "hatchery", "acme: {what}: {reason}{until}; next try in {next}");
            }
            (_, outcome) => log::debug!(target: "hatchery", "acme: {title}: {outcome:?}; next in {next}"),
        }
    }

    /// How it stands with the certificates of sites that have them from authorities, in words.
    pub(super) fn acme_standings(&self, now: Time) -> HashMap<usize, String> {
        let of = |(key, wanted): (&String, &Wanted)| {
            let standing = self.standing(key, now);
            wanted.sites.iter().map(|site| (*site, standing.clone())).collect::<Vec<_>>()
        };
        self.acme.wanted.iter().flat_map(of).collect()
    }

    /// How it stands with a certificate, in words.
    fn standing(&self, key: &str, now: Time) -> String {
        match self.acme.renewals.standing(key, clock::wall(), now) {
            Some(Standing::Issued(renewal)) => format!("issued, renews in {}", about(renewal.as_secs())),
            Some(Standing::Ordering) => "being ordered".to_owned(),
            Some(Standing::Queued) | None => "to be ordered".to_owned(),
            Some(Standing::Waiting(reason, wait)) => {
                format!("waiting: {reason}; next try in {}", about(wait.as_secs()))
            }
        }
    }

    /// `renew`: a try now, of what waits for one; or of the certificate of that name, whatever it is good for.
    pub(super) fn renew(&mut self, name: Option<&str>, now: Time) -> Response {
        if self.acme.wanted.is_empty() {
            return Response::Failed { text: "no site has `tls: Acme`".to_owned() };
        }
        let Some(name) = name else {
            let standings = self
                .acme
                .wanted
                .iter()
                .map(|(key, wanted)| format!("{}: {}", wanted.title(), self.standing(key, now)));
            let text = standings.collect::<Vec<_>>().join("\n");
            let waited = self.acme.renewals.hurry(None);
            let what = if waited { "what waits is ordered now" } else { "nothing waits" };
            return Response::Done { text: format!("{text}\n{what}") };
        };
        let has = |wanted: &Wanted| wanted.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        let keys: Vec<String> =
            self.acme.wanted.iter().filter(|(_, wanted)| has(wanted)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| _ = self.acme.renewals.hurry(Some(key)));
        match keys.is_empty() {
            false => Response::Done {
                text: format!("{name}: a certificate is ordered; `hatchery status` shows it"),
            },
            true => {
                let names: Vec<&str> =
                    self.acme.wanted.values().flat_map(|wanted| &wanted.names).map(String::as_str).collect();
                Response::Failed {
                    text: format!(
                        "no site with `tls: Acme` has the name {name}; there is: {}",
                        names.join(", ")
                    ),
                }
            }
        }
    }
}

/// What the authority gave, in the helper's words.
fn received(chain: &str, key: Secret, wanted: &Wanted) -> Result<(Kept, Validity), String> {
    let chain = chain::read(chain.as_bytes())?;
    let now = clock::wall().seconds;
    let validity = chain::check(&chain, &key, &wanted.names, now)?;
    if validity.until <= now {
        return Err("it has expired".to_owned());
    }
    Ok((Kept { chain, key }, validity))
}
