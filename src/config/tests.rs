//! Loading from memory: what is understood, and each kind of mistake with its message.

use super::*;
use crate::h1::Settings;
use crate::policy::Policies;
use crate::policy::compress::Compressing;
use crate::route::{HostPattern, Matcher};
use crate::supervisor::Processes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

mod caching;
mod compress;
mod conditions;
mod limits;
mod linear;
mod mistakes;
mod reference;
mod tls;

/// Files and an environment in memory; the current directory is `/etc/hatchery`.
#[derive(Default)]
pub(super) struct Memory {
    files: BTreeMap<PathBuf, String>,
    env: BTreeMap<String, String>,
    /// The files that were read.
    read: RefCell<Vec<PathBuf>>,
}

impl Memory {
    pub(super) fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(Path::new("/etc/hatchery").join(path), text.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Source for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.read.borrow_mut().push(path.to_owned());
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let name = |path: &Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let same = |path: &&PathBuf| path.parent() == pattern.parent();
        let found =
            self.files.keys().filter(same).filter(|path| source::matches(&name(pattern), &name(path)));
        Ok(found.cloned().collect())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("/usr/bin/python3") || self.files.contains_key(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("/var/tmp")
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/etc/hatchery")
    }

    fn cpus(&self) -> u32 {
        3
    }
}

fn load_text(text: &str) -> Result<Config, Vec<Problem>> {
    load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", text))
}

/// The lines that are printed for a file.
fn lines(source: &Memory) -> Vec<String> {
    match load(Path::new("hatchery.ron"), source) {
        Ok(config) => panic!("it loads: {config:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The only problem of a file with this in its site, whose location begins at line 3, column 5.
fn one(text: &str) -> String {
    let lines = lines(&Memory::default().with("hatchery.ron", text));
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.into_iter().next().unwrap_or_default()
}

/// A good site with one location, whose text starts at line 1, column 43.
fn location(text: &str) -> String {
    format!("(sites: [(listen: [\":8000\"], locations: [({text})])])")
}

/// A good file that begins with these sections.
fn main(fields: &str) -> String {
    format!("({fields}, {}", &location("path: \"/\", to: Respond()")[1..])
}

/// A file with one app `shop` of these fields, which start at line 1, column 37.
fn app(fields: &str) -> String {
    format!(
        "(apps: {{\"shop\": (module: \"app:app\", {fields})}},\n{}",
        &location("path: \"/\", to: App(\"shop\")")[1..]
    )
}

const CONTRACT: &str = r#"(
    user: "www-data",
    pid_file: "/run/hatchery/hatchery.pid",
    control: (path: "control.sock", group: "deploy"),
    shutdown_timeout: "20s",
    drain_timeout: "5m",
    start: AllOrNothing,
    temp_dir: "/srv/tmp",
    resolver: (servers: ["10.0.0.2", "[::1]:5353"]),
    workers: (processes: (min: 1, max: 4), idle: "1m", connections: 500, buffers: "8MiB", limits: (open_files: 1000, core: "1GiB"),
              oom_score_adj: -100),
    log: (level: "debug", access: (path: "log/access.log", format: Json)),
    limits: (head: "64KiB", keepalive_requests: 0),
    default_site: "shop.example",
    conditions: {"bots": (header: ("User-Agent", "~*bot")), "beta": (any: ["bots", (query: ("beta", ["1", "~^y"]))], client: "unix:")},
    sites: [
        (
            names: ["Shop.example", "*.shop.example", "shop.*", "~^s[0-9]"],
            canonical: "shop.example",
            rewrite: [(regex: "^/a(.)", to: "/b$1"), (to: "/c", when: "bots")],
            listen: ["0.0.0.0:80", (address: "[::]:80"), "unix:run/x.sock", (address: "unix:y", protocol: Uwsgi, mode: "660", group: "www"),
                     (address: ":81", proxy_protocol: ["10.0.0.0/8", "unix:"])],
            max_body: "5MiB",
            headers: [Secure, (set: {"X-Host": "$host"}, default: {"X-D": "$$1"}, status: [404, "5xx"]), {"X-A": "1"}],
            cors: (origins: ["https://*.a.example", "http://localhost:*"], headers: "*", credentials: true, max_age: "1h"),
            trusted_proxies: ["10.0.0.0/8", "unix:"],
            client_address: "CF-Connecting-IP",
            locations: [
                (exact: "/robots.txt", to: Respond(status: 200, body: "User-agent: *\n", content_type: "text/plain")),
                (path: "/static/", to: Files(root: "static", cache: "immutable"), over_regex: true),
                (path: "/media/", to: Files("media"), headers: None, cors: None),
                (path: "/api/", to: Proxy("api"), max_body: "1GiB"),
                (path: "/live/", to: Proxy(name: "api", buffering: Off), headers: (add: {"Vary": "Cookie"}, remove: ["X-A"]), cors: "*"),
                (path: "/old/", to: Redirect(status: 301, location: "/new$rest")),
                (regex: "\\.php$", to: Proxy(name: "api", rewrite: "/p$path", host: "php")),
                (path: "/blog", to: App(name: "shop", mount: "/blog/")),
                (path: "/v1/", to: Proxy(name: "api", strip: true, request_headers: (set: {"A": "1"}, remove: ["B"]))),
                (path: "/", to: App("shop")),
                (path: "/re/", methods: ["GET", "POST"], when: "bots", unless: "beta", rewrite: "/api/x$rest"),
                (regex: "(?<name>x)", rewrite: (to: "/api/$name$1", unless: "beta"), to: Respond()),
            ],
        ),
    ],
    apps: {
        "shop": (
            module: "config.wsgi", chdir: "/srv/shop", home: ".venv",
            env: {"DJANGO_SETTINGS_MODULE": "config.settings", "A": "1"},
            processes: (min: 0, max: 4), threads: 2, idle: "5m", timeout: "30s", stream_timeout: "1h", stop_timeout: "3s", prove: true,
            user: "shop",
            preload: true, keep: Template, before: [["python", "manage.py", "migrate", "--check"], ["true"]],
            reload_on_change: true, live_reload: true, watch: ["../lib", "/srv/more"],
            response_buffer: (memory: "1MiB", file: "0B"),
        ),
    },
    upstreams: {
        "api": (protocol: Http, balance: RoundRobin, keepalive: 4,
                servers: ["localhost:9001", (address: "unix:/run/api.sock", weight: 2)]),
        "mail": (servers: ["localhost:9002"], proxy_protocol: V2, forwarded: true, response_buffer: (memory: "1MiB", file: "0B")),
        "php": (protocol: FastCgi, servers: ["unix:/run/php.sock"], root: "blog", index: "/index.php"),
        "uwsgi": (protocol: Uwsgi, servers: ["localhost:3031", "app_1.internal:3031", "srv:_uwsgi._tcp.internal"]),
    },
    cron: [
        (name: "clearsessions", at: "17 3 * * *", command: ["python", "manage.py", "clearsessions"], app: "shop",
         timeout: "5m", overlap: Queue, timezone: "Asia/Seoul"),
    ],
) // the end"#;

#[test]
fn the_contract_s_example_is_understood() {
    let config = load_text(CONTRACT).unwrap();
    assert_eq!(config.user.as_deref(), Some("www-data"));
    assert_eq!(config.workers.processes, Processes { min: 1, max: 4 });
    let limits = &config.workers.resources;
    assert_eq!((limits.open_files, limits.core, limits.processes), (Some(1000), Some(1 << 30), None));
    assert_eq!(limits.oom_score_adj, Some(-100));
    assert_eq!(
        config.log.access.as_ref().unwrap().path.as_deref(),
        Some(Path::new("/etc/hatchery/log/access.log"))
    );
    assert_eq!(
        config.limits,
        Limits {
            connection: Settings { head: 65536, keepalive_requests: 0, ..Settings::default() },
            ..Limits::default()
        }
    );
    assert_eq!(config.default_site, DefaultSite::Site(0));
    let site = &config.sites[0];
    assert_eq!(site.label, "shop.example");
    assert_eq!(site.names[1], HostPattern::Suffix(".shop.example".to_owned()));
    let control = Control { path: "/etc/hatchery/control.sock".into(), group: Some("deploy".to_owned()) };
    assert_eq!(config.control, Some(control));
    assert!(site.listen[2].is_open() && !site.listen[3].is_open());
    assert_eq!(site.listen[2], Address::Unix("/etc/hatchery/run/x.sock".into()).into());
    assert_eq!(site.locations[1].matcher, Matcher::Prefix { path: "/static/".to_owned(), over_regex: true });
    let immutable = Files { cache: Cache::Immutable, ..Files::new("/etc/hatchery/static".into()) };
    assert_eq!(*site.locations[1].handler, Handler::Files(immutable));
    let most = |location: usize| site.locations[location].policies.max_body;
    assert_eq!((most(2), most(3)), (Some(5 << 20), Some(1 << 30)));
    assert_eq!(*site.locations[7].handler, Handler::App { app: 0, mount: "/blog".to_owned() });
    let app = &config.apps[0];
    let Host::Python(python) = &app.kind else { panic!("{app:?}") };
    assert_eq!((python.module.as_str(), python.callable.as_str()), ("config.wsgi", "application"));
    assert_eq!((python.threads, app.kind.units()), (2, 2));
    assert_eq!(app.kind.hand_over(), HandOver::Whole { in_frames: 64 << 10 });
    assert_eq!(python.python, Path::new("/etc/hatchery/.venv/bin/python"));
    assert_eq!((app.preload, app.keep), (true, Keep::Template));
    assert_eq!(app.env[1], ("A".to_owned(), "1".to_owned()));
    assert!(app.reload_on_change && app.live_reload);
    assert_eq!(app.watch, [Path::new("/etc/hatchery/../lib"), Path::new("/srv/more")]);
    assert_eq!(config.upstreams[0].servers[1].weight, 2);
    assert_eq!(config.cron[0].task.app, Some(0));
    assert_eq!(config.cron[0].overlap, crate::cron::Overlap::Queue);
}

#[test]
fn daemons_come_from_all_files_and_know_each_other() {
    let main = r#"(
        sites: [(listen: [":80"], locations: [(path: "/", to: App("shop"))])],
        apps: {"shop": (module: "x")},
        daemons: {"celery": (command: ["celery"], app: "shop", after: ["redis", "shop"], reload_signal: Hup)},
        include: ["more/*.ron"],
    )"#;
    let more = r#"(daemons: {"redis": (command: ["./redis"], stop_timeout: "1m")})"#;
    let files = Memory::default().with("hatchery.ron", main).with("more/redis.ron", more);
    let config = load(Path::new("hatchery.ron"), &files).unwrap();
    let [celery, redis] = &config.daemons[..] else { panic!("{:?}", config.daemons) };
    assert_eq!((celery.name.as_str(), celery.task.app, &celery.task.chdir), ("celery", Some(0), &None));
    assert_eq!(celery.after, [Dependency::Daemon(1), Dependency::App(0)]);
    assert_eq!((celery.stop_signal, celery.reload_signal), (Signal::Term, Some(Signal::Hup)));
    assert_eq!(celery.upkeep.boot_timeout, Duration::from_secs(1));
    assert_eq!(
        redis.task.chdir.as_deref(),
        Some(Path::new("/etc/hatchery/more")),
        "a relative command is found from its file"
    );
    assert_eq!(
        (redis.upkeep.stop_timeout, redis.processes, redis.overlap),
        (Duration::from_secs(60), 1, false)
    );
}

#[test]
fn fewer_open_files_than_connections_are_a_warning() {
    let of = |files: u32| {
        let text = app_with_workers(&format!("connections: 500, limits: (open_files: {files})"));
        let files = Memory::default().with("hatchery.ron", &text);
        let (_, warnings) = load_with_warnings(Path::new("hatchery.ron"), &files).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let what = "workers: `limits.open_files` (499) is less than `connections` (500); raise it, or lower `connections`";
    let [warning] = &of(499)[..] else { panic!("one warning") };
    assert!(warning.ends_with(what), "{warning}");
    assert!(of(500).is_empty());
}

#[test]
fn defaults_are_filled_in() {
    let config = load_text(&app("")).unwrap();
    assert_eq!(config.workers.processes, Processes { min: 3, max: 3 });
    assert_eq!(config.temp_dir, Path::new("/var/tmp"));
    assert_eq!(
        config.sites[0].policies,
        Policies { max_body: Some(20 << 20), compress: Compressing::Off, ..Policies::default() }
    );
    assert_eq!(config.sites[0].label, "site 1");
    let app = &config.apps[0];
    assert_eq!(app.processes, Processes { min: 1, max: 1 });
    assert_eq!((app.kind.units(), app.upkeep.prove, app.timeout), (1, false, Duration::from_secs(60)));
    assert_eq!((app.preload, app.keep), (false, Keep::Nothing));
    assert_eq!(app.chdir, Path::new("/etc/hatchery"));
    assert_eq!(app.kind.interpreter(), Some(Path::new("/usr/bin/python3")));
    let cheap = load_text(&app_with_workers("cheap: true")).unwrap();
    assert_eq!(cheap.workers.processes, Processes { min: 0, max: 3 });
}

fn app_with_workers(fields: &str) -> String {
    format!("(workers: ({fields}), {}", &location("path: \"/\", to: Respond(body: \"x\")")[1..])
}

#[test]
fn what_is_written_loads_to_the_same() {
    for text in [CONTRACT.to_owned(), app(""), app_with_workers("cheap: true")] {
        let config = load_text(&text).unwrap();
        let written = to_ron(&config);
        assert_eq!(load_text(&written).as_ref(), Ok(&config), "{written}");
        assert_eq!(from_resolved(&written, &config.origin).as_ref(), Ok(&config), "{written}");
    }
    let odd = location(r#"path: "/", to: Respond(body: "\"$${X}\"\\ \t\u{7} ü", content_type: "a/b")"#);
    let config = load_text(&odd).unwrap();
    let Handler::Respond(Respond { body, .. }) = &*config.sites[0].locations[0].handler else {
        panic!("not a respond")
    };
    assert_eq!(body, "\"${X}\"\\ \t\u{7} ü");
    assert_eq!(load_text(&to_ron(&config)), Ok(config));
}

#[test]
fn what_files_fall_back_to_is_their_location_s() {
    let of = |fallback: &str| {
        let place = location(&format!("path: \"/\", to: Files(root: \"public\"{fallback})"));
        let config = load_text(&format!("(apps: {{\"s\": (module: \"s\")}},{}", &place[1..])).unwrap();
        assert_eq!(load_text(&to_ron(&config)).as_ref(), Ok(&config), "{}", to_ron(&config));
        let location = &config.sites[0].locations[0];
        let Handler::Files(files) = &*location.handler else { panic!("not files") };
        (files.stand_in.clone(), location.fallback.clone())
    };
    let app = Handler::App { app: 0, mount: String::new() };
    assert_eq!(of(""), (None, Fallback::Status(404)));
    assert_eq!(of(", fallback: 410"), (None, Fallback::Status(410)));
    assert_eq!(of(", fallback: \"/a/index.html\""), (Some("a/index.html".to_owned()), Fallback::Status(404)));
    assert_eq!(of(", fallback: App(\"s\")"), (None, Fallback::Handler(app.into())));
}

#[test]
fn none_is_what_a_key_s_name_for_none_is() {
    let log = |log: &str| load_text(&main(&format!("log: ({log})"))).unwrap().log;
    assert_eq!(log("access: None, request_id: None"), log("access: Off, request_id: Off"));
    assert!(log("level: None").access.is_some() && log("access: None").access.is_none());
    let site =
        |log: &str| load_text(&main("user: \"x\"").replace("locations", &format!("log: ({log}), locations")));
    assert_eq!(site("access: None"), site("access: Off"));
    assert!(site("access: Off").unwrap().access_log(Some(0)).is_none());
}

#[test]
fn a_site_without_a_log_of_its_own_has_the_server_s_and_a_path_is_opened_once() {
    let site = |name: &str, log: &str| {
        format!("(names: [\"{name}\"], listen: [\":80\"], {log} locations: [(path: \"/\", to: Respond())])")
    };
    let own = "log: (access: (path: \"/a\", format: Json)),";
    let text = format!(
        "(log: (access: (path: \"/server\")), sites: [{}, {}, {}, {}, {}])",
        site("a", own),
        site("b", "log: (access: (path: \"/a\")),"),
        site("c", "log: (access: Off),"),
        site("d", "log: (access: (path: \"/dev/stdout\")),"),
        site("e", ""),
    );
    let config = load_text(&text).unwrap();
    let paths = |config: &Config| -> Vec<(String, Option<PathBuf>)> {
        config.access_logs().into_iter().map(|(key, log)| (key, log.path.clone())).collect()
    };
    let file = |path: &str| Some(PathBuf::from(path));
    let key = |site: u32| format!("sites[{site}].log.access");
    let want = [("log.access".to_owned(), file("/server")), (key(0), file("/a")), (key(3), None)];
    assert_eq!(paths(&config), want);
    let of = |site| config.access_log(site).map(|log| (log.path.clone(), log.format));
    let (json, combined) = (crate::accesslog::Format::Json, crate::accesslog::Format::Combined);
    assert_eq!((of(Some(0)), of(Some(1))), (Some((file("/a"), json)), Some((file("/a"), combined))));
    assert_eq!((of(Some(2)), of(Some(3))), (None, Some((None, combined))));
    assert_eq!((of(Some(4)), of(None)), (Some((file("/server"), combined)), of(Some(4))));
    let written = to_ron(&config);
    assert_eq!(load_text(&written).as_ref(), Ok(&config), "{written}");
}

#[test]
fn explicit_options_mean_the_same_as_none() {
    assert_eq!(
        load_text(&app("home: None, user: Some(\"shop\"), threads: Some(2)")),
        load_text(&app("user: \"shop\", threads: 2"))
    );
}

fn flags(change: impl FnOnce(&mut flags::RunFlags)) -> Result<Config, Vec<String>> {
    let mut run = flags::RunFlags { module: Some("config.wsgi".to_owned()), ..flags::RunFlags::default() };
    change(&mut run);
    from_flags(&run, &Memory::default())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn flags_make_one_site_for_any_host() {
    let config = flags(|run| {
        run.http = vec![":8000".to_owned(), "unix:x.sock".to_owned()];
        run.chdir = Some("/srv/shop".to_owned());
        run.home = Some(".venv".to_owned());
        run.static_ = vec!["/static=static".to_owned(), "/media/=/srv/media".to_owned()];
        run.env = vec!["A=1".to_owned(), "B=x=y".to_owned(), "A=2".to_owned()];
        run.processes = Some(4);
        run.threads = Some(2);
    })
    .unwrap();
    let site = &config.sites[0];
    assert!(site.names.is_empty());
    assert_eq!(
        site.listen,
        [Address::Any(8000), Address::Unix("/etc/hatchery/x.sock".into())].map(Listen::from)
    );
    assert_eq!(site.locations[0].matcher, Matcher::Prefix { path: "/static/".to_owned(), over_regex: false });
    assert_eq!(*site.locations[0].handler, Handler::Files(Files::new("/etc/hatchery/static".into())));
    assert_eq!(*site.locations[2].handler, Handler::App { app: 0, mount: String::new() });
    let app = &config.apps[0];
    let Host::Python(python) = &app.kind else { panic!("{app:?}") };
    assert_eq!(
        (app.name.as_str(), python.module.as_str(), python.callable.as_str()),
        ("shop", "config.wsgi", "application")
    );
    assert_eq!(python.python, Path::new("/etc/hatchery/.venv/bin/python"));
    assert_eq!(app.env, [("B".to_owned(), "x=y".to_owned()), ("A".to_owned(), "2".to_owned())]);
    assert_eq!((app.processes, python.threads, app.upkeep.prove), (Processes { min: 4, max: 4 }, 2, false));
    assert_eq!(config.workers.processes, Processes { min: 3, max: 3 });
    assert_eq!(config.origin, "command line");
    let again = load_text(&to_ron(&config)).unwrap();
    assert_eq!(Config { origin: config.origin.clone(), ..again }, config);
    assert_eq!(from_resolved(&to_ron(&config), &config.origin), Ok(config));
}

#[test]
fn cheap_is_nothing_until_asked() {
    let config = flags(|run| (run.cheap, run.idle) = (true, Some("2s".to_owned()))).unwrap();
    assert_eq!(config.workers.processes, Processes { min: 0, max: 3 });
    assert_eq!(config.workers.idle, Duration::from_secs(2));
    let app = &config.apps[0];
    assert_eq!(
        (app.processes, app.upkeep.prove, app.upkeep.idle),
        (Processes { min: 0, max: 1 }, true, Duration::from_secs(2))
    );
}

#[test]
fn a_name_is_all_that_https_takes() {
    let config = flags(|run| {
        run.acme = vec!["shop.example".to_owned(), "www.shop.example".to_owned()];
        run.email = Some("admin@shop.example".to_owned());
    });
    let text = r#"(sites: [(names: ["shop.example", "www.shop.example"], listen: [":80"],
        tls: Acme(email: "admin@shop.example"), locations: [(path: "/", to: Respond(status: 204))])])"#;
    let file = load(Path::new("/etc/hatchery/h.ron"), &Memory::default().with("h.ron", text)).unwrap();
    let (flags_site, file_site) = (&config.unwrap().sites[0], &file.sites[0]);
    assert_eq!((&flags_site.label, &flags_site.names), (&file_site.label, &file_site.names));
    assert_eq!((&flags_site.listen, &flags_site.tls), (&file_site.listen, &file_site.tls));
    let lines = flags(|run| {
        run.acme = ["*.shop.example", "127.0.0.1", "a b"].map(str::to_owned).to_vec();
        run.email = Some("admin".to_owned());
    });
    let lines = lines.unwrap_err();
    for (flag, text) in [
        ("--acme", "wildcard"),
        ("--acme", "is an address"),
        ("--acme", "a b"),
        ("--email", "not an address of mail"),
    ] {
        assert!(
            lines.iter().any(|line| line.contains(flag) && line.contains(text)),
            "{flag} {text}: {lines:?}"
        );
    }
    let lines = flags(|run| run.acme = vec!["https://shop.example/".to_owned()]).unwrap_err();
    assert!(!lines.iter().any(|line| line.contains("needs names")), "{lines:?}");
}

#[test]
fn flags_have_all_their_mistakes_named() {
    let lines = flags(|run| {
        run.http = vec!["8000".to_owned()];
        run.module = Some("app.py".to_owned());
        run.static_ = vec!["/static/".to_owned()];
        run.idle = Some("10".to_owned());
    })
    .unwrap_err();
    assert_eq!(
        lines,
        [
            "command line: --idle: `10` has no unit; write a number and a unit: \"500ms\", \"30s\", \"10m\", \"2h\", \"7d\"",
            "command line: --static: `/static/` is not a prefix and a directory; for example --static /static/=staticfiles",
            "command line: --module: `app.py` is a file, not a module; did you mean \"app:application\"?",
            "command line: --http: `8000` is not an address; did you mean \":8000\"?",
        ]
    );
    assert!(flags(|run| run.module = None).unwrap_err()[0].contains("nothing to run"));
    assert!(flags(|run| run.processes = Some(0)).unwrap_err()[0].contains("at least 1 process"));
    assert!(flags(|run| run.threads = Some(65)).unwrap_err()[0].contains("from 1 to 64"));
    assert!(flags(|run| run.env = vec!["A".to_owned()]).unwrap_err()[0].contains("--env: `A` has no `=`"));
    let twice = flags(|run| run.http = vec![":80".to_owned(), "127.0.0.1:80".to_owned()]).unwrap_err();
    assert!(twice[0].contains("covered twice"), "{twice:?}");
}

#[test]
fn serve_is_one_directory() {
    let config =
        from_serve(&flags::Serve { dir: "public".to_owned(), ..flags::Serve::default() }, &Memory::default())
            .unwrap();
    assert_eq!(config.sites[0].listen, [Address::Any(8080).into()]);
    assert_eq!(
        *config.sites[0].locations[0].handler,
        Handler::Files(Files::new("/etc/hatchery/public".into()))
    );
}
