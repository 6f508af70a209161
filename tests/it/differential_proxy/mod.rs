//! The reverse proxy beside nginx: generated requests go through both to the same server, generated responses come back through
//! both. What differs is of a kind that has a rule here, with the reason for it; anything else fails and shows both sides.
//!
//! `HATCHERY_DIFFERENTIAL=100000 cargo nextest run --test it differential_proxy::` does more of them, and
//! `HATCHERY_DIFFERENTIAL_SEED` others.

mod requests;
mod responses;

use crate::harness::{Connection, Reply};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

/// A kind of difference that is as it should be.
struct Rule<Case, Difference> {
    name: &'static str,
    why: &'static str,
    fits: fn(&Case, &Difference) -> bool,
}

/// Kinds of differences that are shown.
const MOST_SHOWN: usize = 60;

/// What a client got.
#[derive(Clone, Debug)]
struct Talk {
    replies: Vec<Reply>,
    /// Whether the server closed behind the last one, or why no more could be read.
    end: Result<bool, String>,
}

/// Sends bytes on a connection of their own, and reads the replies to requests of these methods.
fn talk(address: SocketAddr, bytes: &[u8], methods: &[&str]) -> Talk {
    let mut connection = Connection::open(address).unwrap();
    connection.socket().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A server that has refused may have closed already.
    let _ = connection.send(bytes);
    let mut talk = Talk { replies: Vec::new(), end: Ok(false) };
    for method in methods {
        match connection.reply(method) {
            Ok(reply) => talk.replies.push(reply),
            Err(error) => {
                talk.end = Err(error.to_string());
                return talk;
            }
        }
    }
    talk.end = Ok(connection.is_closed());
    talk
}

/// How many cases to try, and the seed of the first.
fn extent(usual: u64) -> (u64, u64) {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    (number("HATCHERY_DIFFERENTIAL", usual), number("HATCHERY_DIFFERENTIAL_SEED", 1))
}

/// Differences by the rule that explains them; those without one, shown.
struct Judge<Case: 'static, Difference: 'static> {
    rules: &'static [Rule<Case, Difference>],
    seen: BTreeMap<&'static str, u64>,
    /// By kind: how often, and the first one.
    unexplained: BTreeMap<String, (u64, String)>,
    agreed: u64,
}

/// What kind of difference it is, without what differs from case to case.
trait Kind: Debug {
    fn kind(&self) -> String;
}

impl<Case, Difference: Kind> Judge<Case, Difference> {
    fn new(rules: &'static [Rule<Case, Difference>]) -> Self {
        Self { rules, seen: BTreeMap::new(), unexplained: BTreeMap::new(), agreed: 0 }
    }

    fn judge(&mut self, differences: &[(&Case, Difference)], shown: impl Fn() -> String) {
        self.agreed += u64::from(differences.is_empty());
        for (case, difference) in differences {
            match self.rules.iter().find(|rule| (rule.fits)(case, difference)) {
                Some(rule) => *self.seen.entry(rule.name).or_default() += 1,
                None => {
                    let entry = self.unexplained.entry(difference.kind());
                    entry.or_insert_with(|| (0, format!("  {difference:?}\n{}", shown()))).0 += 1;
                }
            }
        }
    }

    /// Everything is explained, and no rule explains nothing.
    #[track_caller]
    fn end(self, most: u64) {
        let kinds =
            self.unexplained.iter().map(|(kind, (count, shown))| format!("{kind} ({count})\n{shown}"));
        let kinds: Vec<_> = kinds.take(MOST_SHOWN).collect();
        assert!(kinds.is_empty(), "{} kinds without a rule:\n{}", self.unexplained.len(), kinds.join("\n\n"));
        let stale: Vec<_> =
            self.rules.iter().map(|rule| rule.name).filter(|name| !self.seen.contains_key(name)).collect();
        assert!(stale.is_empty(), "rules for what was never seen: {stale:?}");
        assert!(self.rules.iter().all(|rule| !rule.why.is_empty()));
        assert!(self.agreed > most / 4, "{} of {most} agree", self.agreed);
        println!("{} of {most} agree; {:#?}", self.agreed, self.seen);
    }
}
