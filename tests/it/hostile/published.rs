//! What is published that was not meant to be: source and secrets below a static root, other people's hosts in redirects.

use crate::harness::{
    Connection, Directory, Finished, SOON, Server, Setup, get, hatchery, holds, reply_to, wait_until,
};

/// Every redirect, asked for in every way that could make it lead to another host.
#[test]
fn a_redirect_to_a_path_leads_to_no_other_host() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/old/", to: Redirect(location: "$rest")),
        (path: "/slash/", to: Redirect(location: "/$rest")),
        (path: "/path/", to: Redirect(location: "$path")),
        (path: "/double/", to: Redirect(location: "/$path")),
        (regex: "^/regex", to: Redirect(location: "/$rest?$query")),
        (path: "/", to: Redirect(location: "/$rest")),
    ])],"#,
    );
    let server = setup.start();
    let names = [
        "/evil.example/x",
        "//evil.example/x",
        "\\evil.example",
        "/\\evil.example",
        "%5Cevil.example",
        "%09/evil.example",
        "%0d%0a/evil.example",
        "%2Fevil.example",
        "%2f%2fevil.example",
        "%5c%5cevil.example",
        ".//evil.example",
        "@evil.example",
        "x/..//evil.example",
        "%2e//evil.example",
    ];
    let mut asked = 0;
    for prefix in [
        "", "/old", "/old/", "/slash/", "/slash//", "/path/", "//path/", "/double/", "/regex", "//regex/",
        "/", "//", "http://a",
    ] {
        for name in names {
            let target = format!(
                "{prefix}{}{name}",
                if prefix.ends_with('/') || name.starts_with('/') { "" } else { "/" }
            );
            let (reply, _) = reply_to(
                server.address,
                format!("GET {target}?//evil HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
            );
            assert_eq!(reply.status, 302, "{target}: {reply:?}");
            let location = reply.field("location").unwrap();
            let mut bytes = location.bytes();
            assert_eq!(bytes.next(), Some(b'/'), "{target}: {location:?}");
            assert!(!matches!(bytes.next(), Some(b'/' | b'\\' | b'\t')), "{target}: {location:?}");
            assert!(
                !location.contains('\\') && location.bytes().all(|byte| byte.is_ascii_graphic()),
                "{target}: {location:?}"
            );
            asked += 1;
        }
    }
    assert!(asked > 150, "{asked}");
}

#[test]
fn the_host_of_a_redirect_is_the_operators() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/rest/", to: Redirect(location: "https://new.example$rest")),
        (path: "/bucket/", to: Redirect(location: "https://cdn.example/bucket$rest")),
        (path: "/host/", to: Redirect(location: "https://www.$host$path")),
        (path: "/", to: Redirect(location: "https://new.example$path")),
    ])],"#,
    );
    let server = setup.start();
    for (target, location) in [
        ("/rest/.evil.example/x", "https://new.example/.evil.example/x"),
        ("/rest/@evil.example", "https://new.example/@evil.example"),
        ("/rest//evil.example", "https://new.example//evil.example"),
        ("/rest/", "https://new.example/"),
        ("/bucket/x/../../bucket/y", "https://cdn.example/bucket/y"),
        ("/bucket/x/%2e%2e/..%2fbucket/y", "https://cdn.example/bucket/y"),
        ("/host/a%20b", "https://www.a.example/host/a%20b"),
        ("/.evil.example", "https://new.example/.evil.example"),
        ("/a%2fb/../..", "https://new.example/"),
        ("http://a.example", "https://new.example/"),
    ] {
        let reply =
            Connection::open(server.address).unwrap().request("GET", target, &[("Host", "a.example")], b"");
        assert_eq!(reply.unwrap().field("location"), Some(location), "{target}");
    }
    // What is no host never comes to `$host`.
    for host in ["evil.example/", "a@evil.example", "a\\evil.example", "a evil", "a%0d%0aX:1"] {
        let (reply, _) = reply_to(server.address, format!("GET /host/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((reply.status, reply.field("location")), (400, None), "{host:?}");
    }
}

#[test]
fn a_directory_without_its_slash_leads_to_no_other_host() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Files("files"))])],"#,
    );
    setup.directory.write("files/evil.example/dir/index.html", "text");
    let server = setup.start();
    for path in [
        "//evil.example/dir",
        "/evil.example//dir",
        "//evil.example",
        "/.//evil.example",
        "/%2e//evil.example/dir",
    ] {
        let reply = get(server.address, path);
        let location = reply.field("location").unwrap();
        assert_eq!(reply.status, 301, "{path}");
        assert!(matches!(location, "dir/" | "evil.example/"), "relative, one name: {path}: {location}");
    }
}

