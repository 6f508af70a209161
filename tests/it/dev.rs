//! Apps whose code is edited while they serve: `hatchery dev`, and `reload_on_change`.

use crate::harness::{Connection, Load, Reply, SOON, Server, Setup, get, holds, reply_to, wait_until};
use nix::sys::signal::Signal;
use std::fs;

/// One site with the app `shop`, with more keys of it.
fn site(more: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("shop"))])],
    apps: {{"shop": (module: "shop", chdir: "{{dir}}", {more})}},"#
    )
}

/// Answers with this text.
fn answering(text: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         return [b'{text}']\n"
    )
}

fn start(code: &str, more: &str) -> Server {
    let setup = Setup::new(&site(&format!("reload_on_change: true, {more}")));
    setup.directory.write("shop.py", code);
    setup.start()
}

fn write(server: &Server, name: &str, text: &str) {
    server.directory().write(name, text);
}

#[track_caller]
fn wait_answer(server: &Server, text: &str) {
    wait_until(SOON, "the answer of the new code", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200 && reply.text() == text, (reply.status, reply.text()))
    });
}

/// How many times a roll has begun.
fn edits(server: &Server) -> usize {
    server.log().iter().filter(|line| line.ends_with("hatchery: app shop: its code has changed")).count()
}

/// Waits until an edit that was made before has been noticed, and says how many were by then: another one, of a file that is
/// watched as well, is noticed after it.
#[track_caller]
fn edits_up_to_now(server: &Server) -> usize {
    let before = edits(server);
    write(server, "later.py", "");
    wait_until(SOON, "the last edit is noticed", || holds(edits(server) > before, server.log()));
    wait_until(SOON, "nothing boots", || {
        let pool = server.pool("shop");
        holds(pool.children.iter().all(|child| child.state == "ready") && !pool.children.is_empty(), &pool)
    });
    before
}

#[test]
fn an_edit_rolls_the_app_and_no_request_fails() {
    let server = start(&answering("one"), "");
    wait_answer(&server, "one");
    let load = Load::start(server.address, 4, &["/"]);
    load.wait_for(20);
    for text in ["two", "three"] {
        write(&server, "shop.py", &answering(text));
        wait_answer(&server, text);
        load.wait_for(20);
    }
    let report = load.finish();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(server.status().generation, 1, "it is no reload");
}

#[test]
fn broken_code_is_told_and_the_old_goes_on_until_it_is_mended() {
    let server = start(&answering("one"), "processes: 2").tolerant(&["could not start"]);
    write(&server, "shop.py", "def application(:\n");
    server.wait_log("the process that it was to replace goes on");
    assert!(server.log().join("\n").contains("SyntaxError"), "{:?}", server.log());
    wait_answer(&server, "one");
    write(&server, "shop.py", &answering("two"));
    wait_answer(&server, "two");
    wait_until(SOON, "both are replaced", || {
        let old = (0..8).filter(|_| get(server.address, "/").text() != "two").count();
        holds(old == 0, old)
    });
}

#[test]
fn a_start_with_broken_code_serves_once_it_is_mended() {
    for more in ["", "processes: (min: 0, max: 1), prove: true", "preload: true"] {
        let server =
            start("import no_such_module_of_ours\n", more).tolerant(&["could not start", "no_such_module"]);
        assert_eq!(get(server.address, "/").status, 503, "{more}");
        write(&server, "shop.py", &answering("mended"));
        wait_answer(&server, "mended");
    }
}

