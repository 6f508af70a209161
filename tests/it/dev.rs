//! Apps whose code is edited while they serve: `hatchery dev`, and `reload_on_change`.

use crate::harness::{Load, SOON, Server, Setup, get, holds, wait_until};
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
    server.log().iter().filter(|line| line.contains("its code has changed")).count()
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
