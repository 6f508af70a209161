//! Each kind of mistake with its message and its place.

use super::*;

#[test]
fn five_mistakes_are_five_lines() {
    let text = r#"(
    worker: (processes: 2),
    shutdown_timeout: 30,
    sites: [
        (
            listen: ["8000"],
            locations: [
                (path: "/static/", to: Fiels(root: "static")),
                (path: "/", to: App("shp")),
            ],
        ),
    ],
    apps: { "shop": (module: "app:app", max_body: "1MiB") },
)"#;
    let want = [
        "hatchery.ron:2:5: worker: unknown key `worker`; did you mean `workers`?",
        "hatchery.ron:3:23: shutdown_timeout: expected a duration, found the number 30; write it with a unit: \"30s\", or ms, m, h, d",
        "hatchery.ron:6:22: sites[0].listen[0]: `8000` is not an address; did you mean \":8000\"?",
        "hatchery.ron:8:40: sites[0].locations[0].to: unknown variant `Fiels`; did you mean `Files`?",
        "hatchery.ron:9:37: sites[0].locations[1].to: unknown app `shp`; did you mean `shop`?",
        "hatchery.ron:13:41: apps.shop.max_body: unknown key `max_body`; known: ",
    ];
    let lines = lines(&Memory::default().with("hatchery.ron", text));
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
}

/// A site that listens there.
fn listening(listen: &str) -> String {
    format!("(sites: [(listen: [{listen}], locations: [(path: \"/\", to: Respond())])])")
}

