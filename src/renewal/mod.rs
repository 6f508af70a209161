//! Certificates that an authority issues: when each is ordered, renewed and asked about, and when the process runs that does
//! so ([`process`]). Pure: no I/O, no clock; the master carries out what is decided, and no chance: what is to be spread is
//! spread by names, so that a state is the same however often it is asked.
//!
//! [`Renewals`] takes one errand at a time; [`certificate`] says when one is due.

mod certificate;
mod process;
#[cfg(test)]
mod tests;

use crate::timer::{Time, Wall, earliest};
use certificate::Certificate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use certificate::{Validity, Window};
pub(crate) use process::{End, Kill, Process, Step};

/// The wall clock may be set at any time, so it is looked at at least so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(3600);
/// An order takes no longer: the authority has a minute to look at each way, and to sign.
const LONGEST_ORDER: Duration = Duration::from_secs(300);
/// Nor does a question.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// The process may die so often over an errand until that has failed: else the others would wait for it.
const MOST_DEATHS: u32 = 2;
/// So long workers may take to have challenges; one that hangs does not keep the others from answering.
const LONGEST_PLACING: Duration = Duration::from_secs(5);

/// What one certificate is known by, in the configuration, in memory and on disk: the authority and all names.
#[must_use]
pub(crate) fn key(directory: &str, names: &[String]) -> String {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let all = [&[directory], &sorted[..]].concat().join(" ");
    format!("{}-{:016x}", sorted.first().unwrap_or(&""), hash(&all))
}

/// FNV-1a, mixed so that all bits depend on all of the text. It stands in names of files, so it stays as it is.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// What is to be done about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Errand {
    /// Get one.
    Issue,
    /// Ask when it should be renewed.
    Look,
}

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start the process; answered by `could_not_start`, or later by `ready` or `exited`.
    Start,
    /// Give it this order.
    Order(String, Errand),
    /// Tell it that the workers have what was placed.
    Placed,
    /// Nothing is to be answered to authorities any more.
    Withdraw,
    /// Send it a signal; it exits later.
    Kill(Kill),
    /// It does not die: nothing waits for it any more. Answered by `exited`.
    Abandon,
}

impl From<Step> for Decision {
    fn from(step: Step) -> Self {
        match step {
            Step::Start => Self::Start,
            Step::Kill(kill) => Self::Kill(kill),
            Step::Abandon => Self::Abandon,
        }
    }
}

/// How an errand ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is a new certificate.
    Issued(Validity),
    /// When it should be renewed; seconds until one may ask again.
    Window(Window, Option<u64>),
    /// The authority does not say.
    NoWindow,
    /// Why not, and for how many seconds the authority wants no other try.
    Failed(String, Option<u64>),
}

/// What became of an errand, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) key: String,
    pub(crate) errand: Errand,
    pub(crate) outcome: Outcome,
    /// When the next errand for this certificate is due.
    pub(crate) next: Duration,
}

/// How a certificate stands, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there, and will be renewed after so long.
    Issued(Duration),
    /// One is being ordered.
    Ordering,
    /// One is to be ordered as soon as the one before is done.
    Queued,
    /// It could not be had; why, and when the next try is.
    Waiting(String, Duration),
}

/// The errand that is being done.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Running {
    key: String,
    errand: Errand,
    since: Time,
    /// Whether the process knows.
    told: bool,
    /// How many processes have died over it.
    deaths: u32,
    /// Number of the credentials that all workers must have before it goes on, and since when.
    placing: Option<(u64, Time)>,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Renewals {
    certificates: BTreeMap<String, Certificate>,
    process: Process,
    running: Option<Running>,
    /// Challenges may be with the workers.
    placed: bool,
    /// The least of the credentials that the workers have.
    workers_have: u64,
    stopping: bool,
}

impl Renewals {
    /// These certificates are wanted from now on; of some there is one already. What is known of the others is forgotten.
    pub(crate) fn want(&mut self, wanted: impl IntoIterator<Item = (String, Option<Validity>)>) {
        let mut before = std::mem::take(&mut self.certificates);
        for (key, held) in wanted {
            let mut certificate = before.remove(&key).unwrap_or_default();
            certificate.hold(held);
            self.certificates.insert(key, certificate);
        }
        if let Some(running) = self.running.take_if(|running| !self.certificates.contains_key(&running.key))
            && running.told
        {
            // Whatever it comes to nobody wants.
            self.process.dismiss();
        }
    }

    /// A try by hand, whatever it waits for: of one certificate, or of all that wait for one. False: there is no such.
    pub(crate) fn hurry(&mut self, key: Option<&str>) -> bool {
        self.process.hurry();
        match key {
            Some(key) => self.certificates.get_mut(key).map(|one| one.hurry(true)).is_some(),
            None => self.certificates.values_mut().fold(false, |waited, one| one.hurry(false) | waited),
        }
    }

    /// The process is not the right one any more: what it does is done by the next one.
    pub(crate) fn dismiss(&mut self) {
        self.process.dismiss();
    }

    /// The process could not be started.
    pub(crate) fn could_not_start(&mut self, now: Time) {
        self.process.exited(now);
    }

    /// It waits for orders.
    pub(crate) fn ready(&mut self, now: Time) {
        self.process.ready(now);
    }

    /// The errand that runs wants the workers to have credentials of this number before it goes on.
    pub(crate) fn place(&mut self, number: u64, now: Time) {
        if let Some(running) = &mut self.running {
            running.placing = Some((number, now));
            self.placed = true;
        }
    }

    /// What all workers have, at least.
    pub(crate) fn workers_have(&mut self, number: u64) {
        self.workers_have = number;
    }

