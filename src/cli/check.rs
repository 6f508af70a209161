//! `hatchery check`.

use super::{Failure, locate, print, remark};
use crate::config::check::{self, ImportCommand};
use crate::config::{self, App, Config, Disk, publish};
use crate::control::text;
use crate::master::{self, control};
use crate::sys::poll::{Interest, Set};
use crate::sys::user::{self, Account};
use crate::sys::{clock, process};
use clap::Args;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Check a configuration and everything that a start would need, and list every problem
///
/// Directories, users and rights are looked at, addresses are bound for a moment, apps are imported once. Exit code 0:
/// a start would work; 2: the file has problems, or would publish source and secrets; 1: the file is good, but something it needs is missing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Lists the problems.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = locate::file(arguments.config.as_deref())?;
    let (config, warnings) = config::load_with_warnings(&file, &Disk)
        .map_err(|problems| Failure::Usage(locate::lines(&problems)))?;
    let published = publish::judge(&config, &[], &Disk);
    warnings
        .iter()
        .chain(&published.warnings)
        .chain(&check::warnings(&config))
        .for_each(|warning| remark(&format!("warning: {warning}")));
    let mut problems: Vec<String> = check::environment(&config).iter().map(ToString::to_string).collect();
    let control = config.control.clone().unwrap_or_else(control::find);
    if control::is_running(&control) {
        remark(&format!(
            "note: a master runs (control socket {}), so its addresses are not tried",
            control.display()
        ));
    } else {
        let (reasons, untried) = master::unbindable(&config);
        untried.iter().for_each(|note| remark(&format!("note: {}: {note}", file.display())));
        problems.extend(reasons.iter().map(|reason| format!("{}: {reason}", file.display())));
    }
    if !published.refused.is_empty() {
        problems.insert(0, locate::lines(&published.refused));
        return Err(Failure::Usage(problems.join("\n")));
    }
    if problems.is_empty() {
        // What is missing above would only be told again as a failed import.
        let broken = config.apps.iter().filter_map(|app| import(&config, app).err());
        problems.extend(broken.map(|reason| format!("{}: {reason}", file.display())));
    }
    if problems.is_empty() {
        return print(&format!("{}: good\n", file.display()));
    }
    // A record each: what an app prints when it is imported cannot look like another one.
    let problems: Vec<String> = problems.iter().map(|problem| text::record(problem)).collect();
    eprintln!("hatchery: {}", problems.join("\n"));
    Ok(1)
}

/// Imports an app once, as the user it would run as.
fn import(config: &Config, app: &App) -> Result<(), String> {
    let failed = |what: String| format!("apps.{:?}: {what}", app.name);
    let ImportCommand { program, args, env, cwd } = check::import_command(app);
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
    let said = listen(&mut child, app.boot_timeout);
    if said.is_none() {
        // It hangs; nothing is left behind.
        process::kill_group(&child);
    }
    let status = child.wait().map_err(|error| failed(format!("cannot wait for the import: {error}")))?;
    match said {
        None => Err(failed(format!("the import did not end within boot_timeout, {:?}", app.boot_timeout))),
        Some(_) if status.success() => Ok(()),
        Some(text) => Err(failed(format!("the app does not import:\n{}", text.trim_end()))),
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
