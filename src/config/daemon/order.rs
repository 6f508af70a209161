//! The names that daemons refer to: their app, and what they come after; no circle among those.

use super::super::located::{At, Report};
use super::super::problem::Complaint;
use super::{Daemon, Dependency, Draft};

/// Daemons by name, in order, with those that are wrong.
pub(crate) type Drafts = Vec<(At<String>, Option<Draft>)>;

/// Turns names into indices. `app` finds an app by its name and reports one that is not there.
pub(crate) fn resolve(
    drafts: Drafts,
    apps: &[String],
    mut app: impl FnMut(&At<String>, &mut Report<'_>) -> Option<usize>,
    report: &mut Report<'_>,
) -> Vec<Daemon> {
    let names: Vec<String> = drafts.iter().map(|(name, _)| name.value.clone()).collect();
    for (name, _) in drafts.iter().filter(|(name, _)| apps.contains(&name.value)) {
        let what = format!("there is an app `{}`, too", name.value);
        let hint = "commands tell apps and daemons apart by their names; take another one";
        report.add(&name.place, Complaint::new(what, hint));
    }
    for (name, draft) in &drafts {
        if let (Some(draft), "worker" | "workers") = (draft, name.value.as_str()) {
            let what = format!("a daemon cannot be called `{}`", name.value);
            let hint = "commands call the event-loop workers so; take another name";
            report.add(&draft.place, Complaint::new(what, hint));
        }
    }
    let mut daemons = Vec::with_capacity(drafts.len());
    let mut places = Vec::with_capacity(drafts.len());
    for (name, draft) in drafts {
        let Some(draft) = draft else { continue };
        let found = draft.app.as_ref().and_then(|name| app(name, report));
        let after = draft.after.into_iter().filter_map(|name| {
            let found = dependency(&name, apps, &names, report)?;
            Some((found, name.place))
        });
        let (after, at): (Vec<_>, Vec<_>) = after.unzip();
        daemons.push(Daemon { name: name.value, app: found, after, ..draft.daemon });
        places.push(at);
    }
    // Indices are those of the names only if no daemon is missing.
    if daemons.len() == names.len()
        && let Some((circle, at)) = circle(&daemons)
        && let Some(place) = circle.first().and_then(|first| places.get(*first)?.get(at))
    {
        let named = |at: &usize| names.get(*at).map(|name| format!("`{name}`")).unwrap_or_default();
        let round: Vec<String> = circle.iter().chain(circle.first()).map(named).collect();
        let what = format!("goes round in a circle: {}", round.join(" after "));
        report.add(place, Complaint::new(what, "none of them could ever start; remove one of these names"));
    }
    daemons
}

fn dependency(
    name: &At<String>,
    apps: &[String],
    daemons: &[String],
    report: &mut Report<'_>,
) -> Option<Dependency> {
    let app = apps.iter().position(|known| *known == name.value).map(Dependency::App);
    let daemon = daemons.iter().position(|known| *known == name.value).map(Dependency::Daemon);
    let found = daemon.or(app);
    if found.is_none() {
        let known: Vec<&String> = daemons.iter().chain(apps).collect();
        report.add(&name.place, Complaint::unknown("daemon or app", &name.value, &known));
    }
    found
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