    /// The errand that runs, as far as the process knows of it.
    #[must_use]
    pub(crate) fn running(&self) -> Option<(&str, Errand)> {
        let running = self.running.as_ref().filter(|running| running.told)?;
        Some((&running.key, running.errand))
    }

    /// It is over. `None`: there was none.
    pub(crate) fn ended(&mut self, outcome: Outcome, wall: Wall, now: Time) -> Option<Ended> {
        let running = self.running.take_if(|running| running.told)?;
        self.process.rests(now);
        self.settle(running, outcome, wall, now)
    }

    fn settle(&mut self, running: Running, outcome: Outcome, wall: Wall, now: Time) -> Option<Ended> {
        let Running { key, errand, .. } = running;
        let certificate = self.certificates.get_mut(&key)?;
        certificate.settle(&key, errand, &outcome, now);
        let next = certificate.due(&key, wall, now).1;
        Some(Ended { key, errand, outcome, next })
    }

    /// The process has ended, as asked or not. What it was about to do is done by the next one, unless it took too long or is
    /// what processes die of.
    pub(crate) fn exited(&mut self, wall: Wall, now: Time) -> Option<Ended> {
        let end = self.process.exited(now);
        let running = self.running.as_mut()?;
        running.placing = None;
        running.deaths += u32::from(std::mem::take(&mut running.told) && end == End::Died);
        let reason = match end {
            End::Hung => format!("nothing came of it within {} seconds", running.errand.longest().as_secs()),
            End::Died if running.deaths >= MOST_DEATHS => {
                "the helper process has died over it, twice".to_owned()
            }
            End::Died | End::Told => return None,
        };
        let outcome = Outcome::Failed(reason, None);
        self.running.take().and_then(|running| self.settle(running, outcome, wall, now))
    }

    /// The server stops: no process any more.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.running = None;
        self.process.dismiss();
    }

    /// The next thing to carry out.
    pub(crate) fn poll(&mut self, wall: Wall, now: Time) -> Option<Decision> {
        if let Some(step) = self.process.poll(now) {
            return Some(step.into());
        }
        if let Some(running) = &mut self.running {
            let has_hung = now >= running.since.after(running.errand.longest());
            if running.told && has_hung {
                self.process.hung();
                return self.process.poll(now).map(Step::into);
            }
            if let Some((number, since)) = running.placing
                && (self.workers_have >= number || now >= since.after(LONGEST_PLACING))
            {
                running.placing = None;
                return Some(Decision::Placed);
            }
        } else if std::mem::take(&mut self.placed) {
            return Some(Decision::Withdraw);
        } else if !self.stopping {
            self.running = self.due(wall, now);
        }
        let running = self.running.as_mut().filter(|running| !running.told)?;
        if self.process.takes(now) {
            (running.told, running.since) = (true, now);
            return Some(Decision::Order(running.key.clone(), running.errand));
        }
        self.process.poll(now).map(Step::into)
    }

    /// What is due: first what there is no certificate for.
    fn due(&self, wall: Wall, now: Time) -> Option<Running> {
        let due = self.certificates.iter().filter_map(|(key, certificate)| {
            let (errand, wait) = certificate.due(key, wall, now);
            wait.is_zero().then_some((certificate.held.is_some(), errand == Errand::Look, key, errand))
        });
        let (.., key, errand) = due.min_by_key(|(has_one, is_look, ..)| (*has_one, *is_look))?;
        Some(Running { key: key.clone(), errand, since: now, told: false, deaths: 0, placing: None })
    }

    /// When to [`Self::poll`] again at the latest.
    #[must_use]
    pub(crate) fn deadline(&self, wall: Wall, now: Time) -> Option<Time> {
        let process = self.process.deadline(self.running.as_ref().is_some_and(|running| !running.told));
        let own = match &self.running {
            Some(Running { told: true, placing: Some((_, since)), .. }) => Some(since.after(LONGEST_PLACING)),
            Some(Running { told: true, since, errand, .. }) => Some(since.after(errand.longest())),
            Some(_) => None,
            None if self.stopping => None,
            None => {
                let waits = self.certificates.iter().map(|(key, one)| one.due(key, wall, now).1);
                waits.min().map(|wait| now.after(wait.min(LOOK_AT_CLOCK)))
            }
        };
        earliest(process, own)
    }

    /// How it stands with a certificate; `None`: there is no such.
    #[must_use]
    pub(crate) fn standing(&self, key: &str, wall: Wall, now: Time) -> Option<Standing> {
        let certificate = self.certificates.get(key)?;
        let runs = self
            .running
            .as_ref()
            .is_some_and(|running| running.key == key && running.errand == Errand::Issue);
        Some(match certificate.waiting(now) {
            _ if runs => match self.process.recovers(now) {
                Some(wait) => Standing::Waiting("the helper process has died".to_owned(), wait),
                None => Standing::Ordering,
            },
            Some((reason, wait)) => Standing::Waiting(reason.to_owned(), wait),
            None if certificate.held.is_some() => Standing::Issued(certificate.renews_in(key, wall)),
            None => Standing::Queued,
        })
    }

    /// From when to when the one is good that there is.
    #[must_use]
    pub(crate) fn held(&self, key: &str) -> Option<Validity> {
        self.certificates.get(key)?.held
    }

    /// Whether an authority has said when this certificate is to be renewed.
    #[must_use]
    pub(crate) fn has_window(&self, key: &str) -> bool {
        self.certificates.get(key).is_some_and(Certificate::has_window)
    }
}

impl Errand {
    fn longest(self) -> Duration {
        match self {
            Self::Issue => LONGEST_ORDER,
            Self::Look => LONGEST_LOOK,
        }
    }
}
