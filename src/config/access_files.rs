//! The files of `access` and `auth`: networks under a name, and users with hashes of their passwords. The master reads them and
//! hands them to workers, with what these need for TLS (`config::credentials`), and anew when one has changed.

use super::certificate_files::{Expected, Named, contents_of};
use super::credentials::{Credentials, Listed, UserFile};
use super::lists;
use super::problem::{Complaint, Place, Problem};
use super::{Config, ListFrom};
use crate::policy::auth::Auth;
use crate::policy::htpasswd::{Users, Wrong};
use crate::policy::password::Unfit;
use std::path::{Path, PathBuf};

const LISTS: Expected = Expected {
    most: 16 << 20,
    of_what: "a list of networks",
    by_writing: "let themselves in",
    may_be_empty: true,
};

const USERS: Expected = Expected {
    most: 1 << 20,
    of_what: "a list of users",
    by_writing: "log in as anybody",
    may_be_empty: false,
};

/// How a good line is made.
const BY: &str = "htpasswd -B makes a good one";

/// The lists in files, each with its key.
fn list_files(config: &Config) -> impl Iterator<Item = (String, &Path)> {
    config.lists.iter().filter_map(|list| match &list.from {
        ListFrom::File(path) => Some((format!("lists.{}.file", list.name), path.as_path())),
        ListFrom::Here(_) => None,
    })
}

/// The files with users, each once, with the first key that names it.
fn user_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files: Vec<(String, &Path)> = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        let own = (format!("sites[{index}]"), &site.policies);
        let places = site.locations.iter().enumerate();
        let places = places.map(|(at, place)| (format!("sites[{index}].locations[{at}]"), &place.policies));
        for (key, policies) in std::iter::once(own).chain(places) {
            let Some(Auth::Basic(basic)) = policies.auth.get() else { continue };
            if files.iter().all(|(_, known)| *known != basic.users) {
                files.push((format!("{key}.auth.basic.users"), &basic.users));
            }
        }
    }
    files
}

/// All that is read for them.
pub(crate) fn paths(config: &Config) -> Vec<PathBuf> {
    let users = user_files(config).into_iter();
    list_files(config).chain(users).map(|(_, path)| path.to_owned()).collect()
}

/// Reads what is needed into `credentials`. Where a file is of no use, what is known of it from `before` stays; those are told.
pub(crate) fn read(
    config: &Config,
    before: Option<&Credentials>,
    credentials: &mut Credentials,
    doubts: &mut Vec<Problem>,
) -> Vec<Problem> {
    let mut faults = read_lists(config, before, credentials, doubts);
    let origin = config.origin.as_str();
    for (key, path) in user_files(config) {
        match users(&Named { origin, key: &key, path }, doubts) {
            Ok(users) => credentials.users.push(users),
            Err(fault) => {
                let kept = before.and_then(|known| known.users.iter().find(|kept| kept.path == path));
                credentials.users.extend(kept.cloned());
                faults.push(fault);
            }
        }
    }
    faults
}

/// The same, of the lists alone.
pub(crate) fn read_lists(
    config: &Config,
    before: Option<&Credentials>,
    credentials: &mut Credentials,
    doubts: &mut Vec<Problem>,
) -> Vec<Problem> {
    let (origin, mut faults) = (config.origin.as_str(), Vec::new());
    for (key, path) in list_files(config) {
        if credentials.lists.iter().any(|known| known.path == path) {
            continue;
        }
        match list(&Named { origin, key: &key, path }, doubts) {
            Ok(list) => credentials.lists.push(list),
            Err(fault) => {
                let kept = before.and_then(|known| known.lists.iter().find(|kept| kept.path == path));
                credentials.lists.extend(kept.cloned());
                faults.push(fault);
            }
        }
    }
    faults
}

/// What is wrong with the files, and what is doubtful about them: for `hatchery check`.
pub(crate) fn judge(config: &Config) -> (Vec<Problem>, Vec<Problem>) {
    let mut doubts = Vec::new();
    let problems = read(config, None, &mut Credentials::default(), &mut doubts);
    (problems, doubts)
}

/// The lists and files of users that differ, for the log.
pub(crate) fn changed(before: &Credentials, after: &Credentials) -> Vec<String> {
    let lists = after.lists.iter().filter(|list| !before.lists.contains(list));
    let lists = lists.map(|list| format!("{}: {} networks", list.path.display(), list.blocks.len()));
    let users = after.users.iter().filter(|users| !before.users.contains(users));
    let users = users.map(|users| {
        let count = Users::parse(&users.text.0).map_or(0, |users| users.len());
        format!("{}: {count} users", users.path.display())
    });
    lists.chain(users).collect()
}

fn list(named: &Named<'_>, doubts: &mut Vec<Problem>) -> Result<Listed, Problem> {
    let (text, _) = contents_of(named, &LISTS, doubts)?;
    let blocks = lists::parse(&text.0).map_err(|(line, complaint)| in_line(named, line, complaint))?;
    Ok(Listed { path: named.path.to_owned(), blocks })
}

fn users(named: &Named<'_>, doubts: &mut Vec<Problem>) -> Result<UserFile, Problem> {
    let (text, mode) = contents_of(named, &USERS, doubts)?;
    let users = Users::parse(&text.0).map_err(|(line, wrong)| in_line(named, line, complaint(wrong)))?;
    if users.is_empty() {
        return Err(named.wrong("there is no user in it", format!("a line is user:hash; {BY}")));
    }
    if mode & 0o004 != 0 {
        let what = format!("every user can read its hashes (mode {mode:04o}), and try passwords at home");
        doubts.push(named.wrong(what, format!("chmod o= {}", named.path.display())));
    }
    Ok(UserFile { path: named.path.to_owned(), text })
}

fn in_line(named: &Named<'_>, line: usize, complaint: Complaint) -> Problem {
    let (file, key) = (named.path.display().to_string(), named.key.to_owned());
    Place { file, line: u32::try_from(line).unwrap_or(u32::MAX), column: 1, key }.problem(complaint)
}

/// No message quotes what may be a password.
fn complaint(wrong: Wrong) -> Complaint {
    let (what, hint) = match wrong {
        Wrong::NoUser => ("it is no line of the form user:hash".to_owned(), BY.to_owned()),
        Wrong::NoText => ("it is no text".to_owned(), "names are in UTF-8".to_owned()),
        Wrong::Twice(user) => {
            (format!("`{user}` is in a line before, too"), "keep one of the two".to_owned())
        }
        Wrong::Unfit(user, unfit) => match unfit {
            Unfit::Weak(kind) => (
                format!("the password of `{user}` is kept as {kind}, which is tried out in no time"),
                format!("make it anew: htpasswd -B FILE {user}"),
            ),
            Unfit::Unknown(kind) => (
                format!("the password of `{user}` is kept in a way that is not known here: {kind}"),
                format!("bcrypt, argon2id, argon2i and SHA-crypt ($5$, $6$) are; {BY}"),
            ),
            Unfit::Costly(what) => (
                format!("to check the password of `{user}` would take too much: {what}"),
                format!("make it anew with less; {BY}"),
            ),
            Unfit::Damaged(kind) => {
                (format!("the hash of `{user}` is no whole one of {kind}"), format!("make it anew; {BY}"))
            }
            Unfit::Plain => (
                format!("there is no hash of a password behind `{user}:`"),
                format!("passwords are not kept as they are; make a hash: htpasswd -B FILE {user}"),
            ),
        },
    };
    Complaint::new(what, hint)
}
