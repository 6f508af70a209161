use super::tree::Entry;
use super::*;
use crate::config::tests::Memory;
use crate::config::{from_flags, from_serve, load};
use std::collections::{BTreeMap, BTreeSet};

/// Files by path, links of directories, and directories that are far away.
#[derive(Default)]
struct Files {
    files: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
    far: bool,
    asked: std::cell::Cell<usize>,
}

impl Files {
    fn with(paths: &[&str]) -> Self {
        Self { files: paths.iter().map(PathBuf::from).collect(), ..Self::default() }
    }

    fn link(mut self, from: &str, to: &str) -> Self {
        self.links.insert(from.into(), to.into());
        self
    }
}

impl Tree for Files {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = self.links.iter().find_map(|(from, to)| Some(to.join(path.strip_prefix(from).ok()?)));
        let real: PathBuf = real.unwrap_or_else(|| path.to_owned()).components().collect();
        (self.files.contains(&real) || self.is_directory(&real)).then_some(real)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file != path && file.starts_with(path))
    }

    fn entries(&self, directory: &Path, most: usize) -> Vec<Entry> {
        let names: BTreeMap<_, bool> = self
            .files
            .iter()
            .filter_map(|file| {
                let mut below = file.strip_prefix(directory).ok()?.iter();
                Some((below.next()?.to_owned(), below.next().is_some()))
            })
            .collect();
        let entries: Vec<_> =
            names.into_iter().take(most).map(|(name, is_directory)| Entry { name, is_directory }).collect();
        self.asked.set(self.asked.get() + entries.len());
        entries
    }

    fn is_near(&self, _: &Path) -> bool {
        !self.far
    }
}

/// What is said about a root in a file with an app whose `chdir` is /srv/shop, `home` /srv/shop/.venv.
fn judged(files: &str, tree: &Files) -> Judgement {
    let text = format!(
        r#"(sites: [(listen: [":8000"], locations: [(path: "/s/", to: Files({files})), (path: "/", to: App("shop"))])],
            apps: {{"shop": (module: "shop.wsgi", chdir: "/srv/shop", home: "/srv/venvs/shop")}})"#
    );
    let source = Memory::default().with("hatchery.ron", &text);
    judge(&load(Path::new("/etc/hatchery/hatchery.ron"), &source).unwrap(), &[], tree)
}

#[track_caller]
fn refused(files: &str, tree: &Files, why: &str) {
    let judgement = judged(files, tree);
    let problem = judgement.refused.first().unwrap_or_else(|| panic!("{files} is not refused"));
    assert!(problem.what.contains(why), "{files}: {problem}");
    assert!(problem.hint.contains("`static`") && problem.hint.contains("allow_source: true"), "{problem}");
    assert_eq!(problem.file, "/etc/hatchery/hatchery.ron");
}

#[track_caller]
fn fine(files: &str, tree: &Files) {
    let judgement = judged(files, tree);
    assert!(said_nothing(&judgement), "{files}: {judgement:?}");
}

fn said_nothing(judgement: &Judgement) -> bool {
    judgement.refused.is_empty() && judgement.warnings.is_empty()
}

const SHOP: [&str; 6] = [
    "/srv/shop/manage.py",
    "/srv/shop/shop/settings.py",
    "/srv/shop/shop/static/a.css",
    "/srv/shop/staticfiles/a.css",
    "/srv/venvs/shop/pyvenv.cfg",
    "/etc/hatchery/hatchery.ron",
];