#[test]
fn what_no_process_has_imported_rolls_nothing() {
    let setup =
        Setup::new(&site("reload_on_change: true, home: \"{dir}/env\", python: \"/usr/bin/python3\""));
    setup.directory.write("shop.py", answering("one"));
    let quiet = [
        "templates/base.html",
        "static/site.css",
        "env/x.py",
        "other/pyvenv.cfg",
        "other/lib/x.py",
        "db.sqlite3",
        ".git/x.py",
        "node_modules/x/y.py",
        "__pycache__/x.py",
        "shop.py.swp",
        ".#shop.py",
    ];
    quiet.iter().for_each(|name| drop(setup.directory.write(name, "")));
    let server = setup.start();
    quiet.iter().for_each(|name| write(&server, name, "1"));
    assert_eq!(edits_up_to_now(&server), 0, "{:?}", server.log());
    wait_answer(&server, "one");
}

#[test]
fn new_directories_renamed_files_and_watched_directories_are_followed() {
    let setup = Setup::new(&site("reload_on_change: true, watch: [\"{dir}-lib\"]"));
    let lib = format!("{}-lib", setup.directory.path().display());
    fs::create_dir(&lib).unwrap();
    setup.directory.write("shop.py", answering("one"));
    let server = setup.start();
    let at = |name: &str| server.directory().path().join(name);
    // As editors do that write beside the file first.
    fs::write(at(".shop.py.new"), answering("two")).unwrap();
    fs::rename(at(".shop.py.new"), at("shop.py")).unwrap();
    wait_answer(&server, "two");
    write(&server, "new/deep/answer.py", "answer = b'three'\n");
    write(
        &server,
        "shop.py",
        &answering("two").replace("b'two'", "__import__('new.deep.answer').deep.answer.answer"),
    );
    wait_answer(&server, "three");
    write(&server, "new/deep/answer.py", "answer = b'four'\n");
    wait_answer(&server, "four");
    let before = edits(&server);
    fs::write(format!("{lib}/x.py"), "").unwrap();
    wait_until(SOON, "the edit elsewhere is noticed", || holds(edits(&server) > before, server.log()));
    fs::remove_dir_all(lib).unwrap();
}

#[test]
fn a_burst_of_edits_is_one_roll() {
    let server = start(&answering("one"), "");
    // It comes to the edits when all have been made, however slow the machine is.
    server.master.signal(Signal::SIGSTOP);
    for number in 0..200 {
        write(&server, &format!("many/file{number}.py"), "");
    }
    write(&server, "shop.py", &answering("two"));
    server.master.signal(Signal::SIGCONT);
    wait_answer(&server, "two");
    assert_eq!(edits_up_to_now(&server), 1, "{:?}", server.log());
}

#[test]
fn an_edit_while_the_app_boots_is_the_code_that_serves() {
    let server = start(&answering("one"), "");
    // Its import lasts until the test has gone on.
    write(
        &server,
        "shop.py",
        &format!("open('begun', 'w')\nimport time\ntime.sleep(600)\n{}", answering("slow")),
    );
    let begun = server.directory().path().join("begun");
    wait_until(SOON, "the new process imports", || holds(begun.exists(), server.log()));
    write(&server, "shop.py", &answering("two"));
    wait_answer(&server, "two");
}

#[test]
fn sleeping_and_preloaded_apps_and_commands_get_the_new_code() {
    let cheap = start(&answering("one"), "processes: (min: 0, max: 1), idle: \"500ms\"");
    wait_answer(&cheap, "one");
    wait_until(SOON, "it sleeps", || {
        let pool = cheap.pool("shop");
        holds(pool.children.is_empty(), &pool)
    });
    write(&cheap, "shop.py", &answering("two"));
    wait_answer(&cheap, "two");
    let template = start(&answering("one"), "preload: true, keep: Template, processes: (min: 0, max: 2)");
    wait_answer(&template, "one");
    write(&template, "shop.py", &answering("two"));
    wait_answer(&template, "two");
    let command = r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("shop"))])],
    apps: {"shop": (command: ["/usr/bin/python3", "shop.py"], chdir: "{dir}", reload_on_change: true)},"#;
    let code = |text: &str| {
        format!(
            "import http.server, socket\n\
             class Handler(http.server.BaseHTTPRequestHandler):\n    log_message = print\n    def do_GET(self):\n        \
             self.send_response(200)\n        self.send_header('Content-Length', '3')\n        self.end_headers()\n        \
             self.wfile.write(b'{text}')\n\
             server = http.server.HTTPServer(('', 0), Handler, bind_and_activate=False)\n\
             server.socket = socket.socket(fileno=3)\nserver.server_name, server.server_port = 'x', 0\n\
             server.serve_forever()\n"
        )
    };
    let setup = Setup::new(command);
    setup.directory.write("shop.py", code("one"));
    let server = setup.start();
    wait_answer(&server, "one");
    write(&server, "shop.py", &code("two"));
    wait_answer(&server, "two");
}

