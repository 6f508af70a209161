//! Which of an upstream's servers takes a request. Pure: what is known of the servers comes as a list of [`Seen`], what the
//! request needs as an [`Ask`].
//!
//! Servers are asked in ranks: those that are up; else, of the backup servers, those that are up; else, as nobody is, all
//! that the operator has not taken out. A server that has as many requests as it may does not leave its rank: the request
//! waits for it or its neighbours rather than being sent to a backup.

use super::hash;

/// How a server is chosen among those of a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    /// By turns, as their weights are: smooth, so that turns are spread.
    #[default]
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastConnections,
    /// Of two, drawn by their weights, the one with fewer requests for its weight.
    RandomTwo,
    /// By what a request has in common with others, so that few move when servers come and go.
    Hash,
    /// The first of the file that has room.
    First,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A number of its own that stays, for [`Method::Hash`].
    pub(crate) id: u64,
    /// Its share: from 1.
    pub(crate) weight: u32,
    /// Only for when no other is up.
    pub(crate) backup: bool,
    /// Whether it takes requests.
    pub(crate) standing: Standing,
    /// Requests in flight there, of all workers.
    pub(crate) load: u64,
    /// It has as many as it may.
    pub(crate) full: bool,
    /// Of its share, while it starts slowly; from 1 to [`WHOLE`].
    pub(crate) ramp: u32,
}

/// The share of a server that does not start slowly.
pub(crate) const WHOLE: u32 = 100;

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Like any other.
    Up,
    /// One, to see if it is back.
    MayBeTried,
    /// It has failed.
    Down,
    /// Only those of sessions that it has.
    Drained,
    /// None.
    Disabled,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask<'a> {
    /// Servers that have failed in it.
    pub(crate) tried: &'a [usize],
    /// What it has in common with others, for [`Method::Hash`].
    pub(crate) hash: Option<u64>,
    /// The server that has its session.
    pub(crate) session: Option<usize>,
    /// It can be repeated: so it may show if a server is back.
    pub(crate) may_repeat: bool,
    /// Drawn for it, if something has to be.
    pub(crate) random: u64,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picked {
    /// This one takes it.
    Server(usize),
    /// This one, if it can be claimed for a trial; otherwise ask again.
    Trial(usize),
    /// It has to wait: for this server if it has its session.
    Full(Option<usize>),
    /// No server is left that could take it.
    Nobody,
}

/// What a worker remembers of the servers of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Chooser {
    method: Method,
    /// Of each server: goes up by its share each round, down by the sum of all when it is picked.
    credits: Vec<i64>,
}

impl Chooser {
    /// For so many servers.
    #[must_use]
    pub(crate) fn new(method: Method, servers: usize) -> Self {
        Self { method, credits: vec![0; servers] }
    }

    /// Whether loads matter, which cost a look at the words of every worker.
    #[must_use]
    pub(crate) fn needs_loads(&self) -> bool {
        matches!(self.method, Method::LeastConnections | Method::RandomTwo)
    }

    /// Whether something has to be drawn for each request.
    #[must_use]
    pub(crate) fn draws(&self) -> bool {
        self.method == Method::RandomTwo
    }

    /// The server that takes the request.
    pub(crate) fn pick(&mut self, servers: &[Seen], ask: &Ask<'_>) -> Picked {
        if let Some(picked) = session(servers, ask) {
            return picked;
        }
        let ranks: [&dyn Fn(&Seen) -> bool; 3] =
            [&|seen| !seen.backup && is_up(seen, ask), &|seen| seen.backup && is_up(seen, ask), &|seen| {
                !matches!(seen.standing, Standing::Drained | Standing::Disabled)
            }];
        for (number, belongs) in ranks.iter().enumerate() {
            // Nobody is known to be up: that may be wrong of each, and is seen only by asking.
            let last = number == ranks.len() - 1;
            if last && servers.iter().any(|seen| is_up(seen, ask)) {
                break;
            }
            let rank = |(index, seen): &(usize, &Seen)| belongs(seen) && !ask.tried.contains(index);
            let mut rank = servers.iter().enumerate().filter(rank).peekable();
            if rank.peek().is_none() {
                continue;
            }
            let Some(index) = self.among(rank.filter(|(_, seen)| !seen.full), ask) else {
                return Picked::Full(None);
            };
            let on_trial =
                !last && servers.get(index).is_some_and(|seen| seen.standing == Standing::MayBeTried);
            return if on_trial { Picked::Trial(index) } else { Picked::Server(index) };
        }
        Picked::Nobody
    }

