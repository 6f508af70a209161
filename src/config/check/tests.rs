use super::super::{Disk, flags, load, tests::Memory};
use super::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A directory of its own that goes away with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hatchery-check-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn problems(text: &str) -> Vec<String> {
    let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", text)).unwrap();
    environment(&config).iter().map(ToString::to_string).collect()
}

fn respond(rest: &str) -> String {
    format!("(sites: [(listen: [\":8000\"], locations: [(path: \"/\", to: Respond(body: \"x\"))])], {rest})")
}

#[test]
fn nothing_is_missing_for_a_fixed_answer() {
    assert_eq!(problems(&respond("temp_dir: \"/tmp\"")), Vec::<String>::new());
}

#[test]
fn a_missing_static_root_is_named() {
    let text = "(temp_dir: \"/tmp\", sites: [(listen: [\":8000\"], locations: [(path: \"/\", to: Files(\"/no/such\"))])])";
    let lines = problems(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0]
            .starts_with("hatchery.ron: sites[0].locations[0].to.root: `/no/such` does not exist; create it"),
        "{lines:#?}"
    );
}

#[test]
fn error_pages_and_the_directories_of_links_are_looked_for() {
    let directory = Directory::new("pages");
    directory.file("404.html", "<p>");
    directory.file("root/index.html", "<p>");
    let root = directory.0.display();
    let lines = |pages: &str, shared: &str| {
        problems(&format!(
            "(temp_dir: \"/tmp\", sites: [(listen: [\":8000\"], error_pages: {{{pages}}}, locations: [ \
             (path: \"/\", to: Files(root: \"{root}/root\", symlinks: Follow, symlinks_to: [{shared}]))])])"
        ))
    };
    let (page, shared) = (format!("404: \"{root}/404.html\""), format!("\"{root}\""));
    assert_eq!(lines(&page, &shared), Vec::<String>::new());
    let found = lines(
        &format!("{page}, 502: \"{root}/502.html\", 503: \"{root}/root\""),
        &format!("{shared}, \"/no/such\", \"{root}/404.html\""),
    );
    let want = [
        format!("hatchery.ron: sites[0].error_pages[502]: `{root}/502.html` does not exist; create it"),
        format!("hatchery.ron: sites[0].error_pages[503]: `{root}/root` is not a file"),
        "hatchery.ron: sites[0].locations[0].to.symlinks_to[1]: `/no/such` does not exist; create it"
            .to_owned(),
        format!(
            "hatchery.ron: sites[0].locations[0].to.symlinks_to[2]: `{root}/404.html` is not a directory"
        ),
    ];
    assert_eq!(found.len(), want.len(), "{found:#?}");
    for (line, want) in found.iter().zip(want) {
        assert!(line.starts_with(&want), "\n{line}\n{want}");
    }
}

#[test]
fn an_app_needs_its_directory_virtualenv_and_interpreter() {
    let directory = Directory::new("app");
    let root = directory.0.display().to_string();
    let app = |rest: &str| {
        let text = respond(&format!("temp_dir: \"/tmp\", apps: {{\"shop\": (module: \"shop\", {rest})}}"));
        problems(&text)
    };
    let lines = app("chdir: \"/no/such\", python: \"/no/python\"");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("apps.shop.chdir: `/no/such` does not exist"), "{lines:#?}");
    assert!(lines[1].contains("apps.shop.python: no Python interpreter at `/no/python`"), "{lines:#?}");

    let lines = app(&format!("chdir: \"{root}\", home: \"{root}\""));
    assert!(
        lines[0].contains("is not a virtualenv (it has no pyvenv.cfg); create one: python3 -m venv"),
        "{lines:#?}"
    );

    directory.file("pyvenv.cfg", "");
    let python = directory.file("bin/python", "#!/bin/sh\n");
    let lines = app(&format!("chdir: \"{root}\", home: \"{root}\""));
    assert!(lines[0].contains("cannot be executed by"), "{lines:#?}");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(app(&format!("chdir: \"{root}\", home: \"{root}\"")), Vec::<String>::new());

    fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/no/python3.1", &python).unwrap();
    let lines = app(&format!("chdir: \"{root}\", home: \"{root}\""));
    assert!(lines[0].contains("points to `/no/python3.1`, which does not exist"), "{lines:#?}");
}