/// An ASGI app that answers with a page of this text.
fn asgi_page_of(text: &str) -> String {
    format!(
        "async def application(scope, receive, send):\n    assert scope['type'] == 'http'\n    \
         await send({{'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/html')]}})\n    \
         await send({{'type': 'http.response.body', 'body': b'<p>{text}</p>'}})\n"
    )
}

#[test]
fn asgi_apps_are_rolled_and_shown_alike() {
    let server = start(&asgi_page_of("one"), "live_reload: true").tolerant(&["could not start"]);
    wait_answer(&server, "<p>one</p>");
    write(&server, "shop.py", &asgi_page_of("two"));
    wait_answer(&server, "<p>two</p>");
    let page = browse(&server, "GET", "/", &[]).text();
    assert!(page.starts_with("<p>two</p>") && !serial_of(&page).is_empty(), "{page}");
    write(&server, "shop.py", BROKEN);
    server.wait_log("the process that it was to replace goes on");
    wait_until(SOON, "the page with the traceback", || {
        let page = browse(&server, "GET", "/", &[]);
        holds(page.status == 500 && page.text().contains("ValueError"), page.status)
    });
    wait_answer(&server, "<p>two</p>");
}

#[test]
fn a_change_of_the_configuration_or_of_variables_is_a_reload() {
    let code = "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
                return [os.environ['ANSWER'].encode()]\n";
    let setup = Setup::new(&site("reload_on_change: true, env_file: \"shop.env\""));
    setup.directory.write("shop.py", code);
    setup.directory.write("shop.env", "ANSWER=one\n");
    let server = setup.start().tolerant(&["reload failed"]);
    wait_answer(&server, "one");
    write(&server, "shop.env", "ANSWER=two\n");
    wait_answer(&server, "two");
    server.configure(&site("reload_on_change: true, env: {\"ANSWER\": \"three\"}"));
    wait_answer(&server, "three");
    server.configure("no such thing");
    server.wait_log("reload failed");
    wait_answer(&server, "three");
    server.configure(&site("env: {\"ANSWER\": \"four\"}"));
    wait_answer(&server, "four");
    let before = edits(&server);
    write(&server, "shop.py", "broken");
    assert_eq!(edits(&server), before);
    wait_answer(&server, "four");
}

#[test]
fn dev_watches_the_app_of_its_flags_and_every_app_of_a_file() {
    let setup = Setup::flags(&["dev", "--http", "{address}", "--module", "shop", "--chdir", "{dir}"]);
    setup.directory.write("shop.py", answering("one"));
    let server = setup.start();
    wait_answer(&server, "one");
    server.wait_log("200 GET / (");
    write(&server, "shop.py", &answering("two"));
    wait_answer(&server, "two");
    let mut setup = Setup::flags(&["dev"]).bind_itself();
    let refused = setup.run_to_end();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("there is no hatchery.ron here"), "{}", refused.stderr);
    let setup = Setup::flags(&["dev"]);
    let text = setup.replace(&format!("(\n{}\n)", site("")));
    setup.directory.write("hatchery.ron", text);
    setup.directory.write("shop.py", answering("one"));
    let server = setup.start();
    write(&server, "shop.py", &answering("two"));
    wait_answer(&server, "two");
}