const SECRET: &str = "SECRET_KEY = 'never to be seen'\n";

/// A Django project as `startproject` makes it, with collected files and uploads, in `project/`.
fn project(directory: &Directory) {
    directory.write("project/manage.py", "import os\n");
    directory.write("project/shop/__init__.py", "");
    directory.write("project/shop/settings.py", SECRET);
    directory.write("project/shop/wsgi.py", PLAIN);
    directory.write("project/static/a.css", "a{}\n");
    directory.write("project/media/photo.jpg", "photo\n");
}

const PLAIN: &str =
    "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'app']\n";

/// A file with the project's app, and `files` as the actions of `/static/` and `/media/`.
fn shop(static_: &str, media: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/static/", to: Files({static_})),
        (path: "/media/", to: Files({media})),
        (path: "/", to: App("shop")),
    ])],
    apps: {{"shop": (module: "shop.wsgi", chdir: "project", home: "{{venv}}")}},"#
    )
}

#[track_caller]
fn refuses(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word}: {finished:?}");
    }
}

#[test]
fn serve_refuses_a_project() {
    for dir in ["{dir}/project", ".", "{dir}/link", "project/../project/"] {
        let mut setup = Setup::flags(&["serve", dir, "--http", "{address}"]);
        project(&setup.directory);
        std::os::unix::fs::symlink("project", setup.directory.path().join("link")).unwrap();
        if dir == "." {
            let there = format!("--chdir={}/project", setup.directory.path().display());
            setup = setup.under(&["env", &there]);
        }
        let finished = setup.run_to_end();
        refuses(&finished, 2, &["has `manage.py` beside `shop/settings.py`", "`static`", "--allow-source"]);
    }
    // What is meant is served, and so is what has public files only.
    let setup = Setup::flags(&["serve", "{dir}/project", "--http", "{address}", "--allow-source"]);
    project(&setup.directory);
    let server = setup.start();
    assert_eq!(get(server.address, "/shop/settings.py").text(), SECRET);
    let setup = Setup::flags(&["serve", "{dir}/project/static", "--http", "{address}"]);
    project(&setup.directory);
    let server = setup.start();
    assert_eq!(get(server.address, "/a.css").text(), "a{}\n");
    assert_eq!(get(server.address, "/../shop/settings.py").status, 400);
}

#[test]
fn run_refuses_a_project_behind_static() {
    let arguments = |dir: &'static str| {
        let app = ["--module", "shop.wsgi", "--chdir", "{dir}/project", "--home", "{venv}"];
        [&["run", "--http", "{address}", "--static", dir][..], &app].concat()
    };
    for (dir, why) in [
        ("/static/={dir}/project", "is the `chdir` of app `project`"),
        ("/static/=project", "is the `chdir` of app `project`"),
        ("/={dir}", "holds the `chdir` of app `project`"),
        ("/static/={venv}", "is the virtualenv of app `project`"),
        ("/static/=project/shop", "is the package of app `project`"),
    ] {
        let mut setup = Setup::flags(&arguments(dir));
        project(&setup.directory);
        refuses(&setup.run_to_end(), 2, &[why, "--allow-source"]);
    }
    let mut meant = arguments("/static/=project");
    meant.push("--allow-source");
    let setup = Setup::flags(&meant);
    project(&setup.directory);
    let server = setup.start();
    assert_eq!(get(server.address, "/static/shop/settings.py").text(), SECRET);
    assert_eq!(get(server.address, "/").text(), "app");
}

