//! What daemons come after: no circle.

use super::super::located::Report;
use super::super::problem::{Complaint, Place};
use super::{Daemon, Dependency, Draft};

/// The daemons, in the order of their names, of which there are so many.
pub(crate) fn resolve(drafts: Vec<(String, Draft)>, count: usize, report: &mut Report<'_>) -> Vec<Daemon> {
    let mut daemons = Vec::with_capacity(drafts.len());
    let mut places: Vec<Vec<Place>> = Vec::with_capacity(drafts.len());
    for (name, Draft { after, daemon }) in drafts {
        let (after, at) = after.into_iter().map(|after| (after.value, after.place)).unzip();
        daemons.push(Daemon { name, after, ..daemon });
        places.push(at);
    }
    // Indices are those of the names only if no daemon is missing.
    if daemons.len() == count
        && let Some((circle, at)) = circle(&daemons)
        && let Some(place) = circle.first().and_then(|first| places.get(*first)?.get(at))
    {
        let named =
            |at: &usize| daemons.get(*at).map(|daemon| format!("`{}`", daemon.name)).unwrap_or_default();
        let round: Vec<String> = circle.iter().chain(circle.first()).map(named).collect();
        let what = format!("goes round in a circle: {}", round.join(" after "));
        report.add(place, Complaint::new(what, "none of them could ever start; remove one of these names"));
    }
    daemons
}

/// Daemons each of which comes after the next, and the last after the first; and which dependency of the first leads
/// on.
fn circle(daemons: &[Daemon]) -> Option<(Vec<usize>, usize)> {
    // Those that can be started when all before them are; what is left over leads into a circle.
    let mut startable = vec![false; daemons.len()];
    let is = |startable: &[bool], at: usize| startable.get(at).copied().unwrap_or(true);
    let blocker = |startable: &[bool], daemon: &Daemon| {
        daemon.after.iter().enumerate().find_map(|(position, dependency)| match dependency {
            Dependency::Daemon(at) if !is(startable, *at) => Some((position, *at)),
            Dependency::Daemon(_) | Dependency::App(_) => None,
        })
    };
    loop {
        let next = (0..daemons.len()).find(|at| {
            !is(&startable, *at)
                && daemons.get(*at).is_some_and(|daemon| blocker(&startable, daemon).is_none())
        });
        match next.and_then(|at| startable.get_mut(at)) {
            Some(place) => *place = true,
            None => break,
        }
    }
    let mut path = vec![startable.iter().position(|startable| !startable)?];
    loop {
        let (_, next) = blocker(&startable, daemons.get(*path.last()?)?)?;
        if let Some(start) = path.iter().position(|at| *at == next) {
            let (position, _) = blocker(&startable, daemons.get(next)?)?;
            return Some((path.get(start..)?.to_vec(), position));
        }
        path.push(next);
    }
}
