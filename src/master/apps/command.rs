//! Processes of apps that run by a command. What is as with a host: who is around it, its units on the board, which
//! workers claim and give back. What is not: it says nothing and hears nothing but signals. So a probe finds out whether
//! it serves (`helper::probe`), and what a host would be asked about units is answered here: a request that its worker has
//! given up is over, since the process serves others beside it.

use super::{App, Wanted, listen};
use crate::config::{self, Listens, PORT, SOCKET};
use crate::control::worker::Unit;
use crate::gateway::probe::{Asked, Door, Probe};
use crate::master::Master;
use crate::master::child::{Child, Held, Id, Origin, Role};
use crate::master::environment::Environment;
use crate::master::output::Output;
use crate::master::surroundings::Surroundings;
use crate::supervisor::{ChildId, Exit, Input, Kill};
use crate::sys::carried::Carried;
use crate::sys::place::{Access, Place};
use crate::sys::process::{self, Program};
use crate::sys::resources::Resources;
use crate::sys::user::Account;
use crate::sys::{channel, listener, signals, socket, user};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

/// What files may not have of permissions that a process makes whose sockets another user is to reach.
const UMASK: u32 = 0o002;

/// The name of its socket there.
const IN_IT: &str = "socket";

/// The probe gives up so much before the supervisor does, as it can say why.
const SOONER: Duration = Duration::from_millis(100);

/// What a probe has said.
pub(in crate::master) fn said(pipe: &mut Carried<File>) -> Option<String> {
    let mut buffer = [0; 4096];
    let count = pipe.read(&mut buffer).ok()?;
    let said = String::from_utf8_lossy(buffer.get(..count)?);
    let said = said.trim().trim_start_matches("hatchery: ");
    (!said.is_empty()).then(|| said.to_owned())
}

/// What the master holds of such a process besides what it holds of every app's.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::master) struct Command {
    /// Asks it to end.
    pub(in crate::master) stop_signal: i32,
    /// The port on which it is to listen; 0: a socket.
    pub(in crate::master) port: u16,
    /// It makes the socket itself, in a directory of its own.
    has_room: bool,
    /// The socket that it inherits, as long as a probe may ask for it.
    listener: Option<Carried>,
    /// Units, each with the row of a worker, in which no request runs any more.
    over: Vec<(u16, u16)>,
}

/// Starts a process.
///
/// # Errors
/// For the log: why there is no process.
pub(super) fn spawn(wanted: &Wanted<'_>, of: &config::Command) -> io::Result<Child> {
    let settings = wanted.settings()?;
    let account = wanted.generation.app_account(wanted.app);
    let mut path = wanted.socket();
    let mut command = Command {
        stop_signal: of.stop_signal.number(),
        port: 0,
        has_room: false,
        listener: None,
        over: Vec::new(),
    };
    let workers = wanted.generation.account.as_ref();
    let mut around = Surroundings::of_app(settings, &wanted.generation.env_files, account)?;
    let mut descriptors = Vec::new();
    match of.listens(&settings.env) {
        Listens::Inherited => {
            let socket = listen(&path, wanted.generation)?.socket.release();
            command.listener = Some(socket.try_clone()?.into());
            descriptors.push(socket);
            around.environment.set("LISTEN_FDS", "1");
            around.environment.set("LISTEN_FDNAMES", "http");
        }
        Listens::Socket => {
            let access = Access {
                mode: 0o2710,
                user: account.map(|account| account.uid),
                group: workers.map(|workers| workers.gid),
            };
            Place::of(&path)?.make_room(access)?;
            command.has_room = true;
            path.push(IN_IT);
        }
        Listens::Port => command.port = listener::free_port()?,
    }
    let (socket, port) = (path.display().to_string(), command.port.to_string());
    let told = |text: &str| text.replace(SOCKET, &socket).replace(PORT, &port);
    for (name, value) in settings.env.iter().filter(|(_, value)| value.contains('{')) {
        around.environment.set(name, told(value));
    }
    let arguments: Vec<String> = of.command.iter().map(|word| told(word)).collect();
    let (read, write) = channel::from_child()?;
    let program = Program {
        told_pid: !descriptors.is_empty(),
        umask: command.has_room.then_some(UMASK),
        death_signal: Some(command.stop_signal),
        descriptors,
        ..around.program(&arguments, write)?
    };
    let app = App { command: Some(command), socket: path, ear: None, ..App::new(wanted, settings) };
    let name = format!("app {} {}", settings.name, wanted.slot);
    Held::new(Id::Pool(wanted.child), name, Role::App(Box::new(app)))
        .prints(Output::new(&settings.name, read).with_past())
        .start(&program, Origin::Command(of.command.first().cloned().unwrap_or_default(), None))
        .inspect_err(|_| bury(&wanted.socket(), of.listens(&settings.env) == Listens::Socket))
}