#[test]
fn a_file_with_a_project_as_root_is_refused_by_check_and_start() {
    for (static_, why) in [
        (r#""project""#, "sites[0].locations[0].to.root: "),
        (r#""{dir}""#, "holds the `chdir` of app `shop`"),
        (r#""project/shop""#, "is the package of app `shop`"),
        (r#"root: "project/static", symlinks: Follow, symlinks_to: ["project"]"#, "to.symlinks_to[0]: "),
        (r#"root: "project", fallback: App("shop")"#, "is the `chdir` of app `shop`"),
    ] {
        let mut setup = Setup::new(&shop(static_, r#""project/media""#));
        project(&setup.directory);
        let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
        refuses(&checked, 2, &[why, "`static`", "write `allow_source: true`"]);
        refuses(&setup.run_to_end(), 2, &[why, "`static`", "write `allow_source: true`"]);
    }
    let setup = Setup::new(&shop(r#"root: "project", allow_source: true"#, r#""project/media""#));
    project(&setup.directory);
    let server = setup.start();
    assert_eq!(hatchery(server.directory(), &["check", "-c", "hatchery.ron"]).code, Some(0));
    assert_eq!(get(server.address, "/static/shop/settings.py").text(), SECRET);
}

#[test]
fn a_reload_to_a_project_as_root_keeps_the_old_one() {
    let setup = Setup::new(&shop(r#""project/static""#, r#""project/media""#));
    project(&setup.directory);
    let server = setup.start().tolerant(&["is the `chdir` of app `shop`"]);
    server.configure(&shop(r#""project""#, r#""project/media""#));
    let reload = server.command(&["reload", "--wait"]);
    assert_ne!(reload.code, Some(0), "{reload:?}");
    assert!(reload.stderr.contains("is the `chdir` of app `shop`"), "{reload:?}");
    assert!(reload.stderr.contains("allow_source: true"), "{reload:?}");
    server.master.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_log("its source and secrets would be public");
    assert_eq!(server.status().generation, 1);
    assert_eq!(get(server.address, "/static/a.css").text(), "a{}\n");
    assert_eq!(get(server.address, "/static/shop/settings.py").status, 404);
}

/// Whoever may upload files must not be able to keep the operator from reloading.
#[test]
fn what_is_uploaded_never_stops_a_reload() {
    let setup = Setup::new(&shop(r#""project/static""#, r#""project/media""#));
    project(&setup.directory);
    let server = setup.start();
    let media = |name: &str, text: &str| server.directory().write(format!("project/media/{name}"), text);
    media("manage.py", "uploaded\n");
    media("settings.py", "uploaded\n");
    media("__init__.py", "uploaded\n");
    media("visitor/manage.py", "uploaded\n");
    media("visitor/shop/settings.py", "uploaded\n");
    server.hang_up();
    media("visitor/settings.py", "uploaded\n");
    server.hang_up();
    let line = server.wait_log("which looks like source and is public");
    assert!(line.contains("WARN") && line.contains("locations[1].to.root"), "{line}");
    let checked = hatchery(server.directory(), &["check", "-c", "hatchery.ron"]);
    refuses(&checked, 2, &["has `manage.py` beside `visitor/settings.py`"]);
}

/// A deployment that links the root to the project instead of what is public in it: no worker serves it, nor one that comes
/// later, for whatever reason.
#[test]
fn a_root_that_becomes_a_project_is_not_followed() {
    for sandbox in ["Try", "Off"] {
        a_project_is_not_followed(sandbox);
    }
}

fn a_project_is_not_followed(sandbox: &str) {
    // The links of a site with an app are not followed before a reload.
    let alone = r#"sites: [(listen: ["{address}"], locations: [
        (path: "/static/", to: Files("{dir}/current")), (path: "/more/", to: Files("{dir}/more"))]), (names: ["other.example"], "#;
    let beside = shop(r#""project/static""#, r#""project/media""#).replace("sites: [(", alone);
    let setup = Setup::new(&beside.replace("workers:", &format!("sandbox: {sandbox}, workers:")));
    project(&setup.directory);
    let current = setup.directory.path().join("current");
    std::os::unix::fs::symlink("project/static", &current).unwrap();
    let more = setup.directory.path().join("more");
    for name in ["first", "second"] {
        setup.directory.write(format!("{name}/name.txt"), name);
    }
    std::os::unix::fs::symlink("first", &more).unwrap();
    let server = setup.start().tolerant(&["the workers keep the static root"]);
    assert_eq!(get(server.address, "/static/a.css").text(), "a{}\n");
    let next = setup_link(&server, "project");
    std::fs::rename(next, &current).unwrap();
    wait_until(SOON, "the master has looked at the new root", || {
        let status = get(server.address, "/static/shop/settings.py").status;
        assert_ne!(status, 200);
        let log = server.log();
        holds(log.iter().any(|line| line.contains("the workers keep the static root")), &log)
    });
    let stays = || {
        assert_eq!(get(server.address, "/static/a.css").text(), "a{}\n");
        assert_eq!(get(server.address, "/static/shop/settings.py").status, 404);
    };
    stays();
    // Another root is replaced, and with it the workers.
    std::fs::rename(setup_link(&server, "second"), &more).unwrap();
    wait_until(SOON, "the other root is followed", || {
        let name = get(server.address, "/more/name.txt").text();
        holds(name == "second", name)
    });
    stays();
    assert_eq!(server.command(&["restart", "workers"]).code, Some(0));
    stays();
}

fn setup_link(server: &Server, to: &str) -> std::path::PathBuf {
    let next = server.directory().path().join("next");
    std::os::unix::fs::symlink(to, &next).unwrap();
    next
}
