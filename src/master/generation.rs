//! One reading of the configuration, with everything that the master opened for it.

use super::env_files::EnvFiles;
use super::gates;
use super::keyring;
use super::listeners::{self, Inherited, Listening, Socket};
use super::roots::Roots;
use super::sticky;
use crate::balance::roster;
use crate::config::boot::Enrolled;
use crate::config::credentials::Credentials;
use crate::config::{self, AccessLog, App, Config, Keep, Sandbox, Upstream};
use crate::dispatch::board;
use crate::supervisor::templates::TemplatePlan;
use crate::supervisor::{Plan, PoolPlan, Upkeep};
use crate::sys::carried::Carried;
use crate::sys::place::{Directory, Place};
use crate::sys::sandbox;
use crate::sys::sink;
use crate::sys::user::{self, Account};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// The longest a worker may take to set itself up.
const WORKER_BOOT: Duration = Duration::from_secs(30);

/// Numbers of the pools: 0 is the workers; an app keeps its number as long as the master lives, and so does a daemon.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PoolNumbers {
    apps: BTreeMap<String, u16>,
    daemons: BTreeMap<String, u16>,
    upstreams: BTreeMap<String, u16>,
    servers: BTreeMap<String, u16>,
    /// Numbers of servers that others had before, and whose words are to be cleared.
    inherited: BTreeSet<u16>,
    /// Of the tags of servers.
    pub(super) key: sticky::Key,
}

impl PoolNumbers {
    fn of(&mut self, name: &str) -> Result<u16, String> {
        number(&mut self.apps, name, 1..board::POOLS, "apps")
    }

    /// Numbers beyond those of the board: no request ever asks for a daemon.
    pub(super) fn of_daemon(&mut self, name: &str) -> Result<u16, String> {
        number(&mut self.daemons, name, board::POOLS..usize::from(u16::MAX), "daemons")
    }

    /// Forgets the upstreams and servers that are in none of these configurations. What workers that drain still have there
    /// counts for whoever gets the number.
    fn forget(&mut self, configs: &[&Config]) {
        let all = || configs.iter().flat_map(|config| &config.upstreams);
        let upstreams: BTreeSet<&str> = all().map(|upstream| upstream.name.as_str()).collect();
        self.upstreams.retain(|name, _| upstreams.contains(name.as_str()));
        let servers: BTreeSet<String> = all().flat_map(servers_of).collect();
        let inherited = &mut self.inherited;
        self.servers.retain(|name, number| {
            let stays = servers.contains(name);
            if !stays {
                inherited.insert(*number);
            }
            stays
        });
    }

    /// The numbers of servers in use whose words are those of others that had them before.
    pub(super) fn take_inherited(&mut self) -> Vec<u16> {
        let (own, free) = std::mem::take(&mut self.inherited)
            .into_iter()
            .partition(|number| self.servers.values().any(|own| own == number));
        self.inherited = free;
        Vec::from_iter::<BTreeSet<u16>>(own)
    }

    /// What an upstream has on the roster: a server is one by its upstream and its address, or its name and a number.
    fn of_upstream(&mut self, upstream: &Upstream) -> Result<Enrolled, String> {
        let own = lowest(&mut self.upstreams, &upstream.name, roster::UPSTREAMS, "upstreams")?;
        let servers = servers_of(upstream);
        let servers = servers.map(|server| {
            let key = "servers of upstreams (a name is as 16)";
            lowest(&mut self.servers, &server, roster::SERVERS, key)
        });
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Enrolled { number: own, servers, tags: sticky::tags(upstream, &self.key) })
    }
}

/// What a pool of an app is known by: workers of an earlier generation go on with what they know of how its processes are
/// spoken to.
fn manner(app: &App) -> String {
    match app.kind.command() {
        None => app.name.clone(),
        Some(command) => {
            format!("{} {:?} {:?}", app.name, command.upstream.protocol, command.listens(&app.env))
        }
    }
}

