//! What is published that was not meant to be: source and secrets below a static root, other people's hosts in redirects.

use crate::harness::{Connection, Setup, get, reply_to};

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
