//! `apps: {…}`.

use super::host::Host;
use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::proxy::ACCELS;
use super::read::{commands, env, paths};
use super::ready::Ready;
use super::resources;
use super::sending::directories;
use super::upstream::Upstream;
use super::walk::{By, Choice, Section, Walk};
use crate::gateway::accel::Accel;
use crate::supervisor::{Processes, Upkeep};
use crate::sys::resources::Resources;
use std::path::PathBuf;
use std::time::Duration;

/// A web application.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its key in the file.
    pub name: String,
    /// What hosts it.
    pub kind: Host,
    /// Working directory, first on `sys.path`.
    pub chdir: PathBuf,
    /// The virtualenv.
    pub home: Option<PathBuf>,
    /// Files with variables that are added to the environment.
    pub env_file: Vec<PathBuf>,
    /// Added to that.
    pub env: Vec<(String, String)>,
    /// How many processes.
    pub processes: Processes,
    /// How they are kept.
    pub upkeep: Upkeep,
    /// Longest time until the response head, 504, and without anything more of the response.
    pub timeout: Duration,
    /// Longest time for a whole response.
    pub stream_timeout: Option<Duration>,
    /// How long a request may wait for a free process, 503.
    pub queue_timeout: Duration,
    /// How many may wait for one in each worker, 503. 0: none waits.
    pub queue_size: u32,
    /// The processes are forked from one that has imported the app.
    pub preload: bool,
    /// What stays of a preloaded app while it sleeps.
    pub keep: Keep,
    /// Commands that must succeed before the first process of a generation boots.
    pub before: Vec<Vec<String>>,
    /// An edit of its code replaces its processes.
    pub reload_on_change: bool,
    /// Pages that browsers on this machine have of it load themselves again after an edit.
    pub live_reload: bool,
    /// Directories besides `chdir` where its code is.
    pub watch: Vec<PathBuf>,
    /// What each new process must answer before it counts as ready.
    pub ready: Option<Ready>,
    /// A process is replaced after about so many requests.
    pub max_requests: Option<u32>,
    /// A user of its own.
    pub user: Option<String>,
    /// What a process may use of the machine.
    pub resources: Resources,
    /// A response is taken from the app into this much memory, then into a file, then the app waits.
    pub response_buffer: ResponseBuffer,
    /// What is done if a response says who is to answer in its place.
    pub accel: Accel,
    /// Where the files are that its responses may have sent.
    pub send_files_from: Vec<PathBuf>,
}

/// What stays of a preloaded app while none of its processes runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: waking imports the app.
    Nothing,
    /// The process that the others are forked from, from the start on.
    Template,
}

/// As they are written.
const KEEPS: [(&str, Keep); 2] = [("Nothing", Keep::Nothing), ("Template", Keep::Template)];

/// See [`App::response_buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseBuffer {
    /// Bytes in memory; 64 KiB.
    pub(crate) memory: u64,
    /// Bytes in an unlinked file; 1 GiB.
    pub(crate) file: u64,
}

impl Default for ResponseBuffer {
    fn default() -> Self {
        Self { memory: 64 << 10, file: 1 << 30 }
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: Host::default(),
            chdir: PathBuf::new(),
            home: None,
            env_file: Vec::new(),
            env: Vec::new(),
            processes: Processes { min: 1, max: 1 },
            upkeep: Upkeep::default(),
            timeout: Duration::from_secs(60),
            stream_timeout: None,
            queue_timeout: Duration::from_secs(10),
            queue_size: 1000,
            preload: false,
            keep: Keep::Nothing,
            before: Vec::new(),
            reload_on_change: false,
            live_reload: false,
            watch: Vec::new(),
            ready: None,
            max_requests: None,
            user: None,
            resources: Resources::default(),
            response_buffer: ResponseBuffer::default(),
            accel: Accel::default(),
            send_files_from: Vec::new(),
        }
    }
}

/// Keys of apps that are hosted here, and of those that are a command.
const HOSTED: [&str; 8] =
    ["module", "python", "interface", "threads", "websocket", "preload", "keep", "max_requests"];