/// Names in a room that are removed with it at once: nobody waits for the master while an app has it remove more.
const IN_ROOM: usize = 1000;

/// Removes what it listened on. What stays goes with the directory, at the end.
fn bury(path: &Path, has_room: bool) {
    let removed = Place::of(path).and_then(|place| match has_room {
        true => place.remove_room(IN_ROOM),
        false => place.unlink(),
    });
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!(target: "hatchery", "{} stays until the server ends: {error}", path.display());
    }
}

impl Command {
    /// No request of the worker in that row runs in that unit any more.
    pub(super) fn is_over(&mut self, unit: u16, row: u16) {
        self.over.push((unit, row));
    }

    /// Whether somebody listens where workers connect.
    pub(super) fn is_reachable(&self, path: &Path) -> bool {
        let connected = match self.port {
            // A link that it has made is not followed.
            0 if self.has_room => path.parent().ok_or(io::ErrorKind::NotFound.into()).and_then(|room| {
                let opened = Place::of(room)?.open_in_room(IN_IT)?;
                socket::connect_opened(opened.as_fd())
            }),
            0 => socket::connect_unix(path, socket::Expect::Nothing),
            port => socket::connect_tcp((std::net::Ipv4Addr::LOCALHOST, port).into())
                .and_then(|connecting| socket::error(connecting.as_fd()).map_or(Ok(connecting), Err)),
        };
        connected.map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |_| true)
    }

    /// It is no more.
    pub(super) fn bury(&self, socket: &Path) {
        match (self.has_room, self.port) {
            (true, _) => bury(socket.parent().unwrap_or(socket), true),
            (false, 0) => bury(socket, false),
            (false, _) => {}
        }
    }

    fn door(&self, socket: &Path) -> Door {
        if self.port == 0 { Door::Socket(socket.to_owned()) } else { Door::Port(self.port) }
    }
}

/// A probe to be: what it is told, the socket that it inherits, and who it runs as.
struct Probing {
    probe: Probe,
    listener: Option<Carried>,
    account: Option<Account>,
}

impl Master {
    /// Has a probe look whether a new process of a command serves.
    pub(in crate::master) fn probe(&mut self, id: ChildId, generation: u32, now: Time) {
        match self.probe_of(id, generation).map(|probing| start(id, probing)) {
            None => {}
            Some(Ok(probe)) => self.children.add(probe),
            Some(Err(error)) => {
                let reason = format!("nothing can look whether it serves: {error}");
                self.supervisor.on(Input::Unready { child: id, reason }, now);
            }
        }
    }

    fn probe_of(&mut self, id: ChildId, generation: u32) -> Option<Probing> {
        let app = self.children.app_mut(id)?;
        let command = app.command.as_mut()?;
        let listener = command.listener.take();
        let (name, door) = (app.name.clone(), command.door(&app.socket));
        let generation = self.source(generation);
        let app = generation.config.apps.iter().position(|settings| settings.name == name)?;
        let settings = generation.config.apps.get(app)?;
        let upstream = settings.upstream()?;
        let ready = settings.ready.as_ref().map(|ready| Asked {
            question: ready.question.clone(),
            protocol: upstream.protocol,
            scripts: upstream.scripts.clone(),
            timeout: ready.timeout,
        });
        let within = settings.upkeep.boot_timeout.saturating_sub(SOONER);
        let owner = generation.app_account(app).map_or_else(user::uid, |account| account.uid);
        let probe = Probe { door, inherited: listener.is_some(), owner, within, ready };
        Some(Probing { probe, listener, account: generation.account.clone() })
    }

