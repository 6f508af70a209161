//! ASGI applications: FastAPI (and with it Starlette), Litestar, a chat of Django Channels, and Datasette.

use crate::harness::{
    Browser, Connection, SOON, Server, Setup, apps, get, holds, noise, real_virtualenv, reply_to, sha256,
    wait_until,
};
use serde_json::json;
use std::process::Command;
use std::thread;

fn start(app: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: ["127.0.0.1"],
        locations: [(path: "/shop", to: App(name: "site", mount: "/shop")), (path: "/", to: App("site"))],
    )],
    apps: {{"site": (
        {app} chdir: "{{apps}}/real/asgi", home: "{{real_venv}}",
        env: {{
            "PHOTO": "{{dir}}/photo", "CHAT_DATABASE": "{{dir}}/chat.db", "DATABASE": "{{dir}}/eggs.db",
            "PYTHONDONTWRITEBYTECODE": "1",
        }},
    )}},"#
    ));
    setup.directory.write("photo", noise(3_000_000, 5));
    if app.contains("chat.asgi") {
        python(&["-m", "django", "migrate", "--verbosity", "0"], &setup);
    }
    let table = "import sqlite3, sys; base = sqlite3.connect(sys.argv[1]); base.execute('CREATE TABLE eggs (name)'); \
                 base.execute('INSERT INTO eggs VALUES (\"Ostrich\")'); base.commit()";
    python(&["-c", table, &setup.replace("{dir}/eggs.db")], &setup);
    // The traceback of `/broken`.
    setup.start().tolerant(&["app site 0:"])
}

fn python(arguments: &[&str], setup: &Setup) {
    let output = Command::new(real_virtualenv().join("bin/python"))
        .args(arguments)
        .current_dir(apps().join("real/asgi"))
        .env("DJANGO_SETTINGS_MODULE", "chat.settings")
        .env("CHAT_DATABASE", setup.directory.path().join("chat.db"))
        .env("PYTHONPATH", apps().join("real/asgi"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A client of a WebSocket that has short texts to say.
struct Talk(Connection);

impl Talk {
    #[track_caller]
    fn open(server: &Server, path: &str, more: &str) -> Self {
        let mut connection = Connection::open(server.address).unwrap();
        let host = server.address;
        connection
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
            ))
            .unwrap();
        let reply = connection.reply_head().unwrap();
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(reply.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        if more.contains("Sec-WebSocket-Protocol") {
            assert_eq!(reply.field("sec-websocket-protocol"), Some("chat"));
        }
        Self(connection)
    }

    /// A masked frame (RFC 6455 section 5.2); a mask of zeros leaves the text as it is.
    fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        self.0.send([&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], payload].concat()).unwrap();
    }

    fn say(&mut self, text: &str) {
        self.send(1, text.as_bytes());
    }

    /// Kind and payload of the next frame.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = Vec::new();
        self.0.exactly(2, &mut head).unwrap();
        assert!(head[0] & 0x80 != 0 && head[1] < 126, "{head:?}");
        let mut payload = Vec::new();
        self.0.exactly(usize::from(head[1]), &mut payload).unwrap();
        (head[0] & 0xf, payload)
    }

    #[track_caller]
    fn hear(&mut self) -> String {
        let (kind, payload) = self.frame();
        assert_eq!(kind, 1, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }
}

/// What FastAPI and Litestar are asked alike.
fn speaks(server: &Server) {
    let mut browser = Browser::new(server.address);
    let hello = browser.get("/hello/W%C3%B6rld").json();
    assert_eq!((&hello["hello"], &hello["opened"]), (&json!("W\u{f6}rld"), &json!("at startup")));
    assert_eq!(hello["client"], "127.0.0.1");
    assert_eq!(browser.get("/missing").status, 404);
    let fields = "Host: shop.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n";
    let (there, _) = reply_to(server.address, format!("GET /shop/hello/there HTTP/1.1\r\n{fields}\r\n"));
    let there = there.json();
    assert_eq!(there["url"], "https://shop.example/shop/hello/there", "{there}");
    assert_eq!(there["client"], "203.0.113.9");
    let lines = browser.get("/lines?many=20000").text();
    assert_eq!((lines.lines().count(), lines.lines().last()), (20_000, Some("line 19999")));
    assert_eq!(browser.get("/broken").status, 500);
    server.wait_log("RuntimeError: broken on purpose");
    let mut talk = Talk::open(server, "/echo", "Sec-WebSocket-Protocol: chat\r\n");
    for text in ["one", "tw\u{f6}", ""] {
        talk.say(text);
        assert_eq!(talk.hear(), format!("heard {text}"));
    }
    talk.send(8, &1000_u16.to_be_bytes());
    assert_eq!(talk.frame(), (8, 1000_u16.to_be_bytes().to_vec()));
    assert_eq!(browser.get("/hello/after").status, 200);
}