#[test]
fn a_command_needs_its_program_and_the_interpreter_of_that() {
    let directory = Directory::new("command");
    let root = directory.0.display().to_string();
    let app = |program: &str| {
        let keys = format!(
            "command: [\"{program}\"], chdir: \"{root}\", env: {{\"PATH\": \"{root}/one:{root}/two\"}}"
        );
        problems(&respond(&format!("temp_dir: \"/tmp\", apps: {{\"shop\": ({keys})}}")))
    };
    let runs = |name: &str, text: &str| {
        let path = directory.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let lines = app("server");
    assert!(lines[0].contains("apps.shop.command: there is no program `server`"), "{lines:#?}");
    // One that may not be executed hides no other, as for execvp(3).
    directory.file("one/server", "#!/bin/sh\n");
    assert!(app("server")[0].contains("one/server` cannot be executed by"), "{:#?}", app("server"));
    runs("two/server", "#!/bin/sh -e\n");
    assert_eq!(app("server"), Vec::<String>::new());
    runs("one/server", "#! /no/such/python -s\n");
    let lines = app("server");
    assert!(lines[0].contains("one/server` names `/no/such/python` in its first line"), "{lines:#?}");
    runs("one/server", "\x7fELF");
    assert_eq!(app("server"), Vec::<String>::new());
}

#[test]
fn users_directories_and_programs_are_looked_for() {
    let lines = problems(&respond(
        "temp_dir: \"/tmp\", user: \"no-such-user\", pid_file: \"/no/such/x.pid\", control: \"/tmp\", \
         log: (access: (path: \"/no/such/access.log\")), \
         daemons: {\"a\": (command: [\"no-such-daemon\"], chdir: \"/\"), \"b\": (command: [\"./b\"], chdir: \"/tmp/no\"), \
                   \"c\": (command: [\"true\"], chdir: \"/\")}, \
         cron: [(name: \"x\", at: \"* * * * *\", command: [\"no-such-program\"]), \
                (name: \"y\", at: \"* * * * *\", command: [\"true\"])]",
    ));
    let want = [
        "hatchery.ron: user: there is no user `no-such-user`; create it",
        "hatchery.ron: pid_file: the directory `/no/such` does not exist; create it: mkdir -p /no/such",
        "hatchery.ron: control: `/tmp` is a directory",
        "hatchery.ron: log.access.path: the directory `/no/such` does not exist",
        "hatchery.ron: daemons.a.command: there is no program `no-such-daemon`; it is not on the PATH of daemons, /",
        "hatchery.ron: daemons.b.chdir: `/tmp/no` does not exist",
        "hatchery.ron: daemons.b.command: there is no program `./b`; it is looked for from `/tmp/no`",
        "hatchery.ron: cron[0].command: there is no program `no-such-program`; it is not on the PATH of cron jobs",
    ];
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
}

#[test]
fn programs_are_looked_for_on_a_path_of_variables_and_of_files_in_their_order() {
    let directory = Directory::new("path");
    for program in ["venv/bin/serve", "one/first", "two/second"] {
        let program = directory.file(program, "#!/bin/sh\n");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let root = directory.0.display();
    directory.file("1.env", &format!("PATH=/no/such\nPATH={root}/one\n"));
    directory.file("2.env", &format!("PATH={root}/two\n"));
    directory.file("none.env", "A=1\n");
    let file = |name: &str| format!("env_file: [\"{root}/{name}.env\", \"{root}/none.env\"],");
    let env = format!("env: {{\"PATH\": \"{root}/two\"}},");
    let (first, second) = (file("1"), file("2"));
    for (of_app, of_daemon, found) in [
        ("", "", "serve"),
        (&*first, "", "first"),
        ("", &*first, "first"),
        (&*first, &*second, "second"),
        (&*env, &*first, "first"),
        (&format!("{first} {env}"), "", "second"),
        ("", &format!("{first} {env}"), "second"),
    ] {
        let missing = ["serve", "first", "second"].map(|program| {
            let lines = problems(&respond(&format!(
                "temp_dir: \"/tmp\", apps: {{\"shop\": (module: \"shop\", chdir: \"/\", home: \"{root}/venv\", {of_app})}}, \
                 daemons: {{\"a\": (command: [\"{program}\"], app: \"shop\", {of_daemon})}}"
            )));
            let of_command = lines.into_iter().filter(|line| line.contains("daemons.a.command"));
            (program, of_command.collect::<Vec<_>>())
        });
        for (program, lines) in missing {
            assert_eq!(lines.is_empty(), program == found, "{of_app} {of_daemon} {program}: {lines:?}");
            let hint = if found == "serve" { "virtualenv" } else { "`env` or `env_file` sets PATH" };
            assert!(lines.iter().all(|line| line.contains(hint)), "{lines:?}");
        }
    }
}

/// As root, too: the question is asked for another user.
#[test]
fn rights_are_those_of_the_user_who_will_run() {
    let directory = Directory::new("rights");
    let inner = directory.0.join("inner");
    fs::create_dir_all(&inner).unwrap();
    let Some(nobody) = Identity::named("nobody") else { panic!("every Linux has nobody") };
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(nobody.may_read_directory(&inner), Ok(()));
    assert_eq!(nobody.may_write_directory(&inner), Err("no right to write in it".to_owned()));
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o700)).unwrap();
    let why = nobody.may_read_directory(&inner).unwrap_err();
    assert_eq!(why, format!("no right to enter `{}`", directory.0.display()));
}