    /// The probe has ended: whether the process serves.
    pub(in crate::master) fn probed(&mut self, id: ChildId, exit: Exit, failure: Option<String>, now: Time) {
        let Some(child) = self.children.find_mut(Id::Pool(id)) else { return };
        child.answers();
        if exit == Exit::Code(0) {
            return self.supervisor.on(Input::Ready { child: id }, now);
        }
        let reason = failure.unwrap_or_else(|| format!("its probe ended: {exit}"));
        self.supervisor.on(Input::Unready { child: id, reason }, now);
    }

    /// The process has ended: nothing is to be found out.
    pub(in crate::master) fn end_probe(&mut self, id: ChildId) {
        if let Some(probe) = self.children.find_mut(Id::Probe(id)) {
            probe.kill(Kill::Kill);
        }
    }

    /// Gives back the units of processes of commands in which nothing runs any more.
    pub(in crate::master) fn give_units_back(&mut self, now: Time) {
        let over = |app: &mut App| -> Vec<(u16, u16)> {
            app.command.as_mut().map(|command| std::mem::take(&mut command.over)).unwrap_or_default()
        };
        let all: Vec<_> = self.children.apps_mut().map(|(id, app)| (id, over(app))).collect();
        for (id, over) in all {
            if over.is_empty() {
                continue;
            }
            over.into_iter().for_each(|(unit, row)| self.unit_freed(id, unit, row, now));
            // A worker that has ended had tunnels, perhaps, and no unit.
            self.let_go(id, now);
        }
    }

    /// A worker has tunnels to a process, or has none any more: one that is to leave waits for that.
    pub(in crate::master) fn on_tunnels(&mut self, worker: ChildId, at: Unit, any: bool, now: Time) {
        let (Some(row), Some(id)) =
            (self.row_of(worker), self.app_in(at.pool, at.slot, Some(at.incarnation)))
        else {
            return;
        };
        let Some(app) = self.children.app_mut(id) else { return };
        if any {
            app.tunnels.insert(row);
        } else if app.tunnels.remove(&row) {
            self.let_go(id, now);
        }
    }

    /// Whether a client has a tunnel to a process of the app in that pool.
    pub(in crate::master) fn has_tunnels(&self, pool: u16) -> bool {
        let mut processes = self.children.apps().filter(|(_, app)| app.pool == pool);
        processes.any(|(_, app)| !app.tunnels.is_empty())
    }
}

/// Starts a probe.
fn start(id: ChildId, probing: Probing) -> io::Result<Child> {
    let Probing { probe, listener, account } = probing;
    let (said, output) = channel::from_child()?;
    let listener = listener.map(|listener| listener.as_fd().try_clone_to_owned()).transpose()?;
    let program = Program {
        candidates: vec![c"/proc/self/exe".to_owned()],
        arguments: vec![c"hatchery".to_owned(), c"probe".to_owned()],
        environment: Environment::clean().strings(),
        directory: Some(c"/".to_owned()),
        or_in_root: false,
        account,
        stdin: Some(process::memory_file(&serde_json::to_vec(&probe)?)?),
        stdout: output.try_clone()?,
        stderr: output,
        descriptors: listener.into_iter().collect(),
        resources: Resources::default(),
        death_signal: Some(signals::SIGKILL),
        umask: None,
        told_pid: false,
    };
    log::debug!(target: "hatchery", "looking whether something serves at {}", probe.door);
    Held::new(Id::Probe(id), "probe".to_owned(), Role::Probe(File::from(said).into()))
        .start(&program, Origin::Command("/proc/self/exe".to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_removed_with_what_is_in_it_and_not_what_a_link_in_it_leads_to() {
        let folder = std::env::temp_dir().join(format!("hatchery-room-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("stays"), "").unwrap();
        let room = folder.join("room");
        let access = Access { mode: 0o2710, user: Some(user::uid()), group: None };
        Place::of(&room).unwrap().make_room(access).unwrap();
        std::os::unix::fs::symlink("../stays", room.join("link")).unwrap();
        std::fs::write(room.join("socket"), "").unwrap();
        std::fs::create_dir_all(room.join("cache/deep")).unwrap();
        std::fs::write(room.join("cache/deep/file"), "").unwrap();
        bury(&room, true);
        assert!(!room.exists() && folder.join("stays").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
