//! Where a key stands: for what is found wrong when the file has been read and its places are forgotten.

use super::Config;
use super::located::Node;
use super::problem::Problem;
use super::shape::Shape;

/// The problem at its place, which knows its key only, `sites[1].locations[0].to.root`, numbered through all files: the
/// main one and those that it includes. Of a key that is not written there it is the place of what it would stand in.
pub(super) fn located(tops: &[Node<'_>], problem: Problem) -> Problem {
    if problem.line > 0 {
        return problem;
    }
    let Some((top, key)) = own_file(tops, &problem.key) else { return problem };
    let (node, rest) = descend(top.clone(), &key);
    let place = node.place();
    let key = format!("{}{rest}", place.key).trim_start_matches('.').to_owned();
    // What stands nowhere has no line.
    let (line, column) = if key == rest { (0, 0) } else { (place.line, place.column) };
    Problem { file: place.file, line, column, key, ..problem }
}

/// Whether the key means the same in what was read as in the files, of which mistakes may have been left out.
pub(super) fn is_certain(config: &Config, tops: &[Node<'_>], key: &str) -> bool {
    let count = |list: &str| {
        let lists = tops.iter().filter_map(|top| top.field(list)?.items().ok());
        lists.map(|items| items.len()).sum::<usize>()
    };
    let Some((number, rest)) = key.strip_prefix("sites").and_then(numbered) else {
        return !key.starts_with("cron[") || config.cron.len() == count("cron");
    };
    let read = number.parse::<usize>().ok().and_then(|number| config.sites.get(number));
    let Some(site) = read.filter(|_| config.sites.len() == count("sites")) else { return false };
    let list = |name: &str| {
        let (top, key) = own_file(tops, &format!("sites[{number}].{name}"))?;
        descend(top.clone(), &key).0.items().ok().map(|items| items.len())
    };
    match rest {
        _ if rest.starts_with(".locations") => list("locations") == Some(site.locations.len()),
        _ if rest.starts_with(".listen") => list("listen") == Some(site.listen.len()),
        _ => true,
    }
}

/// The file that has it, and its key there.
fn own_file<'t, 'a>(tops: &'t [Node<'a>], key: &str) -> Option<(&'t Node<'a>, String)> {
    for list in ["sites", "cron"] {
        let Some((number, rest)) = key.strip_prefix(list).and_then(numbered) else { continue };
        let mut number = number.parse::<usize>().ok()?;
        for top in tops {
            let here = top.field(list).and_then(|list| list.items().ok()).map_or(0, |items| items.len());
            if number < here {
                return Some((top, format!("{list}[{number}]{rest}")));
            }
            number -= here;
        }
        return None;
    }
    // A name is in one file only: where most of the key is written.
    tops.iter().min_by_key(|top| descend((*top).clone(), key).1.len()).map(|top| (top, key.to_owned()))
}

/// `[3]` and what follows.
fn numbered(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

/// As far as the key is written; second: the rest of it.
fn descend<'a, 'k>(node: Node<'a>, key: &'k str) -> (Node<'a>, &'k str) {
    let next = match node.shape() {
        Shape::List(_) => numbered(key).and_then(|(number, rest)| {
            let item = node.items().ok()?.into_iter().nth(number.parse().ok()?)?;
            Some((item, rest))
        }),
        Shape::Struct(_) => {
            node.fields().into_iter().find_map(|(name, field)| Some((field, behind(key, name)?)))
        }
        // One name may be the beginning of another.
        Shape::Map(_) => {
            let entries = node.entries().into_iter();
            let found = entries.filter_map(|(name, value)| Some((value, behind(key, &name)?)));
            found.min_by_key(|(_, rest)| rest.len())
        }
        Shape::Variant(_, Some(_)) => node.variant().and_then(|(_, inside)| Some((inside?, key))),
        _ => None,
    };
    match next {
        Some((next, rest)) => descend(next, rest),
        None => (node, key),
    }
}

/// What follows that name in a key.
fn behind<'k>(key: &'k str, name: &str) -> Option<&'k str> {
    let rest = match numbered(key) {
        Some((inside, rest)) if inside == name => rest,
        _ => key.trim_start_matches('.').strip_prefix(name)?,
    };
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}