    /// `None` if there is none.
    fn among<'a>(
        &mut self,
        mut free: impl Iterator<Item = (usize, &'a Seen)>,
        ask: &Ask<'_>,
    ) -> Option<usize> {
        match (self.method, ask.hash) {
            (Method::First, _) => free.next().map(|(index, _)| index),
            (Method::Hash, Some(key)) => {
                hash::highest(key, free.map(|(index, seen)| (index, seen.id, share(seen))))
            }
            (Method::LeastConnections, _) => {
                let free: Vec<_> = free.collect();
                let least = free.iter().map(|(_, seen)| Load::of(seen)).min()?;
                self.turn(free.into_iter().filter(|(_, seen)| Load::of(seen) == least))
            }
            (Method::RandomTwo, _) => two(&free.collect::<Vec<_>>(), ask.random),
            (Method::RoundRobin | Method::Hash, _) => self.turn(free),
        }
    }

    /// Smooth weighted round robin.
    fn turn<'a>(&mut self, free: impl Iterator<Item = (usize, &'a Seen)>) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, seen) in free {
            let Some(credit) = self.credits.get_mut(index) else { continue };
            let share = i64::from(share(seen));
            total += share;
            *credit += share;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        *self.credits.get_mut(index)? -= total;
        Some(index)
    }

    /// A server was given up: when it returns it does not take what it has missed.
    pub(crate) fn forget(&mut self, index: usize) {
        self.credits.get_mut(index).into_iter().for_each(|credit| *credit = 0);
    }
}

fn is_up(seen: &Seen, ask: &Ask<'_>) -> bool {
    seen.standing == Standing::Up || (seen.standing == Standing::MayBeTried && ask.may_repeat)
}

/// A session stays where it is while its server can be asked, and waits for it.
fn session(servers: &[Seen], ask: &Ask<'_>) -> Option<Picked> {
    let index = ask.session.filter(|index| !ask.tried.contains(index))?;
    let seen = servers.get(index)?;
    if !(is_up(seen, ask) || seen.standing == Standing::Drained) {
        return None;
    }
    Some(match seen.standing {
        _ if seen.full => Picked::Full(Some(index)),
        Standing::MayBeTried => Picked::Trial(index),
        _ => Picked::Server(index),
    })
}

/// What of all requests it should have: at most 10,000 × 100.
fn share(seen: &Seen) -> u32 {
    seen.weight.saturating_mul(seen.ramp.clamp(1, WHOLE))
}

/// Requests for a share, compared without division.
#[derive(Clone, Copy, Debug)]
struct Load {
    requests: u64,
    share: u32,
}

impl Load {
    /// With the one that would come.
    fn of(seen: &Seen) -> Self {
        Self { requests: seen.load.saturating_add(1), share: share(seen) }
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let cross = |one: &Self, two: &Self| u128::from(one.requests) * u128::from(two.share);
        cross(self, other).cmp(&cross(other, self))
    }
}

/// Two draws by weight, and the one of them with the lighter load.
fn two(free: &[(usize, &Seen)], random: u64) -> Option<usize> {
    let first = draw(free, random as u32)?;
    let others: Vec<_> = free.iter().copied().filter(|(index, _)| *index != first.0).collect();
    let second = draw(&others, (random >> 32) as u32).unwrap_or(first);
    Some(if Load::of(second.1) < Load::of(first.1) { second.0 } else { first.0 })
}

fn draw<'a>(free: &[(usize, &'a Seen)], random: u32) -> Option<(usize, &'a Seen)> {
    let total: u64 = free.iter().map(|(_, seen)| u64::from(share(seen))).sum();
    let mut left = (u64::from(random) * total) >> 32;
    free.iter().copied().find(|(_, seen)| {
        let share = u64::from(share(seen));
        let is_here = left < share;
        left = left.saturating_sub(share);
        is_here
    })
}

#[cfg(test)]
mod tests;