#[test]
fn the_import_command_tells_good_from_bad() {
    let directory = Directory::new("import");
    directory.file(
        "good.py",
        "def application(environ, start_response): pass\ndef make(): return application\nx = 1\n",
    );
    directory.file("bad.py", "import no_such_module\n");
    let run = |module: &str| {
        let chdir = Some(directory.0.display().to_string());
        let run = flags::RunFlags { module: Some(module.to_owned()), chdir, ..flags::RunFlags::default() };
        let config = super::super::from_flags(&run, &Disk).unwrap();
        let command = import_command(&config.apps[0]).unwrap();
        let output =
            Command::new(&command.program).args(&command.args).current_dir(&command.cwd).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run("good"), (true, String::new()));
    assert_eq!(run("good:make()"), (true, String::new()));
    assert!(run("bad").1.contains("No module named 'no_such_module'"));
    assert!(run("good:nothing").1.contains("has no attribute 'nothing'"));
    assert!(run("good:x").1.contains("good:x is not callable, it is 1"));
}

#[test]
fn a_listener_for_everybody_is_warned_of_where_descriptors_cannot_be_refused() {
    let directory = Directory::new("listener");
    let closed = directory.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o750)).unwrap();
    for path in [directory.0.as_path(), directory.0.parent().unwrap()] {
        assert!(fs::metadata(path).unwrap().permissions().mode() & 1 != 0, "everybody may pass {path:?}");
    }
    let (open, closed) = (directory.0.join("x.sock"), closed.join("x.sock"));
    let text = format!(
        "(sites: [(listen: [\":8000\", \"unix:{}\", \"unix:{}\"], locations: [(path: \"/\", to: Respond(body: \"x\"))])])",
        closed.display(),
        open.display()
    );
    let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", &text)).unwrap();
    assert_eq!(unguarded(&config, true), []);
    let lines: Vec<String> = unguarded(&config, false).iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let start = format!(
        "hatchery.ron: sites[0].listen[2]: every user of this machine can connect to `{}`",
        open.display()
    );
    assert!(lines[0].starts_with(&start), "{lines:#?}");
}