/// What a browser on this machine has for a path, with more fields.
#[track_caller]
fn browse(server: &Server, method: &str, path: &str, more: &[(&str, &str)]) -> Reply {
    let host = server.address.to_string();
    let mut fields = vec![("Host", host.as_str()), ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    fields.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    fields.extend(more);
    Connection::open(server.address).unwrap().request(method, path, &fields, b"").unwrap()
}

const BROKEN: &str = "def view():\n    return '<script>'\nraise ValueError('<b>no</b> & none')\n";

#[test]
fn a_browser_on_this_machine_is_shown_the_traceback_and_nobody_else() {
    let server = start(&answering("one"), "").tolerant(&["could not start"]);
    wait_answer(&server, "one");
    write(&server, "shop.py", BROKEN);
    server.wait_log("the process that it was to replace goes on");
    let page = wait_until(SOON, "the page with the traceback", || {
        let page = browse(&server, "GET", "/cart?a=1", &[]);
        holds(page.status == 500, (page.status, page.text())).map(|()| page)
    });
    let text = page.text();
    assert!(text.contains("ValueError: &lt;b&gt;no&lt;/b&gt; &amp; none") && !text.contains("<b>"), "{text}");
    assert!(text.contains("Traceback (most recent call last)") && text.contains("shop.py"), "{text}");
    let policy = page.field("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'nonce-") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.field("cache-control"), Some("no-store"));
    // Everybody else has the code from before.
    let old = |method, more: &[(&str, &str)]| {
        let reply = browse(&server, method, "/cart?a=1", more);
        assert_eq!((reply.status, reply.text().as_str()), (200, "one"), "{method} {more:?}");
    };
    old("GET", &[("Accept", "*/*")]);
    old("GET", &[("Accept", "application/json")]);
    old("POST", &[]);
    for field in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"] {
        old("GET", &[(field, "for=192.0.2.1")]);
    }
    old("GET", &[("Host", "evil.example")]);
    // A proxy that was told nothing but the address.
    let bare = "GET /cart?a=1 HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: text/html\r\n\r\n";
    assert_eq!(reply_to(server.address, bare).0.text(), "one");
    assert_eq!(browse(&server, "HEAD", "/", &[("Host", "localhost")]).status, 500);
    // The link goes on with it, until there is another traceback.
    let link = text.split("<a href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let reply = browse(&server, "GET", link, &[]);
    assert_eq!((reply.status, reply.field("location")), (303, Some("/cart?a=1")));
    let cookie = reply.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    old("GET", &[("Cookie", &format!("a=b; {cookie}"))]);
    assert_eq!(browse(&server, "GET", "/", &[("Cookie", "hatchery_old=1")]).status, 500);
    assert_eq!(
        browse(&server, "GET", &link.replace("/cart", "//evil.example"), &[]).status,
        500,
        "no redirect"
    );
    // Mended.
    write(&server, "shop.py", &answering("two"));
    wait_answer(&server, "two");
    wait_until(SOON, "the page is gone", || {
        let reply = browse(&server, "GET", "/", &[]);
        holds(reply.status == 200 && reply.text() == "two", reply.status)
    });
}

#[test]
fn a_proxy_that_is_trusted_is_no_browser_whatever_it_says() {
    let trusting = r#"(listen: ["{address}"], names: ["shop.localhost"], trusted_proxies: ["127.0.0.1"],
        client_address: "Fly-Client-IP", locations: [(path: "/", to: App("shop"))]), (listen"#;
    let site = site("reload_on_change: true, live_reload: true").replace("(listen", trusting);
    let setup = Setup::new(&site);
    setup.directory.write("shop.py", answering("one").replace("text/plain", "text/html"));
    let server = setup.start().tolerant(&["could not start"]);
    wait_answer_of(&server, |text| text.starts_with("one<script"));
    let proxied = |path: &str| {
        for more in [&[("Fly-Client-IP", "192.0.2.1")][..], &[]] {
            let fields = [&[("Host", "shop.localhost")], more].concat();
            let reply = browse(&server, "GET", path, &fields);
            assert_eq!((reply.status, reply.text().as_str()), (200, "one"), "{path} {more:?}");
        }
    };
    proxied("/");
    proxied("/.hatchery/reload.js");
    write(&server, "shop.py", BROKEN);
    wait_answer_of(&server, |text| text.contains("ValueError"));
    proxied("/");
}