#[test]
fn fastapi_speaks_http_and_websocket() {
    let server = start("module: \"with_fastapi:app\",");
    speaks(&server);
    server.wait_log("left with 1000");
    let mut browser = Browser::new(server.address);
    assert_eq!(browser.get("/number/7").json(), json!({"number": 7}));
    assert_eq!(browser.get("/number/seven").status, 422);
    assert!(browser.get("/openapi.json").json()["paths"]["/form"].is_object());
    let body = noise(3 << 20, 9);
    for chunked in [false, true] {
        let mut browser = Browser::new(server.address);
        browser.chunked = chunked;
        let stored = browser.post_file("/form", &[], "hen.bin", &body).json();
        assert_eq!(stored, json!({"name": "hen.bin", "size": body.len(), "sha256": sha256(&body)}));
    }
    let mut connection = Connection::open(server.address).unwrap();
    assert!(connection.get("/photo").unwrap().body == noise(3_000_000, 5));
    let part = connection.request("GET", "/photo", &[("Range", "bytes=1000000-1999999")], b"").unwrap();
    assert!(part.status == 206 && part.body == noise(3_000_000, 5)[1_000_000..2_000_000], "{}", part.status);
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| get(server.address, "/meet").text())).collect();
        both.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), "\"met\""));
    });
    let reload = server.command(&["reload"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    server.wait_log("closed at shutdown");
    assert_eq!(browser.get("/hello/after").status, 200);
}

#[test]
fn litestar_speaks_http_and_websocket() {
    speaks(&start("module: \"with_litestar:app\","));
}

#[test]
fn all_in_a_room_of_channels_hear_what_one_says() {
    let server = start("module: \"chat.asgi\",");
    let mut browser = Browser::new(server.address);
    assert_eq!([browser.get("/visits").text(), browser.get("/visits").text()], ["1\n", "2\n"]);
    let (plain, _) = reply_to(
        server.address,
        "GET /shop/plain HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    assert_eq!(plain.text(), "https://shop.example/shop/plain");
    let lines = browser.get("/lines?many=2000").text();
    assert_eq!(lines.lines().last(), Some("line 1999"));

    let own = format!("Origin: http://{}\r\n", server.address);
    let session = format!("{own}Cookie: sessionid={}\r\n", browser.cookie("sessionid").unwrap());
    let mut known = Talk::open(&server, "/rooms/henhouse", &session);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&known.hear()).unwrap(), json!({"visits": 2}));
    let mut other = Talk::open(&server, "/rooms/henhouse", &own);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&other.hear()).unwrap(), json!({"visits": 0}));
    other.say("{\"text\": \"good morning\"}");
    for talk in [&mut known, &mut other] {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&talk.hear()).unwrap()["text"], "good morning");
    }
    other.send(8, &1001_u16.to_be_bytes());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&known.hear()).unwrap()["text"],
        "one has left with 1001"
    );
}

#[test]
fn datasette_shows_its_database() {
    let server = start("module: \"with_datasette\",");
    assert!(get(server.address, "/").text().contains("eggs"));
    let rows = get(server.address, "/eggs/eggs.json?_shape=array").json();
    assert_eq!(rows[0]["name"], "Ostrich");
    let table = get(server.address, "/eggs/eggs");
    assert!(table.status == 200 && table.text().contains("Ostrich"), "{}", table.text());
}

/// uvloop is in this virtualenv, and taken.
#[test]
fn all_who_wake_an_app_at_once_are_answered() {
    let server = start("module: \"with_fastapi:app\", processes: (min: 0, max: 1), idle: \"100ms\",");
    for _ in 0..5 {
        let ask = || {
            let address = server.address;
            thread::spawn(move || get(address, "/number/7").status)
        };
        let asking: Vec<_> = (0..20).map(|_| ask()).collect();
        let statuses: Vec<u16> = asking.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(statuses, [200; 20]);
        wait_until(SOON, "it sleeps", || {
            let pool = server.pool("site");
            holds(pool.children.is_empty(), &pool)
        });
    }
}