/// What the places of an upstream's servers are known by.
fn servers_of(upstream: &Upstream) -> impl Iterator<Item = String> {
    let places =
        upstream.servers.iter().flat_map(|server| (0..server.address.places()).map(move |at| (server, at)));
    places.map(|(server, at)| {
        let number = server.address.name().map_or_else(String::new, |_| format!(" {at}"));
        format!("{} {}{number}", upstream.name, server.address)
    })
}

/// The number of what may be forgotten: the lowest that nobody has, below `room`.
fn lowest(known: &mut BTreeMap<String, u16>, name: &str, room: usize, key: &str) -> Result<u16, String> {
    if let Some(number) = known.get(name) {
        return Ok(*number);
    }
    let taken: BTreeSet<u16> = known.values().copied().collect();
    let number = (0..room as u16).find(|number| !taken.contains(number));
    let number = number.ok_or_else(|| format!("{key}: more than the {room} that are possible"))?;
    known.insert(name.to_owned(), number);
    Ok(number)
}

fn number(
    known: &mut BTreeMap<String, u16>,
    name: &str,
    room: Range<usize>,
    key: &str,
) -> Result<u16, String> {
    if let Some(number) = known.get(name) {
        return Ok(*number);
    }
    let next = room.start + known.len();
    let number = u16::try_from(next).ok().filter(|_| room.contains(&next));
    let number =
        number.ok_or_else(|| format!("{key}: no room for \"{name}\"; restart to forget removed ones"))?;
    known.insert(name.to_owned(), number);
    Ok(number)
}

/// A configuration that processes can be started from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Generation {
    /// The configuration. It travels as resolved: what the file says by now waits for the next reload.
    #[serde(with = "resolved")]
    pub(super) config: Rc<Config>,
    /// Its addresses, bound.
    #[serde(with = "listeners::saved")]
    pub(super) listening: Vec<Listening>,
    /// Its access logs, opened for appending, in the order of `Config::access_logs`.
    pub(super) access_logs: Vec<Carried>,
    /// What its files with variables said.
    pub(super) env_files: EnvFiles,
    /// Its temporary directory, opened to look names up in it; `None`: it could not be, and nothing needs it.
    pub(super) temp_dir: Option<Carried>,
    /// For each app its pool.
    pub(super) app_pools: Vec<u16>,
    /// For each daemon its pool.
    pub(super) daemon_pools: Vec<u16>,
    /// For each upstream what it has on the roster.
    pub(super) upstreams: Vec<Enrolled>,
    /// The user of workers; `None`: ours.
    pub(super) account: Option<Account>,
    /// The users of apps.
    app_accounts: Vec<Option<Account>>,
    /// The users of daemons.
    daemon_accounts: Vec<Option<Account>>,
    /// The users of cron jobs.
    pub(super) job_accounts: Vec<Option<Account>>,
    /// Its certificates, and who signs those of clients.
    pub(super) credentials: Credentials,
    /// What static roots are: a directory swapped for another of the same name is a change.
    pub(super) roots: Roots,
}

