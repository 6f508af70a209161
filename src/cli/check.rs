//! `hatchery check`.

use super::locate::{self, Master};
use super::{Failure, print, remark};
use crate::config::check::{self, ImportCommand};
use crate::config::{self, App, Config, Disk, Examined, Problem, access_files, certificate_files, publish};
use crate::control::command::{Request, Response};
use crate::control::text;
use crate::helper;
use crate::master;
use crate::sys::poll::{Interest, Set};
use crate::sys::user::{self, Account};
use crate::sys::{clock, process};
use clap::Args;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Check a configuration and everything that a start would need, and list every problem
///
/// Directories, users and rights are looked at, addresses are bound for a moment, apps are imported once. Exit code 0:
/// a start would work; 2: the file has problems, or would publish source and secrets; 1: the file is good, but something it needs is missing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: locate::File,
}

/// Lists the problems.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = arguments.file.find()?;
    let (mut is_published, mut tracebacks) = (false, Vec::new());
    let Examined { config, problems, mut warnings } = config::examine(&file, &Disk, |config, is_good| {
        let published = publish::judge(config, &[], &Disk);
        is_published = !published.refused.is_empty();
        let (bad, doubtful) = certificate_files::judge(config, clock::wall());
        let (strange, odd) = access_files::judge(config);
        let (unfit, doubts) = master::unfit_for_acme(config);
        let warnings = [published.warnings, check::warnings(config), doubtful, odd, doubts].concat();
        let mut problems = [published.refused, check::environment(config), bad, strange, unfit].concat();
        problems.extend(addresses(&file, config, &problems));
        if problems.is_empty() && is_good {
            // What is missing above would only be told again as a failed import.
            for app in &config.apps {
                let Err((what, said)) = import(config, app) else { continue };
                let key = format!("apps.{}.module", app.name);
                problems.push(Problem::of(&config.origin, &key, what));
                tracebacks.push((key, said));
            }
        }
        (problems, warnings)
    });
    warnings.extend(config.iter().flat_map(unknown_names));
    warnings.iter().for_each(|warning| remark(&format!("warning: {warning}")));
    if problems.is_empty() {
        return print(&format!("{}: good\n", file.display()));
    }
    if config.is_none() || is_published {
        return Err(Failure::Usage(locate::lines(&problems)));
    }
    let shown = problems.iter().map(|problem| {
        let said = tracebacks.iter().find(|(key, _)| *key == problem.key).map_or("", |(_, said)| said);
        // A record each: what an app prints when it is imported cannot look like another one.
        text::record(&format!("{problem}{}{said}", if said.is_empty() { "" } else { ":\n" }))
    });
    eprintln!("hatchery: {}", locate::counted(shown).join("\n"));
    Ok(1)
}

/// Addresses that cannot be listened on, of those of which nothing is known to be wrong.
fn addresses(file: &Path, config: &Config, known: &[Problem]) -> Vec<Problem> {
    let found = Master::of(file).find();
    let other = match found.and_then(|found| found.ask(&Request::Status)) {
        Ok(Response::Status(_)) => {
            remark("note: a master runs with this file, so its addresses are not tried");
            return Vec::new();
        }
        Ok(Response::Failed { text }) => Some(Problem::of(&config.origin, "control", text)),
        Ok(_) | Err(_) => None,
    };
    let (reasons, untried) = master::unbindable(config);
    untried.iter().for_each(|note| remark(&format!("note: {}: {note}", config.origin)));
    let problem = |reason: String| match reason.split_once(": ") {
        Some((key, what)) if key.starts_with("sites[") => Problem::of(&config.origin, key, what),
        _ => Problem::of(&config.origin, "", reason),
    };
    let new =
        |problem: &Problem| problem.key.is_empty() || known.iter().all(|other| other.key != problem.key);
    other.into_iter().chain(reasons.into_iter().map(problem).filter(new)).collect()
}

/// Names of servers that cannot be looked up here, now.
fn unknown_names(config: &Config) -> Vec<Problem> {
    let named = config.upstreams.iter().flat_map(|upstream| {
        let servers = upstream.servers.iter().enumerate();
        servers.filter_map(|(at, server)| {
            let key = format!("upstreams.{}.servers[{at}]", upstream.name);
            Some((key, server.address.name()?.question()))
        })
    });
    let named: Vec<(String, String)> = named.collect();
    let mut questions: Vec<String> = named.iter().map(|(_, question)| question.clone()).collect();
    questions.sort();
    questions.dedup();
    if questions.is_empty() {
        return Vec::new();
    }
    let servers: Vec<_> = config.resolver.servers.iter().map(|server| server.0).collect();
    let unknown = match helper::unknown(&servers, questions.clone()) {
        Ok(unknown) => unknown,
        Err(reason) => questions.into_iter().map(|question| (question, reason.clone())).collect(),
    };
    let problem = |(key, question): (String, String)| {
        let (_, reason) = unknown.iter().find(|(name, _)| *name == question)?;
        let what = format!(
            "`{question}` is not found: {}; requests are answered 503 until it is",
            text::line(reason)
        );
        Some(Problem::of(&config.origin, &key, what))
    };
    named.into_iter().filter_map(problem).collect()
}

/// Imports an app once, as the user it would run as. If it fails: why, and what it printed.
fn import(config: &Config, app: &App) -> Result<(), (String, String)> {
    let failed = |what: String| (what, String::new());
    // A command shows when it starts.
    let Some(ImportCommand { program, args, env, cwd }) = check::import_command(app) else { return Ok(()) };
    let mut command = Command::new(&program);
    command.args(args).envs(env).current_dir(cwd);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(home) = &app.home {
        command.env("VIRTUAL_ENV", home);
    }
    if let Some(name) = app.user.as_ref().or(config.user.as_ref()).filter(|_| user::is_root())
        && let Ok(Some(account)) = Account::named(name)
    {
        command.uid(account.uid).gid(account.gid);
    }
    // It runs as somebody else, who must not type into the operator's terminal.
    process::apart(&mut command);
    let mut child =
        command.spawn().map_err(|error| failed(format!("cannot start {}: {error}", program.display())))?;
    let within = app.upkeep.boot_timeout;
    let said = listen(&mut child, within);
    if said.is_none() {
        // It hangs; nothing is left behind.
        process::kill_group(&child);
    }
    let status = child.wait().map_err(|error| failed(format!("cannot wait for the import: {error}")))?;
    match said {
        None => Err(failed(format!("the import did not end within boot_timeout, {within:?}"))),
        Some(_) if status.success() => Ok(()),
        Some(said) => Err(("the app does not import".to_owned(), said)),
    }
}

/// What the child writes to standard error until it ends; `None` if that takes too long.
fn listen(child: &mut Child, within: Duration) -> Option<String> {
    let mut pipe = child.stderr.take()?;
    let deadline = clock::now().after(within);
    let mut text = Vec::new();
    let mut buffer = [0; 8 * 1024];
    loop {
        let mut set = Set::new();
        set.add(pipe.as_fd(), (), Interest::READ);
        let now = clock::now();
        let ready = set.wait(now, Some(deadline)).ok()?;
        if ready.is_empty() {
            if clock::now() >= deadline {
                return None;
            }
            continue;
        }
        match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => return Some(String::from_utf8_lossy(&text).into_owned()),
            Ok(length) => text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
    }
}
