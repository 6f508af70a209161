//! The files in `conf/`: each loads, none hides a key, and what the program writes loads to the same.

use hatchery::config::{self, Config, Disk, Source};
use hatchery::supervisor::Upkeep;
use std::io;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

fn files() -> Vec<PathBuf> {
    let found = Disk.glob(&directory().join("*.ron")).expect("conf/ can be read");
    assert!(found.len() >= 8, "too few files: {found:?}");
    found
}

fn load(path: &Path) -> Config {
    let loaded = config::load_with_warnings(path, &Disk);
    let (config, warnings) = loaded.unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"));
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    config
}

/// The disk, with the text of one file replaced.
struct Replaced<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source for Replaced<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == self.path { Ok(self.text.to_owned()) } else { Disk.read(path) }
    }
    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.glob(pattern)
    }
    fn env(&self, name: &str) -> Option<String> {
        Disk.env(name)
    }
    fn is_file(&self, path: &Path) -> bool {
        Disk.is_file(path)
    }
    fn is_dir(&self, path: &Path) -> bool {
        Disk.is_dir(path)
    }
    fn current_dir(&self) -> PathBuf {
        Disk.current_dir()
    }
    fn cpus(&self) -> u32 {
        Disk.cpus()
    }
}

#[test]
fn every_file_loads_and_survives_being_written() {
    for path in files() {
        let config = load(&path);
        let text = config::to_ron(&config);
        let again = config::load(&path, &Replaced { path: &path, text: &text });
        assert_eq!(again.as_ref(), Ok(&config), "{}:\n{text}", path.display());
        assert_eq!(config::to_ron(&config), again.map(|config| config::to_ron(&config)).unwrap_or_default());
    }
}

/// The values that the reference calls defaults are those of a file that does not give them.
#[test]
fn the_reference_tells_the_truth_about_defaults() {
    let reference = load(&directory().join("reference.ron"));
    let minimal = load(&directory().join("minimal.ron"));
    assert_eq!(reference.shutdown_timeout, minimal.shutdown_timeout);
    assert_eq!(reference.drain_timeout, minimal.drain_timeout);
    assert_eq!(reference.all_or_nothing, minimal.all_or_nothing);
    assert_eq!(reference.temp_dir, minimal.temp_dir);
    assert_eq!(reference.sandbox, minimal.sandbox);
    let workers =
        config::Workers { resources: minimal.workers.resources.clone(), ..reference.workers.clone() };
    assert_eq!(workers, minimal.workers);
    assert_eq!(reference.log, minimal.log);
    // A class of limits is an example.
    let limits = |config: &config::Config| {
        format!("{:?}", config.limits).split_once(", classes: ").map(|(before, _)| before.to_owned())
    };
    assert!(limits(&minimal).is_some());
    assert_eq!(limits(&reference), limits(&minimal));
    assert_eq!(reference.default_site, minimal.default_site);
    // What else a site can demand has no default, and the reference shows it.
    assert_eq!(reference.sites[0].policies.max_body, minimal.sites[0].policies.max_body);
    let shop = reference.apps.iter().find(|app| app.name == "shop").expect("the reference has a shop");
    let app = &minimal.apps[0];
    let (config::Host::Python(python), config::Host::Python(own)) = (&shop.kind, &app.kind) else {
        panic!("hosts of another kind")
    };
    let mut kind = own.clone();
    kind.threads = python.threads;
    let defaults = config::App {
        name: app.name.clone(),
        kind: config::Host::Python(kind),
        chdir: app.chdir.clone(),
        home: None,
        env_file: Vec::new(),
        env: Vec::new(),
        upkeep: Upkeep { max_rss: None, max_lifetime: None, ..shop.upkeep },
        stream_timeout: None,
        send_files_from: Vec::new(),
        before: Vec::new(),
        watch: Vec::new(),
        ready: None,
        max_requests: None,
        user: None,
        resources: hatchery::sys::resources::Resources::default(),
        ..shop.clone()
    };
    assert_eq!(defaults, *app);
    assert_eq!(python.python, shop.home.clone().expect("given").join("bin/python"));
    let server = &reference.upstreams[0];
    let proxy = load(&directory().join("proxy.ron"));
    assert_eq!(server.patience.connect, proxy.upstreams[0].patience.connect);
    assert_eq!(server.keepalive, proxy.upstreams[0].keepalive);
    let cron = load(&directory().join("cron.ron"));
    assert_eq!(reference.cron[0].overlap, cron.cron[0].overlap);
}

/// The examples in the README and the manual are configurations, too.
#[test]
fn examples_in_the_manual_load() {
    let root = directory().join("..");
    let mut pages = Disk.glob(&root.join("docs/manual/*.md")).expect("the manual is there");
    pages.push(root.join("README.md"));
    let mut examples = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("it was listed");
        for block in text.split("```ron\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let path = directory().join("example.ron");
            // A part of a file may refer to what it does not show.
            let whole = block.starts_with("(\n");
            let text = match block.chars().next() {
                _ if whole => block.to_owned(),
                Some('(') => format!("(sites: [(listen: [\":1\"], locations: [\n{block}])])"),
                _ => format!("(\n{block})"),
            };
            let problems =
                config::load(&path, &Replaced { path: &path, text: &text }).err().unwrap_or_default();
            let elsewhere = ["unknown app", "unknown upstream", "unknown condition"];
            let missing = |what: &str| {
                elsewhere.iter().any(|begin| what.starts_with(begin)) || what == "there is nothing to do"
            };
            let wrong: Vec<String> = problems
                .iter()
                .filter(|problem| whole || !missing(&problem.what))
                .map(ToString::to_string)
                .collect();
            assert!(wrong.is_empty(), "{}\n{text}\n{}", page.display(), wrong.join("\n"));
            examples += 1;
        }
    }
    assert!(examples >= 3, "only {examples} examples found");
}