impl Generation {
    /// Looks up users, opens the log and binds what `config` needs; sockets of the generation `before` are used
    /// again, and so is a certificate that was made for it.
    ///
    /// # Errors
    /// For the operator. Nothing is left behind.
    pub(super) fn prepare(
        config: Config,
        before: Option<&Self>,
        inherited: &Inherited,
        numbers: &mut PoolNumbers,
    ) -> Result<Self, String> {
        let account = account("user", config.user.as_deref())?;
        let mut app_accounts = Vec::new();
        for app in &config.apps {
            let own =
                account_or(&format!("apps.{:?}.user", app.name), app.user.as_deref(), account.as_ref())?;
            app_accounts.push(own);
        }
        let default = |app: Option<usize>| match app {
            Some(app) => app_accounts.get(app).and_then(Option::as_ref),
            None => account.as_ref(),
        };
        let mut daemon_accounts = Vec::new();
        for daemon in &config.daemons {
            let key = format!("daemons.{:?}.user", daemon.name);
            daemon_accounts.push(account_or(&key, daemon.task.user.as_deref(), default(daemon.task.app))?);
        }
        let mut job_accounts = Vec::new();
        for (index, job) in config.cron.iter().enumerate() {
            let key = format!("cron[{index}].user");
            job_accounts.push(account_or(&key, job.task.user.as_deref(), default(job.task.app))?);
        }
        if let Some(problem) = config::check::temp_dir(&config) {
            return Err(problem.to_string());
        }
        // Where nothing needs it, what is wrong with it is nothing to stop for.
        let temp_dir = Directory::through_links(&config.temp_dir).ok().map(|found| found.descriptor.into());
        let missing = sandbox::missing();
        if config.sandbox == Sandbox::Require && !missing.is_empty() {
            let missing = missing.join(" and ");
            return Err(format!(
                "sandbox: this kernel does not offer {missing}; `sandbox: Try` goes without"
            ));
        }
        let workers = config.workers.processes.max as usize;
        if workers * 2 > board::WORKERS {
            let most = board::WORKERS / 2;
            return Err(format!("workers.processes: {workers} is more than the {most} that are possible"));
        }
        let app_pools = config.apps.iter().map(|app| numbers.of(&manner(app))).collect::<Result<_, _>>()?;
        let daemon_pools =
            config.daemons.iter().map(|daemon| numbers.of_daemon(&daemon.name)).collect::<Result<_, _>>()?;
        let in_use: Vec<&Config> = before.iter().map(|before| &*before.config).chain([&config]).collect();
        numbers.forget(&in_use);
        let upstreams = config.upstreams.iter().map(|upstream| numbers.of_upstream(upstream));
        let upstreams = upstreams.collect::<Result<_, _>>()?;
        let env_files = EnvFiles::read(&config, |_| true)?;
        let roots = Roots::of(&config);
        let known = before.map(|before| (&*before.config, &before.credentials));
        let credentials = keyring::certificates(&config, known)?;
        let open = before.map_or(&[][..], |before| &before.listening);
        let listening = listeners::bind(&config, open, inherited)?;
        let open = |(key, log): &(String, &AccessLog)| open_access_log(key, log, account.as_ref());
        let access_logs = config.access_logs().iter().map(open).collect::<Result<_, _>>()?;
        let config = Rc::new(config);
        Ok(Self {
            config,
            listening,
            access_logs,
            env_files,
            temp_dir,
            app_pools,
            daemon_pools,
            upstreams,
            account,
            app_accounts,
            daemon_accounts,
            job_accounts,
            credentials,
            roots,
        })
    }

    /// The plan for the supervisor; workers change if anything differs from the generation `before`, a daemon if
    /// something of its own does, or its app may have other code.
    pub(super) fn plan(&self, before: Option<&Self>) -> Plan {
        let config = &self.config;
        let workers = PoolPlan {
            index: 0,
            name: "worker".to_owned(),
            processes: config.workers.processes,
            most: crate::config::MOST_WORKERS,
            upkeep: Upkeep { idle: config.workers.idle, boot_timeout: WORKER_BOOT, ..Upkeep::default() },
            ..PoolPlan::default()
        };
        let apps = config.apps.iter().zip(&self.app_pools).map(|(app, index)| PoolPlan {
            index: *index,
            name: app.name.clone(),
            processes: app.processes,
            most: crate::config::MOST_PROCESSES,
            upkeep: app.upkeep,
            before: gates::all(app),
            ready_timeout: app.ready.as_ref().map_or(Duration::ZERO, |ready| ready.timeout),
            watched: app.reload_on_change,
            kept: app.preload && app.keep == Keep::Template,
            daemon: None,
        });
        Plan {
            pools: std::iter::once(workers).chain(apps).chain(self.daemon_plans(before)).collect(),
            workers_changed: before.is_none_or(|before| self.differs_from(before)),
            shutdown_timeout: config.shutdown_timeout,
            drain_timeout: config.drain_timeout,
            all_or_nothing: config.all_or_nothing,
            later: Vec::new(),
        }
    }

