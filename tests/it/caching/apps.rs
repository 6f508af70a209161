//! The cache in front of apps and scripts: a hit wakes nobody.

use super::{ask, is_hit, status_of};
use crate::harness::{SOON, Server, Setup, holds, wait_until};
use std::os::unix::fs::PermissionsExt as _;

/// Counts what it is asked; the fields are what stands behind `?`.
const APP: &str = r#"
from urllib.parse import parse_qsl
count = 0
def application(environ, start_response):
    global count
    count += 1
    start_response("200 OK", [("Content-Type", "text/plain")] + parse_qsl(environ["QUERY_STRING"]))
    return [b"answer ", str(count).encode()]
"#;

const SCRIPT: &str =
    "#!/bin/sh\nprintf 'Content-Type: text/plain\\nCache-Control: max-age=60\\n\\n'\ndate +%s%N\n";

fn start() -> Server {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], cache_responses: true, locations: [
        (path: "/never/", to: App("counts"), cache_responses: false),
        (path: "/second/", to: App("counts"), cache_responses: (ttl: "1m")),
        (path: "/cgi-bin/", to: Cgi("scripts")),
        (path: "/files/", to: Files(root: "files", fallback: App("counts"))),
        (path: "/", to: App("counts")),
    ])],
    apps: {"counts": (module: "counts", chdir: "{dir}", processes: (min: 0, max: 1), idle: "1s")},"#,
    );
    setup.directory.write("counts.py", APP);
    setup.directory.write("files/a.txt", "a file");
    let script = setup.directory.write("scripts/it", SCRIPT);
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    setup.start()
}

fn get(server: &Server, path: &str) -> String {
    ask(server, "GET", path, &[]).text()
}

#[test]
fn a_hit_wakes_no_app() {
    let server = start();
    let page = "/page?Cache-Control=max-age%3D600";
    assert_eq!(get(&server, page), "answer 1");
    wait_until(SOON, "the app sleeps", || {
        let pool = server.pool("counts");
        // Its process may drain while the pool is asleep already.
        holds(pool.state == "asleep" && pool.children.is_empty(), pool)
    });
    let reply = ask(&server, "GET", page, &[]);
    assert!(is_hit(&reply) && reply.text() == "answer 1", "{reply:?}");
    let pool = server.pool("counts");
    assert!(pool.children.is_empty(), "{pool:?}");
}

#[test]
fn apps_scripts_and_what_a_location_falls_back_to_are_kept_and_files_are_not() {
    let server = start();
    assert_eq!((get(&server, "/second/"), get(&server, "/second/")), ("answer 1".into(), "answer 1".into()));
    let never = "/never/?Cache-Control=max-age%3D60";
    assert_ne!(get(&server, never), get(&server, never));
    let script = get(&server, "/cgi-bin/it");
    assert!(script.len() > 10 && get(&server, "/cgi-bin/it") == script, "{script}");
    let missing = "/files/none?Cache-Control=max-age%3D60";
    let first = get(&server, missing);
    assert!(first.starts_with("answer"), "{first}");
    assert_eq!(get(&server, missing), first);
    let file = ask(&server, "GET", "/files/a.txt", &[]);
    assert_eq!((file.text().as_str(), file.field("cache-status")), ("a file", None));
    // What leads elsewhere is not kept, nor what sets a cookie.
    let cookie = "/c?Cache-Control=max-age%3D60&Set-Cookie=a%3D1";
    assert_ne!(get(&server, cookie), get(&server, cookie));
    let refused = ask(&server, "GET", cookie, &[]);
    assert!(status_of(&refused).ends_with("detail=set-cookie"), "{refused:?}");
}

const ASGI: &str = r#"
count = 0
async def application(scope, receive, send):
    global count
    assert scope["type"] == "http", "no lifespan"
    count += 1
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
    await send({"type": "http.response.body", "body": b"answer ", "more_body": True})
    await send({"type": "http.response.body", "body": str(count).encode()})
"#;

/// A server of HTTP of its own, which counts.
const SERVER: &str = r#"
import http.server, os, socket
count = 0
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global count
        count += 1
        body = b"answer %d" % count
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
    def address_string(self): return ""
class Server(http.server.HTTPServer):
    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("", 0)
server = Server(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"#;

#[test]
fn asgi_apps_and_commands_are_kept_as_well() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], cache_responses: true, locations: [
        (path: "/asgi/", to: App("asgi")),
        (path: "/command/", to: App("command")),
    ])],
    apps: {
        "asgi": (module: "asgi_counts", chdir: "{dir}", processes: 1),
        "command": (command: ["/usr/bin/python3", "{dir}/server.py"], processes: 1),
    },"#,
    );
    setup.directory.write("asgi_counts.py", ASGI);
    setup.directory.write("server.py", SERVER);
    let server = setup.start();
    for place in ["/asgi/", "/command/"] {
        assert_eq!(get(&server, place), "answer 1");
        for _ in 0..4 {
            let reply = ask(&server, "GET", place, &[]);
            assert!(is_hit(&reply) && reply.text() == "answer 1", "{reply:?}");
        }
        assert_eq!(get(&server, &format!("{place}other")), "answer 2");
    }
}