/// Waits until a browser on this machine is shown such a page.
#[track_caller]
fn wait_answer_of(server: &Server, is_it: impl Fn(&str) -> bool) {
    wait_until(SOON, "the page for who develops", || {
        let page = browse(server, "GET", "/", &[]).text();
        holds(is_it(page.as_str()), page)
    });
}

#[test]
fn the_first_code_that_does_not_start_is_shown_too_in_all_ways_of_starting() {
    let sleeping = "processes: (min: 0, max: 1)";
    for more in ["", sleeping, "preload: true", "processes: 2"] {
        let server = start(BROKEN, more).tolerant(&["could not start", "ValueError"]);
        let page = wait_until(SOON, "the page with the traceback", || {
            let page = browse(&server, "GET", "/", &[]);
            holds(page.status == 500, (more, page.status, page.text())).map(|()| page)
        });
        assert!(page.text().contains("Nothing serves in its place"), "{}", page.text());
        assert!(!page.text().contains("<a href"), "{}", page.text());
        assert_eq!(browse(&server, "POST", "/", &[]).status, 500, "{more}");
        let api = browse(&server, "GET", "/", &[("Accept", "*/*")]);
        assert!(api.status == 503 && !api.text().contains("ValueError"), "{more} {}", api.text());
        // A worker that comes later knows it, and so does one of a program that was replaced.
        if more.is_empty() {
            let before = server.ready("worker");
            assert_eq!(server.command(&["restart", "workers"]).code, Some(0));
            assert_ne!(server.ready("worker"), before);
            assert_eq!(browse(&server, "GET", "/", &[]).status, 500);
            let before = server.ready("worker");
            server.master.signal(Signal::SIGUSR2);
            server.wait_log("goes on in place of");
            wait_until(SOON, "the workers are of the new program", || {
                let status = server.status();
                holds(status.mode == "running" && server.ready("worker") != before, &status)
            });
            assert_eq!(browse(&server, "GET", "/", &[]).status, 500, "after an upgrade");
        }
        write(&server, "shop.py", &answering("mended"));
        wait_until(SOON, "the new code serves browsers", || {
            let reply = browse(&server, "GET", "/", &[]);
            holds(reply.text() == "mended", (more, reply.status))
        });
    }
}

#[test]
fn a_server_that_nobody_develops_shows_nothing() {
    let setup = Setup::new(&site("processes: (min: 0, max: 1)"));
    setup.directory.write("shop.py", BROKEN);
    let server = setup.start().tolerant(&["could not start"]);
    let reply = browse(&server, "GET", "/", &[]);
    assert!(reply.status == 503 && !reply.text().contains("ValueError"), "{}", reply.text());
    assert_eq!(browse(&server, "GET", "/.hatchery/old/1/x", &[]).status, 503, "it is the app's");
}

/// Answers with a page, with more fields.
fn page_of(text: &str, more: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/html; charset=utf-8'), \
         {more}])\n    return [b'<p>{text}</p>']\n"
    )
}

/// The serial that a page has in the address of its script.
#[track_caller]
fn serial_of(page: &str) -> &str {
    let (_, after) =
        page.split_once("<script src=\"/.hatchery/reload.js?").unwrap_or_else(|| panic!("no script: {page}"));
    let (serial, rest) = after.split_once('"').unwrap();
    assert_eq!(rest, "></script>\n");
    serial
}