#[test]
fn a_root_that_is_or_holds_what_belongs_to_an_app_is_refused() {
    let tree = Files::with(&SHOP).link("/srv/link", "/srv/shop").link("/var/www", "/srv");
    refused(r#""/srv/shop""#, &tree, "`/srv/shop` is the `chdir` of app `shop`");
    refused(r#""/srv""#, &tree, "`/srv` holds the `chdir` of app `shop`");
    refused(r#""/""#, &tree, "`/` holds the `chdir`");
    refused(r#""/srv/venvs""#, &tree, "holds the virtualenv of app `shop`");
    refused(r#""/srv/venvs/shop""#, &tree, "is the virtualenv of app `shop`");
    refused(r#""/srv/shop/shop""#, &tree, "is the package of app `shop`");
    refused(r#""/etc""#, &tree, "holds this configuration");
    refused(r#""/srv/link""#, &tree, "`/srv/link`, which is `/srv/shop`, is the `chdir`");
    refused(r#""/var/www/shop""#, &tree, "is the `chdir`");
    refused(r#""/srv/shop/static/../../shop""#, &tree, "is the `chdir`");
    refused(r#"root: "/srv/pub", symlinks: Follow, symlinks_to: ["/srv/shop"]"#, &tree, "is the `chdir`");
    refused(r#"root: "/srv/shop", fallback: App("shop"), precompressed: true"#, &tree, "is the `chdir`");
    for good in
        ["/srv/shop/shop/static", "/srv/shop/staticfiles", "/srv/shopping", "/srv/venvs/shop/lib/static"]
    {
        fine(&format!("{good:?}"), &tree);
    }
    fine(r#"root: "/srv/shop", allow_source: true"#, &tree);
    // What is not there yet.
    refused(r#""/srv/shop""#, &Files::default(), "is the `chdir`");
    refused(r#""/srv/shop/../shop/.""#, &Files::default(), "is the `chdir`");
    fine(r#""/srv/shop/static""#, &Files::default());
}

#[test]
fn a_root_that_looks_like_a_project_is_refused() {
    for (files, why) in [
        (&["/w/manage.py", "/w/config/settings.py"][..], "has `manage.py` beside `config/settings.py`"),
        (&["/w/manage.py", "/w/config/settings/__init__.py"], "beside `config/settings/__init__.py`"),
        (&["/w/manage.py", "/w/config/settings/base.py"], "beside `config/settings/base.py`"),
        (
            &["/w/manage.py", "/w/config/__init__.py", "/w/config/settings_prod.py"],
            "beside `config/settings_prod.py`",
        ),
        (&["/w/manage.py", "/w/config/asgi.py"], "beside `config/asgi.py`"),
        (&["/w/pyproject.toml", "/w/shop/__init__.py"], "has `pyproject.toml` beside `shop/__init__.py`"),
        (&["/w/pyproject.toml", "/w/src/shop/__init__.py"], "beside `src/shop/__init__.py`"),
        (&["/w/setup.py", "/w/shop/__init__.py"], "has `setup.py` beside"),
    ] {
        let tree = Files::with(files);
        refused(r#""/w""#, &tree, why);
        fine(r#"root: "/w", allow_source: true"#, &tree);
    }
    for files in [
        &["/w/index.html", "/w/css/a.css"][..],
        &["/w/package.json", "/w/src/index.js", "/w/dist/index.html"],
        &["/w/shop/__init__.py"],
        &["/w/shop/deep/er/still/manage.py"],
        &["/w/.git/manage.py"],
    ] {
        fine(r#""/w""#, &Files::with(files));
    }
}

/// Anybody may upload them: they are told of, and never stop a reload.
#[test]
fn files_alone_and_deeper_down_are_warned_of() {
    for (files, found) in [
        (&["/w/manage.py"][..], "`manage.py`"),
        (&["/w/settings.py", "/w/__init__.py"], "`settings.py`"),
        (&["/w/pyproject.toml", "/w/src/index.js"], "`pyproject.toml`"),
        (&["/w/up/manage.py", "/w/up/shop/settings.py"], "`up/manage.py`"),
        (&["/w/a/b/c/wsgi.py"], "`a/b/c/wsgi.py`"),
        (&["/w/a\nERROR b/wsgi.py"], "`a\\nERROR b/wsgi.py`"),
    ] {
        let judgement = judged(r#""/w""#, &Files::with(files));
        assert_eq!(judgement.refused, [], "{files:?}");
        assert_eq!(judgement.warnings.len(), 1, "{judgement:?}");
        assert!(judgement.warnings[0].what.contains(found), "{judgement:?}");
    }
    // Nobody waits for a network to be told that.
    let far = Files { far: true, ..Files::with(&["/w/up/manage.py"]) };
    fine(r#""/w""#, &far);
}

#[test]
fn the_look_is_bounded() {
    let names: Vec<String> =
        (0..10_000).map(|number| format!("/w/{:02}/{number}.jpg", number % 70)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tree = Files::with(&names);
    fine(r#""/w""#, &tree);
    assert!(tree.asked.get() <= MOST_NAMES, "{}", tree.asked.get());
}

#[test]
fn flags_are_judged_by_the_same_rule() {
    let source = Memory::default();
    let tree = Files::with(&[
        "/etc/hatchery/manage.py",
        "/etc/hatchery/shop/settings.py",
        "/etc/hatchery/static/a.css",
    ]);
    let serve = |dir: &str, allow_source| {
        let serve = crate::config::flags::Serve { dir: dir.to_owned(), allow_source, http: Vec::new() };
        judge(&from_serve(&serve, &source).unwrap(), &[], &tree)
    };
    let lines: Vec<String> = serve(".", false).refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "command line: `/etc/hatchery` has `manage.py` beside `shop/settings.py`: its source and secrets would be \
          public; serve a directory in it that has public files only, such as `static`, or say --allow-source if that \
          is meant"
        ]
    );
    assert!(said_nothing(&serve(".", true)));
    assert!(said_nothing(&serve("static", false)));
    let run = |static_: &str, allow_source| {
        let run = crate::config::flags::RunFlags {
            module: Some("shop.wsgi".to_owned()),
            static_: vec![static_.to_owned()],
            allow_source,
            ..crate::config::flags::RunFlags::default()
        };
        judge(&from_flags(&run, &source).unwrap(), &[], &tree)
    };
    assert!(run("/static/=.", false).refused[0].what.contains("is the `chdir` of app `hatchery`"));
    assert!(run("/static/=/", false).refused[0].what.contains("holds the `chdir`"));
    assert!(run("/static/=shop", false).refused[0].what.contains("is the package"));
    assert!(said_nothing(&run("/static/=static", false)));
    assert!(said_nothing(&run("/static/=.", true)));
}

/// Nobody hides a file that says only what is public anyway.
#[test]
fn a_configuration_without_programs_may_lie_in_its_root() {
    let text = r#"(sites: [(listen: [":80"], locations: [(path: "/", to: Files("."))])])"#;
    let source = Memory::default().with("hatchery.ron", text);
    let config = load(Path::new("/etc/hatchery/hatchery.ron"), &source).unwrap();
    assert!(said_nothing(&judge(&config, &[], &Files::with(&["/etc/hatchery/hatchery.ron"]))));
}

/// It may have been uploaded: what a root is by the configuration stays refused, what has come into it is told.
#[test]
fn what_has_become_of_a_root_that_is_served_is_warned_of() {
    let text = r#"(sites: [(listen: [":8000"], locations: [(path: "/", to: Files("/w"))])])"#;
    let source = Memory::default().with("hatchery.ron", text);
    let config = load(Path::new("/etc/hatchery/hatchery.ron"), &source).unwrap();
    let before = judge(&config, &[], &Files::with(&["/w/index.html"]));
    assert!(said_nothing(&before) && before.roots == [Path::new("/w")], "{before:?}");
    let tree = Files::with(&["/w/manage.py", "/w/visitor/settings.py"]);
    let now = judge(&config, &before.roots, &tree);
    assert_eq!((now.refused.len(), now.warnings.len()), (0, 1), "{now:?}");
    assert!(now.warnings[0].what.contains("beside `visitor/settings.py`"), "{now:?}");
    assert_eq!(judge(&config, &[PathBuf::from("/other")], &tree).refused.len(), 1);
}
