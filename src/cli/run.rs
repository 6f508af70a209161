//! `hatchery run`.

use super::{Failure, Worker, locate};
use crate::config::flags::RunFlags;
use crate::config::{self, App, Config, Disk, Examined, check, publish};
use crate::control::command::Identity;
use crate::master::{self, Load, Refused, Start, logger};
use clap::Args;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Start the server in the foreground, from a file or from flags
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hatchery run                                   with ./hatchery.ron or /etc/hatchery/hatchery.ron\n  \
    hatchery run --http :8000 --module config.wsgi --home .venv --static /static/=staticfiles\n  \
    hatchery run --acme shop.example --module config.wsgi --static /static/=staticfiles --user www-data\n  \
    hatchery run --http 127.0.0.1:8000 --module shop:app --processes 4 --threads 2\n\n\
    Stop it with Ctrl-C or `hatchery stop`; HUP or `hatchery reload` reloads the code without losing a request.")]
pub(super) struct Arguments {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE", conflicts_with = "flags")]
    config: Option<PathBuf>,
    /// The same, without a flag
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "flags"])]
    file: Option<PathBuf>,
    /// Where commands like `hatchery status` reach this server
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// What a command makes of a configuration that was read.
type Adapt = Box<dyn Fn(&mut Config)>;

/// What another command adds to `run`.
#[derive(Default)]
pub(super) struct Manner {
    /// What it makes of a configuration.
    pub(super) adapt: Option<Adapt>,
    /// Where it listens if no flag says so.
    pub(super) http: Option<&'static str>,
    /// Directories with code.
    pub(super) watch: Vec<String>,
}

impl Arguments {
    /// Whether nothing says what to run.
    pub(super) fn is_empty(&self) -> bool {
        self.config.is_none() && self.file.is_none() && self.is_file()
    }

    /// Whether a file says what to run, named or not.
    pub(super) fn is_file(&self) -> bool {
        !self.flags.given()
    }
}

/// One app without a file, as `uwsgi --http` users type it.
#[derive(Debug, Args)]
#[group(id = "flags", multiple = true)]
struct Flags {
    /// Address to listen on: `:8000` (every interface), `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/x.sock`; may be
    /// given several times [default: :8000; of `dev` 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    http: Vec<String>,
    /// Python module of the app, `config.wsgi`; with `:name` if the callable is not called `application`
    #[arg(long, value_name = "MODULE[:CALLABLE]")]
    module: Option<String>,
    /// Directory of the project, where the module is imported from [default: the current one]
    #[arg(long, value_name = "DIR")]
    chdir: Option<String>,
    /// Virtualenv of the app [default: .venv, venv or env in its directory, else the python3 on PATH]
    #[arg(long, value_name = "VENV")]
    home: Option<String>,
    /// Serve the files of a directory under a prefix, without asking the app; may be given several times
    #[arg(long = "static", value_name = "/PREFIX/=DIR")]
    static_: Vec<String>,
    /// Let --static serve a project, with its source and secrets
    #[arg(long)]
    allow_source: bool,
    /// Processes of the app [default: 1]
    #[arg(long, value_name = "N")]
    processes: Option<u32>,
    /// Threads in each process, that is requests it handles at a time [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Environment variable of the app; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Serve HTTPS for this name, with a certificate of Let's Encrypt that is had and renewed by itself: its DNS must lead
    /// here. Listens on :443, and on :80 unless --http says otherwise; several names: several times
    #[arg(long, value_name = "NAME")]
    acme: Vec<String>,
    /// With --acme: where the authority reaches you
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    email: Option<String>,
    /// User that workers and app run as (only as root)
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Start processes with the first request and stop them when nobody asks
    #[arg(long)]
    cheap: bool,
    /// With --cheap: how long without a request until processes stop [default: 10m]
    #[arg(long, value_name = "TIME", requires = "cheap")]
    idle: Option<String>,
}

impl Flags {
    fn given(&self) -> bool {
        let texts = [&self.module, &self.chdir, &self.home, &self.user, &self.idle, &self.email];
        let lists = [&self.http, &self.static_, &self.env, &self.acme];
        self.cheap
            || self.allow_source
            || self.processes.or(self.threads).is_some()
            || texts.iter().any(|text| text.is_some())
            || lists.iter().any(|list| !list.is_empty())
    }
}

/// Runs the server until it is told to stop.
pub(super) fn execute(arguments: Arguments, worker: Worker) -> Result<u8, Failure> {
    execute_as(arguments, Manner::default(), worker)
}