    /// What the preloaded apps say of their templates.
    pub(super) fn template_plans(&self) -> Vec<TemplatePlan> {
        let apps = self.config.apps.iter().zip(&self.app_pools).filter(|(app, _)| app.preload);
        let plan = |(app, pool): (&App, &u16)| TemplatePlan {
            pool: *pool,
            name: app.name.clone(),
            boot_timeout: app.upkeep.boot_timeout,
            keep: app.keep == Keep::Template,
        };
        apps.map(plan).collect()
    }

    /// At a start a static root that is missing costs its location.
    ///
    /// # Errors
    /// The start is to have all or nothing.
    pub(super) fn tell_missing_roots(&self) -> Result<(), String> {
        match self.missing_root() {
            Some(reason) if self.config.all_or_nothing => Err(reason),
            Some(reason) => {
                log::error!(target: "hatchery", "{reason}; until then its location answers 503");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Static roots that cannot be opened, and what to do.
    pub(super) fn missing_root(&self) -> Option<String> {
        let missing: Vec<String> = self.roots.missing().map(|path| path.display().to_string()).collect();
        let (which, hint) = match missing.as_slice() {
            [] => return None,
            [one] => (format!("the static root {one}"), "create it, or correct the path"),
            all => (format!("the static roots {}", all.join(", ")), "create them, or correct the paths"),
        };
        Some(format!("{which} cannot be opened; {hint} (`hatchery check` names the key)"))
    }

    /// Whether workers of the generation `before` cannot go on for this one.
    pub(super) fn differs_from(&self, before: &Self) -> bool {
        let (own, theirs) = (self.sockets(), before.sockets());
        let same_sockets =
            own.len() == theirs.len() && own.iter().zip(&theirs).all(|(one, two)| Rc::ptr_eq(one, two));
        self.config != before.config
            || self.roots != before.roots
            || self.account != before.account
            || !same_sockets
    }

    /// The index of the app in pool `pool`.
    pub(super) fn app(&self, pool: u16) -> Option<usize> {
        self.app_pools.iter().position(|number| *number == pool)
    }

    /// Its sockets, each once, in the order in which they are saved.
    pub(super) fn sockets(&self) -> Vec<Rc<Socket>> {
        listeners::saved::sockets(&self.listening)
    }

    /// The user of an app.
    pub(super) fn app_account(&self, app: usize) -> Option<&Account> {
        self.app_accounts.get(app).and_then(Option::as_ref)
    }

    /// The index of the daemon in pool `pool`.
    pub(super) fn daemon(&self, pool: u16) -> Option<usize> {
        self.daemon_pools.iter().position(|number| *number == pool)
    }

    /// The user of a daemon.
    pub(super) fn daemon_account(&self, daemon: usize) -> Option<&Account> {
        self.daemon_accounts.get(daemon).and_then(Option::as_ref)
    }

    /// Opens an access log again after it was moved away.
    ///
    /// # Errors
    /// For the operator; the old one stays in use.
    pub(super) fn reopen_access_log(&mut self, number: usize) -> Result<(), String> {
        let (logs, slot) = (self.config.access_logs(), self.access_logs.get_mut(number));
        let (Some((key, log)), Some(slot)) = (logs.get(number), slot) else {
            return Err("log.access: there is no such log".to_owned());
        };
        *slot = open_access_log(key, log, self.account.as_ref())?;
        Ok(())
    }

    /// Its access logs, by their paths.
    pub(super) fn logs_by_path(&self) -> BTreeMap<Option<&Path>, BorrowedFd<'_>> {
        let paths = self.config.access_logs().into_iter().map(|(_, log)| log.path.as_deref());
        paths.zip(self.access_logs.iter().map(|log| log.as_fd())).collect()
    }
}

/// The account called `name`.
///
/// # Errors
/// For the operator: no such user, or not the right to become it.
pub(super) fn account(key: &str, name: Option<&str>) -> Result<Option<Account>, String> {
    let Some(name) = name else { return Ok(None) };
    let found = Account::named(name).map_err(|error| format!("{key}: cannot look up \"{name}\": {error}"))?;
    let Some(account) = found else {
        return Err(format!(
            "{key}: there is no user \"{name}\"; create it (adduser --system {name}) or name another"
        ));
    };
    if !user::is_root() {
        if account.uid == user::uid() {
            // Already so; only root could set the groups again.
            return Ok(None);
        }
        return Err(format!(
            "{key}: only root can run processes as \"{name}\"; start as root or remove the key"
        ));
    }
    Ok(Some(account))
}

fn account_or(key: &str, name: Option<&str>, default: Option<&Account>) -> Result<Option<Account>, String> {
    if name.is_none() { Ok(default.cloned()) } else { account(key, name) }
}

fn open_access_log(key: &str, access: &AccessLog, account: Option<&Account>) -> Result<Carried, String> {
    let failed = |path: &Path, error: std::io::Error| {
        let hint =
            if error.kind() == std::io::ErrorKind::NotFound { "; its directory must exist" } else { "" };
        format!("{key}.path: cannot open {}: {error}{hint}", path.display())
    };
    match &access.path {
        Some(path) => {
            // A file of the workers' user is one that they write to anyway.
            let also: Vec<u32> = account.map(|account| account.uid).into_iter().collect();
            let opened = Place::through_links(path).and_then(|place| place.append(0o640, &also));
            opened.map(Carried::from).map_err(|error| failed(path, error))
        }
        None => {
            let own = sink::stream(std::io::stdout().as_fd());
            own.map(Carried::from).map_err(|error| failed(Path::new("standard output"), error))
        }
    }
}

/// As `hatchery config` prints it, and where it came from.
mod resolved {
    use super::{Config, Rc, config};
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(config: &Config, to: S) -> Result<S::Ok, S::Error> {
        (&config.origin, config::to_ron(config)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Rc<Config>, D::Error> {
        let (origin, text): (String, String) = Deserialize::deserialize(from)?;
        config::from_resolved(&text, &origin).map(Rc::new).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            D::Error::custom(format!("the configuration is not understood: {}", lines.join("\n")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Disk;
    use crate::config::flags::RunFlags;
    use crate::supervisor::Processes;

    fn configured(edit: impl FnOnce(&mut RunFlags)) -> Config {
        let mut flags = RunFlags {
            http: vec!["127.0.0.1:0".to_owned()],
            module: Some("shop.wsgi".to_owned()),
            chdir: Some("/tmp".to_owned()),
            processes: Some(2),
            ..RunFlags::default()
        };
        edit(&mut flags);
        config::from_flags(&flags, &Disk).unwrap()
    }

    fn prepare(config: Config, before: Option<&Generation>) -> Result<Generation, String> {
        Generation::prepare(config, before, &Inherited::default(), &mut PoolNumbers::default())
    }

    #[test]
    fn the_same_configuration_leaves_the_workers_alone_and_another_does_not() {
        let first = prepare(configured(|_| {}), None).unwrap();
        let plan = first.plan(None);
        assert!(plan.workers_changed);
        assert_eq!(plan.pools.iter().map(|pool| pool.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(plan.pools[1].processes, Processes { min: 2, max: 2 });
        let same = prepare(configured(|_| {}), Some(&first)).unwrap();
        assert!(!same.plan(Some(&first)).workers_changed);
        let other = prepare(configured(|flags| flags.threads = Some(4)), Some(&first)).unwrap();
        assert!(other.plan(Some(&first)).workers_changed);
    }

    #[test]
    fn a_static_root_that_was_swapped_is_a_change() {
        let folder = std::env::temp_dir().join(format!("hatchery-roots-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("one")).unwrap();
        std::fs::create_dir_all(folder.join("two")).unwrap();
        let current = folder.join("current");
        let files = |flags: &mut RunFlags| flags.static_ = vec![format!("/static/={}", current.display())];
        std::os::unix::fs::symlink(folder.join("one"), &current).unwrap();
        let first = prepare(configured(files), None).unwrap();
        std::fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink(folder.join("two"), &current).unwrap();
        let second = prepare(configured(files), Some(&first)).unwrap();
        assert!(second.plan(Some(&first)).workers_changed);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unknown_user_is_named_and_nothing_stays_bound() {
        let error =
            prepare(configured(|flags| flags.user = Some("no-such-user".to_owned())), None).unwrap_err();
        assert!(error.contains("there is no user \"no-such-user\""), "{error}");
        let taken = crate::sys::listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let crate::sys::listener::Local::Tcp(address) = taken.local else { panic!() };
        let error = prepare(configured(|flags| flags.http = vec![address.to_string()]), None).unwrap_err();
        assert!(error.starts_with("sites[0].listen[0]: ") && error.contains("in use"), "{error}");
    }

    /// A configuration with an upstream of these servers.
    fn balanced(ports: std::ops::Range<usize>) -> Config {
        let servers: Vec<String> = ports.map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let text = format!(
            "(sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Proxy(\"u\"))])], \
             upstreams: {{\"u\": (servers: [{}])}})",
            servers.join(", ")
        );
        let folder = std::env::temp_dir().join(format!("hatchery-servers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("hatchery.ron"), text).unwrap();
        config::load(&folder.join("hatchery.ron"), &Disk).unwrap()
    }

    #[test]
    fn servers_come_and_go_for_ever_and_nothing_is_left_of_those_before() {
        let mut numbers = PoolNumbers::default();
        let mut prepare = |config, before: Option<&Generation>| {
            let generation = Generation::prepare(config, before, &Inherited::default(), &mut numbers);
            (generation, numbers.take_inherited())
        };
        let mut before = prepare(balanced(2_000..2_400), None).0.unwrap();
        for first in [2_400, 2_800, 3_200, 3_600] {
            let (after, inherited) = prepare(balanced(first..first + 400), Some(&before));
            let after = after.unwrap();
            let own = &after.upstreams[0].servers;
            assert!(
                own.iter().all(|number| !before.upstreams[0].servers.contains(number)),
                "both are in use"
            );
            assert!(inherited.iter().all(|number| own.contains(number)));
            assert_eq!(inherited.is_empty(), first == 2_400, "{first}");
            before = after;
        }
        // Who stays keeps its number, and what is known of it.
        let (same, inherited) = prepare(balanced(3_600..4_000), Some(&before));
        let same = same.unwrap();
        assert_eq!((&same.upstreams, inherited), (&before.upstreams, vec![]));
        // Both are there while a reload goes on.
        let error = prepare(balanced(5_000..5_700), Some(&same)).0.unwrap_err();
        assert!(error.contains("more than the 1024 that are possible"), "{error}");
    }

    #[test]
    fn an_app_keeps_its_pool_as_long_as_the_master_lives() {
        let mut numbers = PoolNumbers::default();
        assert_eq!((numbers.of("shop"), numbers.of("blog"), numbers.of("shop")), (Ok(1), Ok(2), Ok(1)));
        (3..board::POOLS).for_each(|index| assert!(numbers.of(&format!("app {index}")).is_ok()));
        assert!(numbers.of("one too many").unwrap_err().contains("no room"));
        assert_eq!(numbers.of("blog"), Ok(2));
    }
}
