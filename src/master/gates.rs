//! Gates of apps: commands that must succeed before an app boots (`before`), run as the app itself. When one runs, and what
//! becomes of the app, the supervisor decides.

use super::child::{Child, Held, Id, Origin, Role};
use super::generation::Generation;
use super::output::Output;
use super::surroundings::Surroundings;
use crate::config::App;
use crate::control::text;
use crate::supervisor::ChildId;
use crate::sys::process::Program;
use crate::sys::{channel, signals};
use std::io;

/// Characters of a command that are shown in messages.
const SHOWN: usize = 80;

/// Starts the gate of that number of the app in that pool.
///
/// # Errors
/// For the log: why there is no process.
pub(super) fn spawn(generation: &Generation, pool: u16, gate: u16, id: ChildId) -> io::Result<Child> {
    let found = generation.app(pool).and_then(|at| Some((at, generation.config.apps.get(at)?)));
    let command = found.and_then(|(_, app)| app.before.get(usize::from(gate)));
    let (Some((at, app)), Some(command)) = (found, command) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let (read, write) = channel::from_child()?;
    let around = Surroundings::of_app(app, &generation.env_files, generation.app_account(at))?;
    let program = around.program(command, write)?;
    let program = Program { death_signal: Some(signals::SIGTERM), ..program };
    log::info!(target: "hatchery", "app {}: before it boots: {}", app.name, shown(command));
    Held::new(Id::Pool(id), format!("app {} before", app.name), Role::Gate)
        .prints(Output::new(&app.name, read).with_past())
        .start(&program, Origin::Command(command.first().cloned().unwrap_or_default(), None))
}

/// The gates of an app, for messages.
pub(super) fn all(app: &App) -> Vec<String> {
    app.before.iter().map(|command| shown(command)).collect()
}

fn shown(command: &[String]) -> String {
    let line = text::line(&command.join(" "));
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