/// A file with one mistake, and what is said about it after the file's name.
#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_kind_of_mistake_has_its_message() {
    let cases = [
        // unknown keys: near, from another server, elsewhere, far
        (app("treads: 2"), "1:37: apps.shop.treads: unknown key `treads`; did you mean `threads`?"),
        (
            app("virtualenv: \"x\""),
            "1:37: apps.shop.virtualenv: unknown key `virtualenv`; did you mean `home`?",
        ),
        (
            location("path: \"/\", root: \"x\", to: Files(\"x\")"),
            "1:54: sites[0].locations[0].root: unknown key `root`; it goes into `to: Files(root: \"…\", …)`",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", zzz: 1)"),
            "1:75: sites[0].locations[0].to.zzz: unknown key `zzz`; known: `root`, `index`, `cache`",
        ),
        (
            format!("(module: \"x\", {}", &location("path: \"/\", to: Respond()")[1..]),
            "1:2: module: unknown key `module`; it goes into apps: { \"name\": ( … ) }",
        ),
        // a name for none, and what it stands for
        (main("log: (request_id: \"off\")"), "1:20: log.request_id: `Off` stands without quotes here"),
        (main("log: (access: \"Off\")"), "1:16: log.access: `Off` stands without quotes here"),
        (
            main("log: (request_id: \"X Id\")"),
            "1:20: log.request_id: \"X Id\" is no name of a field; name one that says nothing else",
        ),
        (
            main("log: (request_id: \"date\")"),
            "1:20: log.request_id: the field date has a meaning of its own; name one",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("locations", "client_address: \"X-Real-IP\", locations"),
            "1:46: sites[0].client_address: nobody is trusted to send it; name the proxies in `trusted_proxies`",
        ),
        (
            main("log: (request_id: \"Content-Type\")"),
            "1:20: log.request_id: the field Content-Type has a meaning of its own",
        ),
        // announced, not there yet
        (
            format!("(metrics: (listen: \":1\"), {}", &location("path: \"/\", to: Respond()")[1..]),
            "1:2: metrics: key `metrics` is not available yet in this version; remove it",
        ),
        // wrong types
        (
            app("threads: \"2\""),
            "1:46: apps.shop.threads: expected a number, found a string; write it without quotes: 2",
        ),
        (app("threads: -1"), "1:46: apps.shop.threads: the number -1 is out of range; from 0 to 4294967295"),
        (app("threads: 1.5"), "1:46: apps.shop.threads: expected a number, found a fraction"),
        (app("prove: 1"), "1:44: apps.shop.prove: expected true or false, found the number 1"),
        (
            app("user: shop"),
            "1:43: apps.shop.user: expected a string, found `shop`; put it in quotes: \"shop\"",
        ),
        (app("env: [\"A=1\"]"), "1:42: apps.shop.env: expected { \"name\": …, … }, found a list [ … ]"),
        (app("env: {\"A\": 1}"), "1:48: apps.shop.env.A: expected a string, found the number 1"),
        (
            app("processes: (1, 2)"),
            "1:48: apps.shop.processes: expected a number or (min: N, max: N); name the two: (min: 0, max: 4)",
        ),
        (
            app("response_buffer: \"1MiB\""),
            "1:54: apps.shop.response_buffer: expected ( key: value, … ), found the string \"1MiB\"",
        ),
        (
            location("path: \"/\", to: \"shop\""),
            "1:58: sites[0].locations[0].to: expected one of Files, App, Proxy, Cgi, Redirect, Respond, as in App(\"shop\"), found the string \"shop\"",
        ),
        (
            location("path: \"/\", to: Files"),
            "1:58: sites[0].locations[0].to: `Files` says nothing; for example Files(root: \"static\")",
        ),
        (
            location("path: \"/\", to: Files(7)"),
            "1:64: sites[0].locations[0].to: expected a path in quotes, found the number 7",
        ),
        // sizes, durations, ranges
        (
            app("timeout: 30"),
            "1:46: apps.shop.timeout: expected a duration, found the number 30; write it with a unit: \"30s\", or ms, m, h, d",
        ),
        (
            app("timeout: \"30\""),
            "1:46: apps.shop.timeout: `30` has no unit; write a number and a unit: \"500ms\", \"30s\", \"10m\", \"2h\", \"7d\"",
        ),
        (
            app("timeout: \"30 parsecs\""),
            "1:46: apps.shop.timeout: `30 parsecs`: unknown unit `parsecs`; units are d, h, m, s, ms",
        ),
        (app("timeout: \"0s\""), "1:46: apps.shop.timeout: must be longer than nothing; for example \"30s\""),
        (
            app("response_buffer: (file: \"1g\")"),
            "1:61: apps.shop.response_buffer.file: `1g`: unknown unit `g`; did you mean \"1GiB\"?",
        ),
        (app("processes: (min: 3, max: 2)"), "1:48: apps.shop.processes: min 3 is more than max 2"),
        (
            app("processes: 0"),
            "1:48: apps.shop.processes: at least 1 process is needed; for processes that leave when idle write (min: 0, max: 4)",
        ),
        (
            app_with_workers("processes: \"many\""),
            "1:23: workers.processes: expected a number, \"auto\" or (min: N, max: N), found the string \"many\"",
        ),
        (
            app_with_workers("limits: (open_files: 100)"),
            "1:11: workers: `limits.open_files` is too low for a worker; at least 128: a worker has 64 of its own",
        ),
        (
            app("keep: Template"),
            "1:17: apps.shop: keep: Template without preload: there is no template; add preload: true, or leave keep out",
        ),
        // given twice, missing
        (app("threads: 1, threads: 2"), "1:49: apps.shop.threads: given twice; keep one of the two"),
        (
            "(apps: {\"a\": (module: \"a\"), \"a\": (module: \"b\")})".to_owned(),
            "1:29: apps.a: given twice; keep one of the two",
        ),
        (
            location("to: Respond()"),
            "1:42: sites[0].locations[0]: no path is given; give one of path: \"/static/\", exact: \"/robots.txt\", regex: r\"\\.php$\"",
        ),
        (
            location("path: \"/\""),
            "1:42: sites[0].locations[0]: missing key `to`; for example to: App(\"shop\")",
        ),
        (
            "(sites: [(locations: [(path: \"/\", to: Respond())])])".to_owned(),
            "1:10: sites[0]: missing key `listen`; for example listen: [\":8000\"]",
        ),
        (
            "()".to_owned(),
            "1:1: there is nothing to do; add `sites`, `daemons` or `cron`; docs/manual/first-steps.md has a first configuration",
        ),
        // locations
        (
            location("path: \"static/\", to: Files(\"x\")"),
            "1:49: sites[0].locations[0].path: `static/` does not begin with `/`; write \"/static/\"",
        ),
        (
            location("path: \"/a/../b\", to: Respond()"),
            "1:49: sites[0].locations[0].path: `/a/../b` never matches; paths are compared with `//` merged and `.` and `..` resolved",
        ),
        (
            location("regex: \"(\", to: Respond()"),
            "1:50: sites[0].locations[0].regex: `(` is not a regular expression",
        ),
        (
            location("path: \"/static\", to: Files(\"x\")"),
            "1:64: sites[0].locations[0].to: the root of `Files` stands for a directory, and `/static` does not end with `/`; write path: \"/static/\"",
        ),
        (
            location("path: \"/\", to: Redirect(status: 200, location: \"/\")"),
            "1:75: sites[0].locations[0].to.status: 200 is not the status of a redirect; one of 301, 302, 303, 307, 308",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"/new$ret\")"),
            "1:77: sites[0].locations[0].to.location: unknown variable `ret`; did you mean `rest`?",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"x.example\")"),
            "1:77: sites[0].locations[0].to.location: `x.example` is neither a path nor a URL; did you mean \"https://x.example\" or \"/x.example\"?",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"//cdn.example/x\")"),
            "1:77: sites[0].locations[0].to.location: `//cdn.example/x` leads to another host; write \"https://cdn.example/x\" if that is meant, else one slash",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"https://new.example$query\")"),
            "1:77: sites[0].locations[0].to.location: $query would be part of the host: what a client sends would decide where it leads; a host is written out, or is `$host` alone or behind `www.`; write a slash behind it",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"$query\")"),
            "1:77: sites[0].locations[0].to.location: `$query` is neither a path nor a URL: what a client sends would decide where it leads; begin with \"/\", \"$rest\", \"$path\", \"https://\" or \"$scheme://\"",
        ),
        (
            location("path: \"/\", to: Redirect(location: \"/\\\\x\")"),
            "1:77: sites[0].locations[0].to.location: a backslash in a location; browsers take it for a slash; write a slash, or %5C for the character itself",
        ),
        (
            location("path: \"/\", to: Respond(status: 99)"),
            "1:74: sites[0].locations[0].to.status: 99 is not the status of an answer; from 200 to 599",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", symlinks: Follow)"),
            "1:85: sites[0].locations[0].to.symlinks: `Follow` needs the directories that links may lead to; for example symlinks: Follow, symlinks_to: [\"/srv/shared\"]",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", precompressed: [\"lz4\"])"),
            "1:91: sites[0].locations[0].to.precompressed[0]: unknown ending `lz4`; known: `br`, `zst`, `gz`",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", fallback: \"../x\")"),
            "1:85: sites[0].locations[0].to.fallback: `../x` is not the name of a file below the root; for example \"index.html\"",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", fallback: App(\"nobody\"))"),
            "1:89: sites[0].locations[0].to.fallback: unknown app `nobody`; define it: apps: { \"nobody\": ( … ) }",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", try_files: [\"$uri\"])"),
            "1:87: sites[0].locations[0].to.try_files[0]: `$uri` has a variable that is not known here; $path stands for what follows the location's prefix",
        ),
        (
            location("path: \"/\", to: Files(root: \"x\", cache: \"imutable\")"),
            "1:82: sites[0].locations[0].to.cache: unknown cache rule `imutable`; did you mean \"immutable\"?",
        ),
        (
            location("path: \"/\", to: Respond()), (path: \"/\", to: Respond()"),
            "1:77: sites[0].locations[1].path: the same path as sites[0].locations[0].path (hatchery.ron:1:49)",
        ),
        // who may use a socket
        (
            location("path: \"/\", to: Respond()").replace("\":8000\"", "(address: \"unix:/x\", mode: 660)"),
            "1:47: sites[0].listen[0].mode: expected a mode, found the number 660; put it in quotes: \"0660\"",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("\":8000\"", "(address: \"unix:/x\", mode: \"u=rw\")"),
            "1:47: sites[0].listen[0].mode: `u=rw` is not a mode; three octal digits",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("\":8000\"", "(address: \"unix:/x\", mode: \"1777\")"),
            "1:47: sites[0].listen[0].mode: `1777` is not a mode; three octal digits",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("\":8000\"", "(address: \"unix:/x\", mode: \"0444\")"),
            "1:47: sites[0].listen[0].mode: nobody could connect with the mode `0444`; to connect is to write",
        ),
        (
            location("path: \"/\", to: Respond()").replace("\":8000\"", "(address: \":80\", mode: \"0660\")"),
            "1:43: sites[0].listen[0].mode: `mode` is of the file of a Unix socket, and `:80` is none; remove it",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("\":8000\"", "(address: \"systemd:a\", group: \"x\")"),
            "1:50: sites[0].listen[0].group: `group` is of the file of a Unix socket, and `systemd:a` is none; its socket unit",
        ),
        (
            location("path: \"/\", to: Respond()")
                .replace("\":8000\"", "(address: \":8000\", protocol: Scgi)"),
            "1:49: sites[0].listen[0].protocol: unknown variant `Scgi`; known: `Http`, `Uwsgi`",
        ),
        (
            location("path: \"/\", to: Respond()").replace("\":8000\"", "(mode: \"0660\")"),
            "1:20: sites[0].listen[0]: missing key `address`; for example address: \"unix:/run/shop.sock\"",
        ),
        (
            format!(
                "(sites: [{site}], locations: [(path: \"/\", to: Respond())]), {other}, locations: [(path: \"/\", to: Respond())])])",
                site = "(names: [\"a\"], listen: [\"unix:/x\"",
                other = "(names: [\"b\"], listen: [(address: \"unix:/x\", mode: \"0660\")]",
            ),
            "1:112: sites[1].listen[0]: `unix:/x` has another `protocol`, `mode`, `group` or `proxy_protocol` at sites[0].listen[0] (hatchery.ron:1:34); it is \
             one socket: write the same in both",
        ),
        (
            listening(r#"(address: ":8001", proxy_protocol: [])"#),
            "1:55: sites[0].listen[0].proxy_protocol: nobody is trusted to send a PROXY header; name the proxies that \
             send the header, as \"10.0.0.0/8\", or leave the key out",
        ),
        (
            listening(r#"(address: ":8001", proxy_protocol: ["unix:"])"#),
            "1:55: sites[0].listen[0].proxy_protocol: who connects to `:8001` does not come by a Unix socket; name the \
             addresses of the proxies, as \"10.0.0.0/8\"",
        ),
        (
            listening(r#"(address: "unix:/x", proxy_protocol: ["10.0.0.0/8"])"#),
            "1:57: sites[0].listen[0].proxy_protocol: who connects to `unix:/x` has no IP address; write [\"unix:\"]",
        ),
        (
            listening(r#"(address: ":8001", proxy_protocol: true)"#),
            "1:55: sites[0].listen[0].proxy_protocol: expected a list [ … ], found `true`",
        ),
        (
            listening(r#"(address: ":8001", proxy_protocol: ["10.0.0.1/8"])"#),
            "1:56: sites[0].listen[0].proxy_protocol[0]: `10.0.0.1/8` has bits below its prefix; did you mean \
             \"10.0.0.0/8\"?",
        ),
        (
            main("upstreams: {\"a\": (servers: [\"127.0.0.1:1\"], proxy_protocol: V3)}"),
            "1:62: upstreams.a.proxy_protocol: unknown variant `V3`; did you mean `V1`?",
        ),
        (
            main("upstreams: {\"a\": (servers: [\"127.0.0.1:1\"], keepalive: 8, proxy_protocol: V2)}"),
            "1:57: upstreams.a.keepalive: with `proxy_protocol` a connection is of one client, and not kept for \
             others; remove it",
        ),
        (main("control: (group: \"deploy\")"), "1:11: control: missing key `path`; for example path: \""),
        (app("env_file: 1"), "1:47: apps.shop.env_file: expected a path in quotes, found the number 1"),
        (app("env_file: [\"a\", \"\"]"), "1:53: apps.shop.env_file[1]: an empty path"),
        // the log of a site
        (
            location("path: \"/\", to: Respond()").replace("locations", "log: (access: \"Off\"), locations"),
            "1:44: sites[0].log.access: `Off` stands without quotes here",
        ),
        (
            location("path: \"/\", to: Respond()").replace("locations", "log: (level: \"info\"), locations"),
            "1:36: sites[0].log.level: unknown key `level`; known: `access`",
        ),
        // a log that is something else
        (
            main("log: (access: (path: \"hatchery.ron\"))"),
            "1:23: log.access.path: `/etc/hatchery/hatchery.ron` is a file of the configuration, to which each request \
             would add a line; give the log a file of its own",
        ),
        (
            app("env_file: [\"a\", \"b\"]").replacen('(', "(log: (access: (path: \"b\")), ", 1),
            "1:23: log.access.path: `/etc/hatchery/b` is `apps.shop.env_file`, to which",
        ),
        (
            main("control: \"a\", log: (access: (path: \"a\"))"),
            "1:37: log.access.path: `/etc/hatchery/a` is `control`, to which",
        ),
        // names of other sections
        (
            location("path: \"/\", to: App(\"shop\")"),
            "1:62: sites[0].locations[0].to: unknown app `shop`; define it: apps: { \"shop\": ( … ) }",
        ),
        (
            location("path: \"/\", to: Proxy(\"api\")"),
            "1:64: sites[0].locations[0].to: unknown upstream `api`; define it",
        ),
    ];
    each_has_its_message(&cases);
}

pub(super) fn each_has_its_message(cases: &[(String, &str)]) {
    let mut wrong = Vec::new();
    for (text, want) in cases {
        let lines = lines(&Memory::default().with("hatchery.ron", text));
        let want = format!("hatchery.ron:{want}");
        if lines.len() != 1 || !lines[0].starts_with(&want) {
            wrong.push(format!("{text}\n    want {want}\n    got  {}", lines.join("\n         ")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn mistakes_of_commands_have_their_message() {
    let file = |app: &str| {
        format!(
            "(sites: [(listen: [\":80\"], locations: [(path: \"/\", to: App(\"a\"))])], apps: {{\"a\": ({app})}})"
        )
    };
    for (app, want) in [
        ("command: []", "apps.a.command: no program"),
        ("command: \"gunicorn x\"", "apps.a.command: expected a list, found one string"),
        (
            "command: [\"x\"], module: \"y\"",
            "apps.a.module: both `module` and `command`; an app is hosted here, or runs by a command: keep one",
        ),
        (
            "command: [\"x\"], threads: 2",
            "apps.a.threads: `threads` is for an app that is hosted here, and not for a `command`; say it to the command, if that \
             knows the like",
        ),
        ("command: [\"x\"], preload: true", "apps.a.preload: `preload` is for an app that is hosted here"),
        (
            "module: \"y\", stop_signal: Quit",
            "apps.a.stop_signal: `stop_signal` is for an app that runs by a `command`",
        ),
        (
            "command: [\"x\"], max_connections: 1025",
            "apps.a.max_connections: `max_connections` is out of range; from 1 to 1024",
        ),
        (
            "command: [\"x\"], max_connections: 0",
            "apps.a.max_connections: `max_connections` is out of range; from 1 to 1024",
        ),
        ("command: [\"x\"], root: \"/srv\"", "apps.a.root: `root` is for `protocol: FastCgi`"),
        (
            "command: [\"x\"], protocol: Uwsgi, tunnel_timeout: \"5s\"",
            "apps.a.tunnel_timeout: no other protocol than HTTP can become a tunnel",
        ),
        (
            "command: [\"x\", \"{port}\"], env: {\"S\": \"{socket}\"}",
            "apps.a.command: both `{socket}` and `{port}`: a process is connected to at one of them; keep one",
        ),
    ] {
        let lines = lines(&Memory::default().with("hatchery.ron", &file(app)));
        assert_eq!(lines.len(), 1, "{app}: {lines:#?}");
        assert!(lines[0].contains(want), "{app}:\n{}\n{want}", lines[0]);
    }
}

#[test]
fn mistakes_of_scripts_have_their_message() {
    let cgi = |keys: &str| location(&format!("path: \"/x/\", to: Cgi({keys})"));
    for (text, key, what) in [
        (cgi(""), "", "missing key `root`"),
        (
            cgi("root: \"x\", max_processes: 65"),
            ".max_processes",
            "`max_processes` is out of range; from 1 to 64",
        ),
        (cgi("root: \"x\", max_processes: 0"), ".max_processes", "`max_processes` is out of range"),
        (cgi("root: \"x\", interpreters: {\"py\": \"/x\"}"), ".interpreters.py", "`py` is not the ending"),
        (
            cgi("root: \"x\", interpreters: {\".py\": \"python\"}"),
            ".interpreters..py",
            "`python` is not the full path",
        ),
        (cgi("root: \"x\", symlinks: Follow"), ".symlinks", "`Follow` needs the directories"),
        (cgi("root: \"x\", nph: true"), ".nph", "unknown key `nph`"),
        (location("path: \"/x\", to: Cgi(\"x\")"), "", "the root of `Cgi` stands for a directory"),
        (location("path: \"/x/\", interpreters: {}, to: Cgi(\"x\")"), "", "unknown key `interpreters`"),
    ] {
        let problems = load_text(&text).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|one| one.contains(what) && one.contains(key)), "{text}: {told:#?}");
    }
}

#[test]
fn mistakes_of_daemons_have_their_message() {
    let file = |daemons: &str| format!("(daemons: {{{daemons}}}, apps: {{\"shop\": (module: \"x\")}})");
    let cases = [
        ("\"a\": ()", "1:17: daemons.a: missing key `command`"),
        ("\"a\": (command: [])", "1:27: daemons.a.command: no program"),
        ("\"a\": (command: \"sleep 1\")", "1:27: daemons.a.command: expected a list, found one string"),
        (
            "\"a\": (command: [\"x\"], processes: 0)",
            "1:17: daemons.a: 0 processes are out of range; from 1 to 64",
        ),
        (
            "\"a\": (command: [\"x\"], app: \"shp\")",
            "1:39: daemons.a.app: unknown app `shp`; did you mean `shop`?",
        ),
        (
            "\"a\": (command: [\"x\"], stop_signal: Trem)",
            "1:47: daemons.a.stop_signal: unknown variant `Trem`; did you mean `Term`?",
        ),
        (
            "\"a\": (command: [\"x\"], autorestart: true)",
            "1:34: daemons.a.autorestart: unknown key `autorestart`; a daemon is always started and always restarted",
        ),
        (
            "\"redis\": (command: [\"x\"]), \"a\": (command: [\"x\"], after: [\"reids\"])",
            "1:69: daemons.a.after[0]: unknown daemon or app `reids`; did you mean `redis`?",
        ),
        (
            "\"a\": (command: [\"x\"], after: [\"a\"])",
            "1:42: daemons.a.after[0]: goes round in a circle: `a` after `a`; none of them could ever start",
        ),
        (
            "\"a\": (command: [\"x\"], after: [\"b\"]), \"b\": (command: [\"x\"], after: [\"shop\", \"c\"]), \
             \"c\": (command: [\"x\"], after: [\"b\"])",
            "1:87: daemons.b.after[1]: goes round in a circle: `b` after `c` after `b`",
        ),
        ("\"shop\": (command: [\"x\"])", "1:12: daemons.shop: there is an app `shop`, too"),
        ("\"workers\": (command: [\"x\"])", "1:23: daemons.workers: a daemon cannot be called `workers`"),
        ("\"hatchery\": (command: [\"x\"])", "1:24: daemons.hatchery: a daemon cannot be called `hatchery`"),
    ];
    for (text, want) in cases {
        let line = one(&file(text));
        assert!(
            line.starts_with(&format!("hatchery.ron:{want}")),
            "{text}\n    want {want}\n    got  {line}"
        );
    }
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, want) in [
        ("(\n  user: \"x\"\n  pid_file: \"y\",\n)", "hatchery.ron:3:3: syntax error: expected comma"),
        (
            "(user: \"x",
            "hatchery.ron:1:8: syntax error: the string that begins here goes over the end of its line",
        ),
        (
            "(user \"x\")",
            "hatchery.ron:1:7: syntax error: expected comma; is a comma missing before this, or a colon after a key?",
        ),
        ("", "hatchery.ron:"),
        ("user: \"x\"", "hatchery.ron:"),
        ("(sites: [(]))", "hatchery.ron:1:11: syntax error"),
        ("(regex: \"\\.php\")", "hatchery.ron:1:"),
    ] {
        let line = one(text);
        println!("{line}");
        assert!(line.starts_with(want), "{line}\n{want}");
    }
}

/// What people write who know other formats, or are in a hurry: the message says what the next edit is.
#[test]
fn what_is_no_ron_is_explained_where_it_begins() {
    let good = location("path: \"/\", to: Respond()");
    let cases = [
        (format!("# ours\n{good}"), "1:1: syntax error: `#` begins no comment; comments begin with `//`"),
        (format!("(\n  user: \"x\", # ours\n{}", &good[1..]), "2:14: syntax error: `#` begins no comment"),
        (good.replace('"', "'"), "1:20: syntax error: `'` is no quotation mark here; strings stand in \"…\""),
        (good.replace("\"/\"", "“/”"), "1:49: syntax error: `“` is no quotation mark here"),
        (
            good.replace("listen:", "listen ="),
            "1:18: syntax error: expected comma; a key is followed by a colon",
        ),
        (
            good.replace("path:", "\"path\":"),
            "1:49: syntax error: expected comma; the keys of ( … ) stand without quotes",
        ),
        (main("user: www-data"), "1:11: syntax error: expected comma; a string stands in quotes"),
        (
            "(\n  sites: [(\n    listen: [\":8000\", // one ] more\n    names: [\"a]\"],\n  )],\n)"
                .to_owned(),
            "4:10: syntax error: a key in the list that is open since line 3; is its `]` missing before it?",
        ),
        (
            "(\n  sites: [(\n    listen: [\":8000\", // one ] more\n  )],\n)".to_owned(),
            "4:3: syntax error: `)` where `]` is missing: `[` is open since line 3; close what was opened last first",
        ),
        (
            "(\n  sites: [(\n    listen: [r#\"\"(\"#],\n".to_owned(),
            "2:11: syntax error: `(` is not closed; put a `)`",
        ),
        (format!("{good})"), "1:72: syntax error: `)` closes nothing"),
        (format!("/* ( /* [ */ ( */ {good})"), "1:90: syntax error: `)` closes nothing"),
        (
            "(\n  user: \"www,\n  pid_file: \"x\",\n)".to_owned(),
            "2:9: syntax error: the string that begins here goes over the end of its line; is its `\"` missing?",
        ),
        (
            "sites:\n  - listen: 8000\n".to_owned(),
            "1:6: syntax error: something follows the end of the value; the whole file",
        ),
        (
            "{\"sites\": []}".to_owned(),
            "1:1: expected ( key: value, … ), found a map { … }; write ( ) in place of { }",
        ),
        (
            format!("(sites: {}{})", "[".repeat(300), "]".repeat(300)),
            "1:73: syntax error: nested too deeply; no value",
        ),
        (String::new(), "1:1: the file is empty; write ( … ), or remove it"),
        ("// nothing yet\n".to_owned(), "3:1: syntax error: unexpected end of RON; there are only comments"),
    ];
    each_has_its_message(&cases);
    assert_eq!(
        load_text(&format!("\u{feff}{good}")),
        load_text(&good),
        "the mark of an editor is no mistake"
    );
}

#[test]
fn values_of_another_kind_are_shown_as_they_are_meant() {
    let cases = [
        (
            main("workers: 2"),
            "1:11: workers: expected ( key: value, … ), found the number 2; write (processes: 2)",
        ),
        (
            main("log: \"debug\""),
            "1:7: log: expected ( key: value, … ), found the string \"debug\"; write (level: \"debug\")",
        ),
        (
            main("log: (level: Debug)"),
            "1:15: log.level: expected a level in quotes, found `Debug`; write \"debug\"",
        ),
        (
            main("workers: (processes: auto)"),
            "1:23: workers.processes: expected a number, found `auto`; workers may have \"auto\"",
        ),
        (
            main("workers: (processes: {min: 1})"),
            "1:23: workers.processes: expected a number or (min: N, max: N), found a map",
        ),
        (
            main("workers: (processes: -1)"),
            "1:23: workers.processes: -1 is no number of processes; from 1 to 32",
        ),
        (
            main("shutdown_timeout: 1.5"),
            "1:20: shutdown_timeout: expected a duration, found a fraction; for example \"1500ms\"",
        ),
        (main("pid_file: \"a\\u{0}b\""), "1:12: pid_file: a path with the character NUL in it"),
        (
            app("preload: \"true\""),
            "1:46: apps.shop.preload: expected true or false, found a string; write it without quotes: true",
        ),
        (
            app("env: {\"A\": 1}"),
            "1:48: apps.shop.env.A: expected a string, found the number 1; put it in quotes: \"1\"",
        ),
        (
            location("path: \"/s/*\", to: Respond()"),
            "1:49: sites[0].locations[0].path: `/s/*` ends with a `*`, which means nothing here; `path` is a prefix: write \"/s/\"",
        ),
        (
            location("path: \"/\", to: Respond(200)"),
            "1:65: sites[0].locations[0].to: expected ( key: value, … ), found ( … ) without keys; name each value, as (status: …)",
        ),
        (
            location("path: \"/\", to: Proxy(\"http://127.0.0.1:9000\")"),
            "1:64: sites[0].locations[0].to: unknown upstream `http://127.0.0.1:9000`; an upstream has a name: Proxy(\"backend\"), and upstreams: { \"backend\": (servers: [\"127.0.0.1:9000\"]) }",
        ),
        (
            location("path: \"/\", to: Respond()").replace("\":8000\"", "8000"),
            "1:20: sites[0].listen[0]: expected an address, found the number 8000; write \":8000\"",
        ),
        (
            location("path: \"/\", to: Respond()").replace(":8000", "[::1]"),
            "1:20: sites[0].listen[0]: `[::1]` has no port; for example \"[::1]:8000\"",
        ),
    ];
    each_has_its_message(&cases);
    for (words, short) in
        [("5 minutes", "5m"), ("1 h 30 sec", "1h30s"), ("2 days", "2d"), ("250 ms", "250ms")]
    {
        let load = |time: &str| load_text(&main(&format!("shutdown_timeout: \"{time}\""))).unwrap();
        assert_eq!(load(words), load(short), "{words}");
    }
}

/// Problems that are found after reading know their keys only.
#[test]
fn what_is_found_later_has_its_place_in_the_file_that_it_comes_from() {
    let files = Memory::default()
        .with(
            "hatchery.ron",
            "(\n  include: [\"sites/*.ron\"],\n  apps: { \"v.1\": (module: \"v\", chdir: \"v\") },\n  sites: [(\n    listen: [\":1\"],\n    locations: [(path: \"/\", to: App(\"v.1\"))],\n  )],\n)",
        )
        .with("sites/a.ron", "(\n  sites: [\n    (listen: [\":2\", \":3\"], names: [\"a\"],\n      error_pages: {404: \"404\"}, locations: [(path: \"/\", to: Files(\"a\"))]),\n  ],\n)")
        .with("sites/b.ron", "(\n  sites: [(listen: [\":2\"], names: [\"b\"],\n    locations: [(path: \"/\", to: Respond())])],\n  cron: [(name: \"n\", at: \"@daily\",\n    command: [\"x\"])],\n  apps: {\"b\": (module: \"b\"), \"b.eu\": (module: \"b\", chdir: \"gone\")},\n)");
    let found = |keys: &[&str]| {
        let look = |_: &Config, _: bool| {
            (keys.iter().map(|key| Problem::of("hatchery.ron", key, "wrong")).collect(), Vec::new())
        };
        let examined = examine(Path::new("hatchery.ron"), &files, look);
        let lines = examined.problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>();
        lines.join("\n").replace(": wrong", "")
    };
    for (key, place) in [
        ("apps.v.1.chdir", "hatchery.ron:3:39: apps.v.1.chdir"),
        ("apps.v.1.home", "hatchery.ron:3:18: apps.v.1.home"),
        ("apps.b.home", "sites/b.ron:6:15: apps.b.home"),
        ("apps.b.eu.chdir", "sites/b.ron:6:59: apps.b.eu.chdir"),
        ("sites[0].listen[0]", "hatchery.ron:5:14: sites[0].listen[0]"),
        ("sites[1].listen[1]", "sites/a.ron:3:21: sites[0].listen[1]"),
        ("sites[1].error_pages[404]", "sites/a.ron:4:26: sites[0].error_pages.404"),
        ("sites[1].locations[0].to.root", "sites/a.ron:4:67: sites[0].locations[0].to.root"),
        ("sites[2].locations[0]", "sites/b.ron:3:17: sites[0].locations[0]"),
        ("cron[0].command", "sites/b.ron:5:14: cron[0].command"),
        ("user", "hatchery.ron: user"),
        ("", "hatchery.ron"),
    ] {
        assert_eq!(found(&[key]), place, "{key}");
    }
}

/// The machine is looked at for what could be read of a file with mistakes, unless places may have shifted.
#[test]
fn problems_of_the_machine_stand_with_those_of_the_file() {
    let text = "(\n  usr: \"x\",\n  pid_file: \"p\",\n  sites: [(\n    listen: [\":1\"],\n    locations: [(path: \"/a\"), (path: \"/\", to: Files(\"f\"))],\n  )],\n)";
    let look = |config: &Config, is_good: bool| {
        assert!(!is_good && config.pid_file.is_some());
        let keys = ["pid_file", "sites[0].listen[0]", "sites[0].locations[0].to.root"];
        (keys.map(|key| Problem::of("hatchery.ron", key, "wrong")).to_vec(), Vec::new())
    };
    let examined = examine(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", text), look);
    let lines: Vec<String> = examined.problems.iter().map(ToString::to_string).collect();
    let starts = [
        "hatchery.ron:2:3: usr: unknown",
        "hatchery.ron:3:13: pid_file: wrong",
        "hatchery.ron:5:14: sites[0].listen[0]: wrong",
        "hatchery.ron:6:17: sites[0].locations[0]: missing key `to`",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{lines:#?}");
    assert!(examined.config.is_none());
}

#[test]
fn places_count_characters_not_bytes() {
    let line =
        one(&format!("// ä\n(user: \"ÄÖÜ\", zzz: 1, {}", &location("path: \"/\", to: Respond()")[1..]));
    assert!(line.starts_with("hatchery.ron:2:15: zzz: unknown key `zzz`"), "{line}");
}

#[test]
fn variables_come_from_the_environment() {
    let text =
        app("threads: \"${THREADS}\", prove: \"${PROVE:-true}\", timeout: \"${T:-5}s\", user: \"${USER}\"");
    let source = || {
        Memory::default().with("hatchery.ron", &text).env("THREADS", "4").env("USER", "shop").env("T", "7")
    };
    let config = load(Path::new("hatchery.ron"), &source()).unwrap();
    let app = &config.apps[0];
    assert_eq!((app.kind.units(), app.upkeep.prove, app.timeout), (4, true, Duration::from_secs(7)));
    assert_eq!(app.user.as_deref(), Some("shop"));

    let unset = lines(&Memory::default().with("hatchery.ron", &text).env("USER", "shop"));
    assert_eq!(
        unset,
        [
            "hatchery.ron:1:46: apps.shop.threads: the environment variable `THREADS` is not set; set it, or give a default: `${THREADS:-…}`"
        ]
    );
    let bad = lines(&source().env("THREADS", "many"));
    assert_eq!(bad, ["hatchery.ron:1:46: apps.shop.threads: expected a number, the variable gives \"many\""]);
}

#[test]
fn included_files_add_their_sections() {
    let main = "(include: [\"sites/*.ron\", \"cron.ron\"], apps: {\"a\": (module: \"a\")})";
    let site = |app: &str, name: &str| {
        format!(
            "(sites: [(names: [\"{name}\"], listen: [\":80\"], locations: [(path: \"/\", to: App(\"{app}\"))])])"
        )
    };
    let source = Memory::default()
        .with("hatchery.ron", main)
        .with("sites/10-a.ron", &site("a", "a.example"))
        .with(
            "sites/20-b.ron",
            &format!("(apps: {{\"b\": (module: \"b\")}},{}", &site("b", "b.example")[1..]),
        )
        .with("sites/.hidden.ron", "nonsense")
        .with("cron.ron", "(cron: [(name: \"x\", at: \"* * * * *\", command: [\"true\"], app: \"a\")])");
    let config = load(Path::new("hatchery.ron"), &source).unwrap();
    let labels: Vec<&str> = config.sites.iter().map(|site| site.label.as_str()).collect();
    assert_eq!(labels, ["a.example", "b.example"]);
    assert_eq!(config.apps[1].chdir, Path::new("/etc/hatchery/sites"), "relative to the file that holds it");
    assert_eq!(config.cron[0].task.app, Some(0));
}

#[test]
fn included_files_have_their_own_mistakes() {
    let source = Memory::default()
        .with("hatchery.ron", "(\n  include: [\n    \"none.ron\",\n    \"sites/*.ron\",\n  ],\n  apps: {\"a\": (module: \"a\")},\n)")
        .with("sites/1.ron", "(user: \"x\",\n apps: {\"a\": (module: \"b\")})")
        .with("sites/2.ron", "(sites: [")
        .with("sites/3.ron", "(sites: [(names: [\"a.example\"], listen: [\":80\"], locations: [(path: \"/\", to: Respond())])])")
        .with("sites/4.ron", "(sites: [(names: [\"a.example\"], listen: [\"127.0.0.1:80\", \":80\"], locations: [(path: \"/\", to: Respond())])])");
    let want = [
        "hatchery.ron:3:5: include[0]: `none.ron`: no such file; check the path",
        "sites/1.ron:1:2: user: `user` belongs into the main file; an included file holds",
        "sites/1.ron:2:9: apps.a: `a` is already at apps.a (hatchery.ron:6:10); names are unique over all files",
        "sites/2.ron:1:9: syntax error: `[` is not closed",
        "sites/4.ron:1:19: sites[0].names[0]: `a.example` on `:80` is already sites[0].names[0] (sites/3.ron:1:19)",
        "sites/4.ron:1:42: sites[0].listen[0]: `127.0.0.1:80` and `:80` of sites[0].listen[0] (sites/3.ron:1:42) cannot both be bound",
    ];
    let lines = lines(&source);
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
}

#[test]
fn unused_names_are_warnings() {
    let text = format!(
        "(include: [\"none/*.ron\"], apps: {{\"a\": (module: \"a\")}}, upstreams: {{\"u\": (servers: [\"127.0.0.1:1\"])}}, {}",
        &location("path: \"/\", to: Respond()")[1..]
    );
    let source = Memory::default().with("hatchery.ron", &text);
    let (_, warnings) = load_with_warnings(Path::new("hatchery.ron"), &source).unwrap();
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "hatchery.ron:1:12: include[0]: `none/*.ron` matches no file",
            "hatchery.ron:1:34: apps.a: the app `a` is never used; no location, daemon or cron job uses it",
            "hatchery.ron:1:67: upstreams.u: the upstream `u` is never used; no location uses it",
        ]
    );
}

#[test]
fn servers_and_their_mistakes() {
    let upstream = |servers: &str| {
        format!(
            "(upstreams: {{\"u\": (servers: [{servers}])}},{}",
            &location("path: \"/\", to: Proxy(\"u\")")[1..]
        )
    };
    for (servers, want) in [
        (
            "\":80\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: `:80` names no host; for a server on this machine write \"127.0.0.1:80\"",
        ),
        (
            "\"api..example:80\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: `api..example` is not an address; write an IP address, or `localhost`",
        ),
        (
            "\"api.example:0\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: `api.example:0`: nothing listens on port 0",
        ),
        (
            "\"srv:api.example\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: `srv:api.example` names no service; for example \"srv:_http._tcp.api.internal\"",
        ),
        (
            "(address: \"srv:_http._tcp.a\", weight: 2)",
            "hatchery.ron:1:68: upstreams.u.servers[0].weight: `weight` of a service: its SRV records say the weights; remove it",
        ),
        (
            "\"API.example:80\", \"api.example:80\"",
            "hatchery.ron:1:48: upstreams.u.servers[1]: the same server as",
        ),
        (
            "\"https://1.2.3.4/\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: TLS is a key of the upstream, not a scheme of its servers; write \"1.2.3.4:443\", and `tls: ()` beside `servers`",
        ),
        (
            "\"https://[::1]:8443\"",
            "hatchery.ron:1:30: upstreams.u.servers[0]: TLS is a key of the upstream, not a scheme of its servers; write \"[::1]:8443\", and",
        ),
        (
            "(address: \"1.2.3.4:5\", wieght: 2)",
            "hatchery.ron:1:53: upstreams.u.servers[0].wieght: unknown key `wieght`; did you mean `weight`?",
        ),
        ("", "hatchery.ron:1:19: upstreams.u: no server; for example servers: [\"127.0.0.1:9000\"]"),
        (
            "\"1.2.3.4:5\", (address: \"1.2.3.4:5\")",
            "hatchery.ron:1:43: upstreams.u.servers[1]: the same server as upstreams.u.servers[0] (hatchery.ron:1:30); give it once",
        ),
    ] {
        let line = one(&upstream(servers));
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
    let scgi =
        upstream("\"1.2.3.4:5\"").replace("(servers", "(protocol: Scgi, tunnel_timeout: \"1m\", servers");
    assert_eq!(
        one(&scgi),
        "hatchery.ron:1:52: upstreams.u.tunnel_timeout: no other protocol than HTTP can become a tunnel; remove it"
    );
}

#[test]
fn more_servers_than_there_can_be_are_a_mistake() {
    let servers = |count: usize| {
        let servers: String = (1..=count).map(|port| format!("\"1.2.3.4:{port}\", ")).collect();
        let site = &location("path: \"/\", to: Proxy(\"u\")")[1..];
        format!("(upstreams: {{\"u\": (servers: [{servers}\"api.example:80\"])}},{site}")
    };
    assert_eq!(load_text(&servers(1_008)).map(|_| ()), Ok(()));
    assert_eq!(
        one(&servers(1_009)),
        "hatchery.ron: upstreams: 1025 servers of upstreams are more than the 1024 that are possible; a server with a name counts as 16"
    );
}

#[test]
fn a_queue_in_which_nobody_can_wait_is_a_warning() {
    let warned = |servers: &str| {
        let site = &location("path: \"/\", to: Proxy(\"u\")")[1..];
        let text = format!("(upstreams: {{\"u\": (servers: [{servers}], queue: 5)}},{site}");
        let source = Memory::default().with("hatchery.ron", &text);
        let (_, warnings) = load_with_warnings(Path::new("hatchery.ron"), &source).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warned("(address: \"1.2.3.4:5\", max_connections: 9)"), [""; 0]);
    assert_eq!(
        warned("\"1.2.3.4:5\""),
        [
            "hatchery.ron:1:51: upstreams.u.queue: nothing ever waits: no server has `max_connections`; give them one, or remove `queue`"
        ]
    );
}

#[test]
fn what_balances_says_what_is_wrong_with_it() {
    let upstream = |keys: &str| {
        let site = &location("path: \"/\", to: Proxy(\"u\")")[1..];
        format!("(upstreams: {{\"u\": (servers: [\"1.2.3.4:5\", \"1.2.3.4:6\"], {keys})}},{site}")
    };
    for (keys, want) in [
        (
            "balance: LeastConnection",
            "balance: unknown variant `LeastConnection`; did you mean `LeastConnections`?",
        ),
        ("balance: Hash", "balance: `Hash` does not say of what; write Hash(Client), Hash(Uri), Hash(Header"),
        ("balance: Hash(Clent)", "balance: unknown variant `Clent`; did you mean `Client`?"),
        ("balance: Hash(Header)", "balance: it does not say of what; write Hash(Client)"),
        ("balance: Hash(Cookie(\"a b\"))", "balance: `a b` cannot be the name of a cookie"),
        ("sticky: (mode: Insert)", "sticky: missing key `cookie`"),
        (
            "sticky: (cookie: \"r\", secret: \"short\")",
            "sticky.secret: `secret` is short enough to be guessed",
        ),
        (
            "sticky: (cookie: \"r\", mode: Prefix, max_age: \"1h\")",
            "sticky.max_age: `max_age` is for `mode: Insert`",
        ),
        (
            "sticky: (cookie: \"r\", mode: Prefix), balance: Hash(Cookie(\"r\"))",
            "sticky: `sticky` and a hash of a cookie both say where a session is; keep one of them",
        ),
        ("health: (body: \"ok\")", "health.body: `body` without a `path` that is asked for"),
        ("health: (path: \"healthz\")", "health.path: `healthz`: a path starts with a slash"),
        (
            "health: (path: \"/h\", every: \"1ms\")",
            "health.every: `every` is out of range; \"100ms\" or more",
        ),
        ("health: (path: \"/h\", fall: 0)", "health.fall: `fall` is out of range; from 1 to 100"),
        ("tries: 0", "tries: `tries` is out of range; from 1, which is no second try, to 100"),
        ("retry_statuses: [200]", "retry_statuses[0]: "),
    ] {
        let line = one(&upstream(keys));
        assert!(line.contains(&format!(": upstreams.u.{want}")), "\n{line}\n{want}");
    }
    let servers = |servers: &str| upstream("").replace("\"1.2.3.4:5\", \"1.2.3.4:6\"", servers);
    for (given, want) in [
        (
            "(address: \"1.2.3.4:5\", max_connections: 0)",
            "servers[0].max_connections: `max_connections` of 0 leaves",
        ),
        (
            "(address: \"1.2.3.4:5\", backup: true)",
            "servers: every server is a `backup`; leave it out of one at least",
        ),
    ] {
        let line = one(&servers(given));
        assert!(line.contains(&format!(": upstreams.u.{want}")), "\n{line}\n{want}");
    }
}

#[test]
fn tls_of_an_upstream() {
    let upstream = |server: &str, tls: &str| {
        format!(
            "(upstreams: {{\"u\": (servers: [\"{server}\"], tls: {tls})}},{}",
            &location("path: \"/\", to: Proxy(\"u\")")[1..]
        )
    };
    for (server, tls, want) in [
        (
            "unix:/s",
            "(ca: \"a\")",
            "1:47: upstreams.u.tls: nothing says what name the certificate of unix:/s must have; give it, for example tls: (name: \"api.internal\")",
        ),
        (
            "1.2.3.4:5",
            "(certificate: \"c\")",
            "1:63: upstreams.u.tls.certificate: `certificate` without `key`: a server is shown both or nothing; give `key`, or remove it",
        ),
        ("1.2.3.4:5", "(key: \"c\")", "1:55: upstreams.u.tls.key: `key` without `certificate`"),
        (
            "1.2.3.4:5",
            "(ca: \"c\", verify: false)",
            "1:67: upstreams.u.tls.verify: `verify: false` believes whoever answers, and `ca` says who is to be believed; remove one of them",
        ),
        ("1.2.3.4:5", "(name: \"*.a\")", "1:56: upstreams.u.tls.name: `*.a` is many names; give one"),
        (
            "1.2.3.4:5",
            "(sni: \"a\")",
            "1:50: upstreams.u.tls.sni: unknown key `sni`; it is called `name` here",
        ),
        ("1.2.3.4:5", "true", "1:49: upstreams.u.tls: "),
    ] {
        let line = one(&upstream(server, tls));
        assert!(line.starts_with(&format!("hatchery.ron:{want}")), "\n{line}\n{want}");
    }
    for (server, tls) in [
        ("1.2.3.4:5", "()"),
        ("unix:/s", "(name: \"a\", ca: \"c\", certificate: \"e\", key: \"k\")"),
        ("1.2.3.4:5", "(name: \"[::1]\", verify: false)"),
    ] {
        let config = load_text(&upstream(server, tls)).unwrap();
        assert_eq!(load_text(&to_ron(&config)).as_ref(), Ok(&config), "{}", to_ron(&config));
    }
}

#[test]
fn scripts_are_for_fastcgi_and_have_a_root() {
    let upstream = |keys: &str| {
        let location = location("path: \"/\", to: Proxy(\"u\")");
        one(&format!("(upstreams: {{\"u\": ({keys}, servers: [\"1.2.3.4:5\"])}},{}", &location[1..]))
    };
    for (keys, want) in [
        (
            "root: \"/srv\"",
            "hatchery.ron:1:26: upstreams.u.root: `root` is for `protocol: FastCgi`; remove it, or give the protocol",
        ),
        (
            "protocol: FastCgi, index: \"index.php\"",
            "hatchery.ron:1:46: upstreams.u.index: `index` without a `root` that its scripts are in; give `root`, or remove it",
        ),
        (
            "protocol: FastCgi, root: \"/srv\", index: \"../x.php\"",
            "hatchery.ron:1:60: upstreams.u.index: `../x.php` is no script; write \"index.php\" for paths that end in `/`, or \
             \"/index.php\" for all that name no script",
        ),
        (
            "protocol: FastCgi, root: \"/srv\", index: \"/\"",
            "hatchery.ron:1:60: upstreams.u.index: `/` is no script",
        ),
        ("protocol: Fcgi", "hatchery.ron:1:30: upstreams.u.protocol: unknown variant `Fcgi`"),
    ] {
        let line = upstream(keys);
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
}

#[test]
fn mounts_are_prefixes_of_their_location() {
    let mounted = |location: &str| {
        let text = format!("(apps: {{\"s\": (module: \"s\")}},{}", &self::location(location)[1..]);
        load_text(&text)
            .map(|config| config.sites[0].locations[0].handler.as_ref().clone())
            .map_err(|problems| problems[0].to_string())
    };
    let at = |mount: &str| Ok(Handler::App { app: 0, mount: mount.to_owned() });
    assert_eq!(mounted("path: \"/blog/\", to: App(name: \"s\", mount: \"/blog\")"), at("/blog"));
    assert_eq!(mounted("path: \"/blog/admin\", to: App(name: \"s\", mount: \"/blog/\")"), at("/blog"));
    assert_eq!(mounted("path: \"/\", to: App(name: \"s\", mount: \"/\")"), at(""));
    let wrong = mounted("path: \"/blogs\", to: App(name: \"s\", mount: \"/blog\")").unwrap_err();
    assert!(
        wrong.contains("mount `/blog` is not the beginning of `/blogs`; write path: \"/blog\""),
        "{wrong}"
    );
    assert!(
        mounted("regex: \"x\", to: App(name: \"s\", mount: \"/blog\")")
            .unwrap_err()
            .contains("needs a location with `path`")
    );
    assert!(
        mounted("path: \"/\", to: App(name: \"s\", mount: \"blog\")")
            .unwrap_err()
            .contains("does not begin with `/`")
    );
}

#[test]
fn cron_jobs_and_their_mistakes() {
    let text = "(cron: [\n (name: \"a\", at: \"* * * * *\", command: \"python manage.py x\"),\n (name: \"b\", at: \"* * * * *\", command: []),\n (name: \"c\", command: [\"true\"], overlap: Skp, app: \"shop\"),\n (name: \"d\", at: \"* * * * *\", command: [\"true\"]),\n (name: \"d\", at: \"* * * * *\", command: [\"true\"]),\n])";
    let want = [
        "hatchery.ron:2:40: cron[0].command: expected a list, found one string; no shell runs it, write the words one by one: [\"python\", \"manage.py\", \"x\"]",
        "hatchery.ron:3:40: cron[1].command: no program",
        "hatchery.ron:4:2: cron[2]: missing key `at`; for example at: \"17 3 * * *\"",
        "hatchery.ron:4:42: cron[2].overlap: unknown variant `Skp`; did you mean `Skip`?",
        "hatchery.ron:4:52: cron[2].app: unknown app `shop`; define it: apps: { \"shop\": ( … ) }",
        "hatchery.ron:6:9: cron[4].name: the job `d` is already at cron[3].name (hatchery.ron:5:9); names are unique",
    ];
    let lines = lines(&Memory::default().with("hatchery.ron", text));
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
}

#[test]
fn a_missing_main_file_is_said_plainly() {
    assert_eq!(lines(&Memory::default()), ["hatchery.ron: no such file; check the path"]);
}

/// Whatever is broken in a file: problems with a place, never a panic.
#[test]
fn a_damaged_file_is_told_where() {
    let mut loaded = 0;
    for (at, _) in CONTRACT.char_indices() {
        let (before, after) = CONTRACT.split_at(at);
        let rest = after.chars().next().and_then(|char| after.get(char.len_utf8()..)).unwrap_or_default();
        for text in [
            before.to_owned(),
            format!("{before}{rest}"),
            format!("{before}\"{rest}"),
            format!("{before}({rest}"),
        ] {
            match load_text(&text) {
                Ok(_) => loaded += 1,
                Err(problems) => {
                    assert!(!problems.is_empty());
                    for problem in problems {
                        assert!(problem.line > 0 && problem.column > 0, "{problem}\n{text}");
                    }
                }
            }
        }
    }
    assert!(loaded > 100, "spaces and letters of names may go: {loaded}");
    let deep = format!("(user: {}{})", "[".repeat(1000), "]".repeat(1000));
    assert!(load_text(&deep).unwrap_err()[0].what.contains("nested too deeply"));
}

#[test]
fn schedules_and_zones_are_checked() {
    let text = "(cron: [\n (name: \"a\", at: \"61 * * * *\", timezone: \"Mars/Olympus\", command: [\"true\"]),\n (name: \"b\", at: \"0 0 30 2 *\", command: [\"true\"]),\n (name: \"c\", at: \"@dayly\", command: [\"true\"]),\n (name: \"d\", at: \"@daily\", timezone: \"Asia/Seoul\", command: [\"true\"]),\n])";
    let lines = lines(&Memory::default().with("hatchery.ron", text));
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (line, want) in lines.iter().zip([
        "hatchery.ron:2:18: cron[0].at: ",
        "hatchery.ron:2:42: cron[0].timezone: ",
        "hatchery.ron:3:18: cron[1].at: ",
        "hatchery.ron:4:18: cron[2].at: ",
    ]) {
        println!("{line}");
        assert!(line.starts_with(want), "\n{line}\n{want}");
    }
    let (zone, impossible) = (&lines[1], &lines[2]);
    assert!(zone.contains("Mars/Olympus") && impossible.contains("never"), "{lines:#?}");
}

/// A location with an upstream.
fn proxied(location: &str) -> String {
    format!(
        "(sites: [(listen: [\":1\"], locations: [({location})])], upstreams: {{\"u\": (servers: [\"127.0.0.1:1\"])}})"
    )
}

#[test]
fn what_an_upstream_cannot_be_shown_is_refused() {
    let cases = [
        (
            proxied("regex: \"x\", to: Proxy(name: \"u\", strip: true)"),
            "sites[0].locations[0].to: `strip` needs a location with `path`; give the location a prefix",
        ),
        (
            proxied("path: \"/\", to: Proxy(name: \"u\", strip: true)"),
            "sites[0].locations[0].to: `strip` has no prefix to drop at `/`; remove it",
        ),
        (
            proxied("exact: \"/f\", to: Files(root: \"x\", fallback: Proxy(name: \"u\", strip: true))"),
            "sites[0].locations[0].to: `strip` needs a location with `path`",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", strip: true, rewrite: \"/$rest\")"),
            "sites[0].locations[0].to.rewrite: `strip` and `rewrite` exclude each other",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", rewrite: \"https://x/\")"),
            "sites[0].locations[0].to.rewrite: `https://x/` is no path",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", rewrite: \"/$uri\")"),
            "sites[0].locations[0].to.rewrite: unknown variable `uri`",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", rewrite: \"/ü\")"),
            "sites[0].locations[0].to.rewrite: a character of a path that is none of ASCII; percent-encode it",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", rewrite: \"/x#y\")"),
            "sites[0].locations[0].to.rewrite: a `#` in a path",
        ),
        (
            proxied("path: \"/a\", to: Proxy(name: \"u\", host: \"http://x\")"),
            "sites[0].locations[0].to.host: `http://x` is no host",
        ),
        (
            proxied("path: \"/a\", strip: true, to: Proxy(\"u\")"),
            "sites[0].locations[0].strip: unknown key `strip`; it goes into `to: Proxy(name: \"…\", …)`",
        ),
    ];
    mistakes_of_fields(cases.into());
}

#[test]
fn fields_that_the_server_writes_are_no_fields_to_change() {
    let to = |headers: &str| proxied(&format!("path: \"/a\", to: Proxy(name: \"u\", {headers})"));
    let cases = [
        (
            to("request_headers: (set: {\"content-length\": \"1\"})"),
            ".to.request_headers.set.content-length: `content-length` is written by the server itself",
        ),
        (
            to("response_headers: (add: {\"Transfer-Encoding\": \"chunked\"})"),
            ".to.response_headers.add.Transfer-Encoding: `Transfer-Encoding` is written by the server itself",
        ),
        (
            to("response_headers: (remove: [\"Connection\"])"),
            ".to.response_headers.remove[0]: `Connection` is written by the server itself",
        ),
        (
            to("request_headers: (set: {\"Host\": \"x\"})"),
            ".to.request_headers.set.Host: `Host` is no field like others; write host: \"…\" into `Proxy`",
        ),
        (to("request_headers: (set: {\"X_A\": \"x\"})"), ".set.X_A: `X_A` has a `_` in it; servers drop it"),
        (to("request_headers: (set: {\"A b\": \"x\"})"), "\"A b\" is no name of a field"),
        (to("request_headers: (set: {\"Proxy\": \"x\"})"), ".set.Proxy: `Proxy` is never sent"),
        (to("request_headers: (set: {\"A\": \"\"})"), ".set.A: an empty value; to drop the field"),
        (to("request_headers: (add: {\"A\": \"x\\ny\"})"), ".add.A: a control character in a header field"),
        (to("request_headers: (set: {\"A\": \"x\", \"a\": \"y\"})"), ".set.a: given twice"),
        (to("request_headers: (set: {\"A\": \"x\"}, remove: [\"a\"])"), ".remove: `a` is set, too"),
        (to("request_headers: {\"A\": \"x\", \"Te\": \"x\"}"), ".to.request_headers.Te: `Te` is written by"),
        (to("request_headers: [\"A\"]"), ".to.request_headers: expected { \"name\": …, … }, found a list"),
    ];
    mistakes_of_fields(cases.into());
}

/// Each file has one mistake, and so much is said of it.
fn mistakes_of_fields(cases: Vec<(String, &str)>) {
    for (text, want) in cases {
        let lines = lines(&Memory::default().with("hatchery.ron", &text));
        assert!(matches!(lines.as_slice(), [line] if line.contains(want)), "{text}\n{want}\n{lines:#?}");
    }
}
