//! Where a key stands: for what is found wrong when the file has been read and its places are forgotten.

use super::Config;
use super::located::Node;
use super::problem::Problem;
use super::shape::Shape;
use std::collections::HashMap;

/// The sections of all files of which there may be many, each found once.
pub(super) struct Places<'t, 'a> {
    tops: &'t [Node<'a>],
    /// By their keys, `sites[1]` and `apps.shop`, numbered through all files: the main one and those that it includes.
    sections: HashMap<String, Node<'a>>,
    sites: usize,
    jobs: usize,
}

impl<'t, 'a> Places<'t, 'a> {
    pub(super) fn of(tops: &'t [Node<'a>]) -> Self {
        let mut places = Self { tops, sections: HashMap::new(), sites: 0, jobs: 0 };
        for (name, value) in tops.iter().flat_map(Node::fields) {
            let count = match name {
                "sites" => &mut places.sites,
                "cron" => &mut places.jobs,
                _ => {
                    let named =
                        value.entries().into_iter().map(|(entry, node)| (format!("{name}.{entry}"), node));
                    places.sections.extend(named);
                    continue;
                }
            };
            for node in value.items().unwrap_or_default() {
                places.sections.insert(format!("{name}[{count}]"), node);
                *count += 1;
            }
        }
        places
    }

    /// The problem at its place, which knows its key only, `sites[1].locations[0].to.root`. Of a key that is not written
    /// there it is the place of what it would stand in.
    pub(super) fn located(&self, problem: Problem) -> Problem {
        if problem.line > 0 {
            return problem;
        }
        let Some((node, rest)) = self.find(&problem.key) else { return problem };
        let place = node.place();
        let key = format!("{}{rest}", place.key).trim_start_matches('.').to_owned();
        // What stands nowhere has no line.
        let (line, column) = if key == rest { (0, 0) } else { (place.line, place.column) };
        Problem { file: place.file, line, column, key, ..problem }
    }

    /// Whether the key means the same in what was read as in the files, of which mistakes may have been left out.
    pub(super) fn is_certain(&self, config: &Config, key: &str) -> bool {
        let Some((number, rest)) = key.strip_prefix("sites").and_then(numbered) else {
            return !key.starts_with("cron[") || config.cron.len() == self.jobs;
        };
        let read = number.parse::<usize>().ok().and_then(|number| config.sites.get(number));
        let Some(site) = read.filter(|_| config.sites.len() == self.sites) else { return false };
        let node = self.sections.get(&format!("sites[{number}]"));
        let list = |name: &str| node?.field(name)?.items().ok().map(|items| items.len());
        match rest {
            _ if rest.starts_with(".locations") => list("locations") == Some(site.locations.len()),
            _ if rest.starts_with(".listen") => list("listen") == Some(site.listen.len()),
            _ if rest.starts_with(".tls.") => site.tls.is_some(),
            _ => true,
        }
    }

    /// As far as the key is written; second: the rest of it.
    fn find<'k>(&self, key: &'k str) -> Option<(Node<'a>, &'k str)> {
        // One name may be the beginning of another.
        let ends = key.match_indices(['.', '[']).map(|(at, _)| at).chain([key.len()]);
        let mut sections = ends.collect::<Vec<_>>().into_iter().rev().filter_map(|end| {
            let (section, rest) = key.split_at_checked(end)?;
            Some((self.sections.get(section)?, rest))
        });
        if let Some((node, rest)) = sections.next() {
            return Some(descend(node.clone(), rest));
        }
        // What is not in a section is in one file only: where most of the key is written.
        let is_numbered = |list| key.strip_prefix(list).is_some_and(|rest| rest.starts_with('['));
        let tops = self.tops.iter().filter(|_| !["sites", "cron"].into_iter().any(is_numbered));
        tops.map(|top| descend(top.clone(), key)).min_by_key(|(_, rest)| rest.len())
    }
}

/// `[3]` and what follows.
fn numbered(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

/// As far as the key is written; second: the rest of it.
fn descend<'a, 'k>(node: Node<'a>, key: &'k str) -> (Node<'a>, &'k str) {
    let next = match node.shape() {
        Shape::List(_) => numbered(past_name(key)).and_then(|(number, rest)| {
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
        Shape::Variant(_, Some(_)) => node.variant().and_then(|(_, inside)| {
            // As of lists: `tls: Acme( … )` stands for `tls: (certificates: Acme( … ))`.
            let rest = key.strip_prefix(".certificates").filter(|rest| rest.starts_with('.'));
            Some((inside?, rest.unwrap_or(key)))
        }),
        _ => None,
    };
    match next {
        Some((next, rest)) => descend(next, rest),
        None => (node, key),
    }
}

/// What follows the first name in a key: a list may stand for a section, as the value of one of its keys (`tls: [ … ]`).
fn past_name(key: &str) -> &str {
    let name = key.strip_prefix('.').and_then(|key| key.split_at_checked(key.find('[')?));
    name.filter(|(name, _)| !name.contains('.')).map_or(key, |(_, rest)| rest)
}

/// What follows that name in a key.
fn behind<'k>(key: &'k str, name: &str) -> Option<&'k str> {
    let rest = match numbered(key) {
        Some((inside, rest)) if inside == name => rest,
        _ => key.trim_start_matches('.').strip_prefix(name)?,
    };
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}