#[test]
fn a_socket_of_front_servers_that_is_open_to_everybody_is_warned_of() {
    let directory = Directory::new("fronts");
    let path = directory.0.join("x.sock");
    let warned = |keys: &str| {
        let text = format!(
            "(sites: [(listen: [(address: \"unix:{}\", {keys})], locations: [(path: \"/\", to: Respond())])])",
            path.display()
        );
        let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", &text)).unwrap();
        believed_of_anybody(&config).into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(warned("protocol: Uwsgi"), ["sites[0].listen[0]"]);
    for keys in ["protocol: Uwsgi, mode: \"0660\"", "protocol: Http", "mode: \"0666\""] {
        assert_eq!(warned(keys), [""; 0], "{keys}");
    }
}

#[test]
fn an_app_that_edits_roll_is_warned_of_behind_a_proxy() {
    let warned = |proxies: &str, reloads: bool| {
        let text = format!(
            "(sites: [(listen: [\":80\"], trusted_proxies: [{proxies}], locations: [(path: \"/\", to: App(\"shop\"))])], \
             apps: {{\"shop\": (module: \"shop\", reload_on_change: {reloads})}})"
        );
        let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", &text)).unwrap();
        let problems = develop::behind_proxies(&config).into_iter();
        problems.map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(warned("\"127.0.0.1\"", true), ["sites[0].locations[0].to"]);
    assert_eq!(warned("", true), [""; 0]);
    assert_eq!(warned("\"127.0.0.1\"", false), [""; 0]);
}

#[test]
fn a_server_that_proxies_to_itself_is_warned_of() {
    let text = "(sites: [(listen: [\":81\", \"127.0.0.1:82\", \"unix:/run/x\"], locations: [(path: \"/\", to: Proxy(\"a\"))])], \
                upstreams: {\"a\": (servers: [\"127.0.0.1:80\", \"127.0.0.1:81\", \"192.0.2.1:81\", \"127.0.0.1:82\", \
                \"unix:/run/x\", \"unix:/run/y\"])})";
    let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", text)).unwrap();
    let keys: Vec<String> = loops(&config).into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, [1, 3, 4].map(|number| format!("upstreams.a.servers[{number}]")));
}

#[test]
fn a_fallback_that_is_missing_itself_is_warned_of() {
    let directory = Directory::new("stand-in");
    directory.file("there.html", "x");
    let text = |name: &str| {
        format!(
            "(sites: [(listen: [\":80\"], locations: [(path: \"/\", to: Files(root: \"{}\", fallback: \"{name}\"))])])",
            directory.0.display()
        )
    };
    let missing = |name: &str| {
        let files = Memory::default().with("hatchery.ron", &text(name));
        without_stand_in(&load(Path::new("hatchery.ron"), &files).unwrap()).len()
    };
    assert_eq!((missing("there.html"), missing("/gone.html")), (0, 1));
}

#[test]
fn jobs_that_cannot_run_in_the_home_of_their_user_are_warned_of() {
    let directory = Directory::new("homes");
    let closed = directory.0.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o666)).unwrap();
    let text = respond(
        "user: \"www\", apps: {\"shop\": (module: \"shop\", python: \"/bin/sh\")}, cron: [ \
         (name: \"own\", at: \"@daily\", command: [\"true\"], user: \"gone\"), \
         (name: \"common\", at: \"@daily\", command: [\"true\"]), \
         (name: \"there\", at: \"@daily\", command: [\"true\"], user: \"there\"), \
         (name: \"unknown\", at: \"@daily\", command: [\"true\"], user: \"unknown\"), \
         (name: \"closed\", at: \"@daily\", command: [\"true\"], user: \"nobody\"), \
         (name: \"given\", at: \"@daily\", command: [\"true\"], user: \"gone\", chdir: \"/srv\"), \
         (name: \"app\", at: \"@daily\", command: [\"true\"], user: \"gone\", app: \"shop\")]",
    );
    let config = load(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", &text)).unwrap();
    let homes = |user: Option<&str>| match user {
        Some("gone") => Some("/nonexistent".into()),
        Some("www") => Some("/etc/passwd/www".into()),
        Some("there") => Some("/usr".into()),
        Some("nobody") => Some(closed.clone()),
        _ => None,
    };
    let lines: Vec<String> = homeless(&config, homes).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "hatchery.ron: cron[0]: `own` runs in `/`, as the home of its user, `/nonexistent`, does not exist; give it \
             `chdir`",
            "hatchery.ron: cron[1]: `common` runs in `/`, as the home of its user, `/etc/passwd/www`, does not exist; \
             give it `chdir`",
            &format!(
                "hatchery.ron: cron[4]: `closed` cannot run in the home of its user, `{}`: no right to enter it; give it `chdir`",
                closed.display()
            ),
        ]
    );
    assert!(home_of(Some("root")).is_some_and(|home| home.is_absolute()));
    assert_eq!(home_of(Some("no-such-user-here")), None);
}