/// The same, in the manner of another command.
pub(super) fn execute_as(arguments: Arguments, manner: Manner, worker: Worker) -> Result<u8, Failure> {
    master::heed_only_ends();
    let Arguments { config, file, control, mut flags } = arguments;
    let given = flags.given();
    if let Some(http) = manner.http.filter(|_| flags.http.is_empty() && flags.acme.is_empty()) {
        flags.http.push(http.to_owned());
    }
    let mut identity = locate::here();
    let mut found = None;
    let load: Load = if given {
        let flags = RunFlags {
            http: flags.http,
            module: flags.module,
            chdir: flags.chdir,
            home: flags.home,
            static_: flags.static_,
            allow_source: flags.allow_source,
            processes: flags.processes,
            threads: flags.threads,
            env: flags.env,
            user: flags.user,
            control: control.as_ref().map(|path| path.to_string_lossy().into_owned()),
            cheap: flags.cheap,
            idle: flags.idle,
            acme: flags.acme,
            email: flags.email,
            watch: manner.watch,
        };
        Box::new(move |_: Option<&Path>| {
            let config = config::from_flags(&flags, &Disk).map_err(|problems| locate::lines(&problems))?;
            if flags.home.is_none() {
                config.apps.iter().for_each(tell_virtualenv);
            }
            Ok(config)
        })
    } else {
        match locate::file(config.or(file).as_deref()) {
            Ok(file) => {
                // The master may be asked to reload when its directory has another meaning.
                let file = std::path::absolute(&file).unwrap_or(file);
                identity.config = locate::of_file(&file).config;
                found = Some(file);
                Box::new(|file: Option<&Path>| load_file(file.ok_or("no configuration")?))
            }
            // A server that goes on has its configuration, and knows its file: it is missed by the next reload, if at all.
            Err(Failure::Usage(text) | Failure::Failed(text)) if master::is_upgrade() => {
                Box::new(move |file: Option<&Path>| load_file(file.ok_or(text.as_str())?))
            }
            Err(failure) => return Err(failure),
        }
    };
    let adapt = manner.adapt;
    let load = move |file: Option<&Path>| {
        let mut config = load(file)?;
        adapt.iter().for_each(|adapt| adapt(&mut config));
        Ok(config)
    };
    start(Box::new(load), found, control, identity, worker)
}

/// Nobody has named it.
fn tell_virtualenv(app: &App) {
    if let Some(home) = &app.home {
        let (name, home) = (&app.name, home.display());
        log::info!(target: "hatchery", "app {name}: runs in the virtualenv {home}, which was found there (--home takes another)");
    }
}

fn load_file(file: &Path) -> Result<Config, String> {
    // What the machine lacks fails later, if at all, and then says less of the place and the way out.
    let look = |config: &Config, _| (Vec::new(), check::environment(config));
    let Examined { config, problems, warnings } = config::examine(file, &Disk, look);
    let config = config.ok_or_else(|| locate::lines(&problems))?;
    warnings.iter().for_each(|warning| log::warn!(target: "hatchery", "{warning}"));
    Ok(config)
}

/// What may be started from: configurations that publish nothing that they must not.
fn judged(load: Load) -> Load {
    let served = RefCell::new(Vec::new());
    Box::new(move |file: Option<&Path>| {
        let mut config = load(file)?;
        config.sites.iter_mut().for_each(|site| site.pin_roots(&Disk));
        let judgement = publish::judge(&config, &served.borrow(), &Disk);
        if !judgement.refused.is_empty() {
            return Err(locate::lines(&judgement.refused));
        }
        judgement.warnings.iter().for_each(|warning| log::warn!(target: "hatchery", "{warning}"));
        served.replace(judgement.roots);
        Ok(config)
    })
}

/// Runs a master with this configuration, which is judged here whenever the master reads it: at the start, at a reload
/// and in the trial of an upgrade.
pub(super) fn start(
    load: Load,
    file: Option<PathBuf>,
    control: Option<PathBuf>,
    identity: Identity,
    worker: Worker,
) -> Result<u8, Failure> {
    logger::begin();
    let control = control.map(|path| std::path::absolute(&path).unwrap_or(path));
    master::run(Start { load: judged(load), file, worker, control, identity }).map_err(
        |refused| match refused {
            Refused::Configuration(text) => Failure::Usage(text),
            Refused::Environment(text) => Failure::Failed(text),
        },
    )
}