const COMMANDS: [&str; 5] = ["protocol", "root", "index", "tunnel_timeout", "stop_signal"];

impl Section for App {
    fn start(node: &Node<'_>, _report: &Report<'_>) -> Self {
        let kind = Host::of(|key| node.field(key).is_some());
        Self { chdir: node.file.dir.clone(), kind, ..Self::default() }
    }

    fn misplaced(key: &str) -> Option<Complaint> {
        if key == "module" {
            let what = "both `module` and `command`";
            return Some(Complaint::new(what, "an app is hosted here, or runs by a command: keep one"));
        }
        if HOSTED.contains(&key) {
            let what = format!("`{key}` is for an app that is hosted here, and not for a `command`");
            return Some(Complaint::new(what, "say it to the command, if that knows the like"));
        }
        COMMANDS
            .contains(&key)
            .then(|| Complaint::new(format!("`{key}` is for an app that runs by a `command`"), "remove it"))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        self.kind.walk(keys);
        keys.key("chdir", &mut self.chdir);
        keys.key("home", &mut self.home);
        keys.key("env_file", &mut By(&mut self.env_file, paths));
        keys.key("env", &mut By(&mut self.env, env));
        keys.key("processes", &mut self.processes);
        keys.key("idle", &mut self.upkeep.idle);
        keys.key("timeout", &mut self.timeout);
        keys.key("stream_timeout", &mut self.stream_timeout);
        keys.key("queue_timeout", &mut self.queue_timeout);
        keys.key("queue_size", &mut self.queue_size);
        keys.key("boot_timeout", &mut self.upkeep.boot_timeout);
        keys.key("stop_timeout", &mut self.upkeep.stop_timeout);
        keys.key("prove", &mut self.upkeep.prove);
        if self.kind.template().is_some() {
            keys.key("preload", &mut self.preload);
            keys.key("keep", &mut Choice(&mut self.keep, &KEEPS, &[]));
            keys.key("max_requests", &mut self.max_requests);
        }
        keys.key("before", &mut By(&mut self.before, commands));
        keys.key("reload_on_change", &mut self.reload_on_change);
        keys.key("live_reload", &mut self.live_reload);
        keys.key("watch", &mut By(&mut self.watch, paths));
        keys.key("ready", &mut self.ready);
        keys.key("max_rss", &mut self.upkeep.max_rss);
        keys.key("max_lifetime", &mut self.upkeep.max_lifetime);
        keys.key("user", &mut self.user);
        resources::walk(&mut self.resources, keys);
        keys.key("response_buffer", &mut self.response_buffer);
        keys.key("x_accel", &mut Choice(&mut self.accel, &ACCELS, &[]));
        keys.key("send_files_from", &mut By(&mut self.send_files_from, directories));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        self.kind.check(self.home.as_deref(), &self.env, given, report);
        if self.keep == Keep::Template && !self.preload {
            let hint = "add preload: true, or leave keep out";
            let what = "keep: Template without preload: there is no template";
            given.complain(report, Complaint::new(what, hint));
        }
        if self.live_reload && !self.reload_on_change {
            let what = "live_reload without reload_on_change: nobody watches for edits";
            given.complain(
                report,
                Complaint::new(what, "add reload_on_change: true, or leave live_reload out"),
            );
        }
    }
}

impl App {
    /// How its processes are spoken to, if as servers of an upstream.
    #[must_use]
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        self.kind.command().map(|command| &command.upstream)
    }

    /// What a command has of the keys that every app has. `upstream`: what [`super::Config::upstream`] has it as.
    pub(crate) fn settle(&mut self, upstream: usize) {
        let Host::Command(command) = &mut self.kind else { return };
        command.proxy.upstream = upstream;
        let of = &mut command.upstream;
        of.name.clone_from(&self.name);
        (of.patience.silence, of.patience.total) = (self.timeout, self.stream_timeout);
        of.response_buffer = self.response_buffer;
    }
}

impl Section for ResponseBuffer {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("memory", &mut self.memory);
        keys.key("file", &mut self.file);
    }
}
