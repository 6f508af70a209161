//! Names of what the server has, for completions: those of the running master, or else of the configuration. Whoever
//! completes a line waits for them, and reads nothing else: it takes a moment at most, and what fails says nothing.

use super::locate::{self, Master};
use super::status::asked_within;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// For the master's answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// For all of it: a file may be on a disk that does not answer.
const MOST: Duration = Duration::from_secs(1);

/// A kind, as `status --json` has it, and a name.
type Unit = (String, String);

/// Completes an argument by the names of these kinds.
pub(super) fn of(kinds: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let (tell, told) = mpsc::channel();
        let words: Vec<String> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .skip_while(|word| word != "--")
            .collect();
        std::thread::spawn(move || tell.send(units(&words)));
        let units = told.recv_timeout(MOST).unwrap_or_default();
        let own = [("workers", "workers"), ("server", "hatchery")]
            .map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        let wanted = units
            .into_iter()
            .chain(own)
            .filter(|(kind, name)| kinds.contains(&kind.as_str()) && is_plain(name));
        wanted.map(|(_, name)| CompletionCandidate::new(name)).collect()
    })
}

/// A shell takes what is completed as if it had been typed.
fn is_plain(name: &str) -> bool {
    name.chars().all(|char| char.is_alphanumeric() || "-_.@+:".contains(char)) && !name.starts_with('-')
}

/// All that there is, with a line that has these words.
fn units(words: &[String]) -> Vec<Unit> {
    let config = option(words, "-c", "--config");
    let master = Master { config: config.clone(), control: option(words, "--control", "--control") };
    let named = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    if let Ok(status) = master.find().and_then(|found| asked_within(&found, PATIENCE)) {
        let pools = status
            .pools
            .iter()
            .filter(|pool| !matches!(pool.kind.as_str(), "workers" | "helper" | "resolver"));
        let pools = pools.map(|pool| named(&pool.kind, &pool.name));
        let jobs = status.cron.iter().map(|job| named("cron", &job.name));
        let upstreams = status.upstreams.iter().map(|upstream| named("upstream", &upstream.name));
        let sites = status.sites.iter().map(|site| named("site", site));
        return pools.chain(jobs).chain(upstreams).chain(sites).collect();
    }
    let Some(config) = locate::file(config.as_deref()).ok().and_then(|file| locate::load(&file).ok()) else {
        return Vec::new();
    };
    let apps = config.apps.iter().map(|app| named("app", &app.name));
    let daemons = config.daemons.iter().map(|daemon| named("daemon", &daemon.name));
    let jobs = config.cron.iter().map(|job| named("cron", &job.name));
    let upstreams = config.upstreams.iter().map(|upstream| named("upstream", &upstream.name));
    let sites = config.sites.iter().map(|site| named("site", &site.label));
    apps.chain(daemons).chain(jobs).chain(upstreams).chain(sites).collect()
}

/// The value of an option on a line that may not be complete.
fn option(words: &[String], short: &str, long: &str) -> Option<PathBuf> {
    let is = |word: &&String| *word == short || *word == long;
    let apart = words.iter().skip_while(|word| !is(word)).nth(1);
    let joined = words.iter().find_map(|word| word.strip_prefix(long)?.strip_prefix('='));
    apart.map(String::as_str).or(joined).filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_a_line_is_the_one_that_it_names() {
        for (line, config, control) in [
            ("-- hatchery restart ", None, None),
            ("-- hatchery status -c a.ron ", Some("a.ron"), None),
            ("-- hatchery status --config=a.ron --control b.sock x", Some("a.ron"), Some("b.sock")),
            ("-- hatchery status -c", None, None),
            ("-- hatchery status -c ", None, None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(option(&words, "-c", "--config"), config.map(PathBuf::from), "{line}");
            assert_eq!(option(&words, "--control", "--control"), control.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_understand_is_not_completed() {
        assert!(["shop", "shop-2.de", "größe"].into_iter().all(is_plain));
        assert!(!["$(x)", "a b", "-x", "a;b", "`x`", "a'b", "a\nb"].into_iter().any(is_plain));
    }
}