/// The serial of the next event.
#[track_caller]
fn next_event(events: &mut Connection) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\n\n") || !text.windows(5).any(|part| part == b"data:") {
        events.exactly(1, &mut text).unwrap();
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned()
}

#[track_caller]
fn listen(server: &Server) -> Connection {
    let mut events = Connection::open(server.address).unwrap();
    let request = format!(
        "GET /.hatchery/reload HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
        server.address
    );
    events.send(request).unwrap();
    let head = events.reply_head().unwrap();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    events
}

#[test]
fn pages_of_browsers_here_load_themselves_again_after_an_edit() {
    let length = "('Content-Length', '10')";
    let server = start(&page_of("one", length), "live_reload: true").tolerant(&["could not start"]);
    let page = |more: &[(&str, &str)]| browse(&server, "GET", "/", more).text();
    let first = page(&[]);
    let serial = serial_of(&first).to_owned();
    assert!(first.starts_with("<p>one</p><script"), "{first}");
    // Nobody else has it in a page.
    for more in [("Accept", "*/*"), ("X-Forwarded-For", "192.0.2.1"), ("Host", "evil.example")] {
        assert_eq!(page(&[more]), "<p>one</p>", "{more:?}");
    }
    assert_eq!(browse(&server, "HEAD", "/", &[]).field("content-length"), Some("10"));
    let script = get(server.address, "/.hatchery/reload.js");
    assert_eq!(script.field("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(script.text().contains("EventSource"));
    let mut events = listen(&server);
    assert_eq!(next_event(&mut events), serial, "the page is as new as can be");
    write(&server, "shop.py", &page_of("two", ""));
    let second = next_event(&mut events);
    assert_ne!(second, serial);
    let text = page(&[]);
    assert!(text.starts_with("<p>two</p>") && serial_of(&text) == second, "{text}");
    // Templates and static files roll nothing.
    let before = edits(&server);
    write(&server, "templates/base.html", "<p>");
    assert_ne!(next_event(&mut events), second);
    assert_eq!(edits(&server), before);
    // The page with a traceback is one as well.
    write(&server, "shop.py", BROKEN);
    wait_until(SOON, "the page with the traceback", || {
        let page = browse(&server, "GET", "/", &[]);
        let nonce = page.text().contains("\" src=\"/.hatchery/reload.js?");
        holds(page.status == 500 && nonce, page.text())
    });
    // An old worker does not stay for it.
    let mut events = listen(&server);
    next_event(&mut events);
    assert_eq!(server.command(&["restart", "workers"]).code, Some(0));
    wait_until(SOON, "the old worker has left", || {
        let pool = server.pool("worker");
        holds(pool.children.len() == 1, &pool)
    });
}

#[test]
fn what_is_no_whole_page_in_plain_text_is_left_alone() {
    let code = "def application(environ, start_response):\n    \
        path = environ['PATH_INFO']\n    fields = {'/gzip': [('Content-Type', 'text/html'), ('Content-Encoding', 'gzip')],\n        \
        '/json': [('Content-Type', 'application/json')], '/none': []}.get(path, [('Content-Type', 'Text/HTML')])\n    \
        start_response({'/part': '206 Partial', '/moved': '302 Found'}.get(path, '200 OK'), fields)\n    \
        return [] if path == '/moved' else [b'text']\n";
    let server = start(code, "live_reload: true");
    let text = |path: &str| browse(&server, "GET", path, &[]).text();
    for path in ["/gzip", "/json", "/none", "/part"] {
        assert_eq!(text(path), "text", "{path}");
    }
    assert_eq!(text("/moved"), "");
    serial_of(&text("/page"));
    let quiet = Setup::new(&site("reload_on_change: true"));
    quiet.directory.write("shop.py", code);
    let server = quiet.start();
    assert_eq!(browse(&server, "GET", "/page", &[]).text(), "text", "nobody asked for it");
    assert_eq!(get(server.address, "/.hatchery/reload.js").text(), "text", "it is the app's");
}
