use super::*;

fn get(target: &str) -> Result<Target, Error> {
    parse(Method::Get, target.as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn paths_are_decoded_once_resolved_and_merged() {
    for (raw, path, info) in [
        ("/", "/", "/"),
        ("/a/b", "/a/b", "/a/b"),
        ("/a/b/", "/a/b/", "/a/b/"),
        ("/a%20b", "/a b", "/a b"),
        ("/%2541", "/%41", "/%41"),
        ("/a//b", "/a/b", "/a//b"),
        ("//", "/", "//"),
        ("///a//", "/a/", "///a//"),
        ("/a/./b", "/a/b", "/a/b"),
        ("/a/../b", "/b", "/b"),
        ("/a/..", "/", "/"),
        ("/a/.", "/a/", "/a/"),
        ("/.", "/", "/"),
        ("/a/%2e%2E/b", "/b", "/b"),
        ("/a/.%2e/b", "/b", "/b"),
        ("/a/..%2fb", "/b", "/b"),
        ("/a%2Fb", "/a/b", "/a/b"),
        ("/a%2F/b", "/a/b", "/a//b"),
        ("/a//../b", "/b", "/b"),
        ("/...", "/...", "/..."),
        ("/.hidden/..a", "/.hidden/..a", "/.hidden/..a"),
        ("/a%3Fb%23c", "/a?b#c", "/a?b#c"),
        ("/a;b=1", "/a;b=1", "/a;b=1"),
        ("/a\\b", "/a\\b", "/a\\b"),
        ("/a+b", "/a+b", "/a+b"),
    ] {
        let target = get(raw).unwrap_or_else(|error| panic!("{raw}: {error:?}"));
        assert_eq!(text(target.path()), path, "{raw}");
        assert_eq!(text(target.path_info()), info, "{raw}");
        assert_eq!(text(target.raw_path(raw.as_bytes())), raw);
        assert_eq!(target.encoded_slash(), raw.to_lowercase().contains("%2f"), "{raw}");
    }
}

#[test]
fn bytes_above_ascii_are_kept() {
    let target = parse(Method::Get, b"/caf\xe9/\xff?\xe9").unwrap();
    assert_eq!(target.path(), b"/caf\xe9/\xff");
    let mut out = Vec::new();
    write_origin_form(Method::Get, b"/caf\xe9?\xff", &mut out);
    assert_eq!(text(&out), "/caf%E9?%FF");
    for (method, target, origin) in [
        (Method::Options, "http://h", "*"),
        (Method::Options, "*", "*"),
        (Method::Options, "http://h?a", "/?a"),
        (Method::Options, "http://h/", "/"),
        (Method::Get, "http://h", "/"),
    ] {
        out.clear();
        write_origin_form(method, target.as_bytes(), &mut out);
        assert_eq!(text(&out), origin, "{method:?} {target}");
    }
}

#[test]
fn refusals() {
    for (raw, error) in [
        ("/%00", Error::Nul),
        ("/%", Error::Percent),
        ("/%4", Error::Percent),
        ("/%zz", Error::Percent),
        ("/%+1", Error::Percent),
        ("/..", Error::AboveRoot),
        ("/a/../..", Error::AboveRoot),
        ("/%2e%2e/etc/passwd", Error::AboveRoot),
        ("/..%2f", Error::AboveRoot),
        ("/a#b", Error::Fragment),
        ("/a?b#c", Error::Fragment),
        ("/a b", Error::Byte),
        ("/a\tb", Error::Byte),
        ("/a\x7f", Error::Byte),
        ("/?\x01", Error::Byte),
        ("", Error::Form),
        ("a", Error::Form),
        ("*", Error::Form),
        ("?q", Error::Form),
        ("ftp://h/", Error::Form),
        ("http:/h/", Error::Form),
        ("http://", Error::Host),
        ("http:///a", Error::Host),
        ("http://u@h/", Error::Host),
        ("http://u:p@h/", Error::Port),
        ("http://h:99999/", Error::Port),
        ("h:80", Error::Form),
    ] {
        assert_eq!(get(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn the_query_stays_as_it_was_written() {
    let raw = b"/a?x=%zz&y=../..?z";
    let target = parse(Method::Get, raw).unwrap();
    assert_eq!(target.query(raw), Some(&b"x=%zz&y=../..?z"[..]));
    assert_eq!((target.path(), target.raw_path(raw)), (&b"/a"[..], &b"/a"[..]));
    assert_eq!(get("/a?").unwrap().query(b"/a?"), Some(&b""[..]));
    assert_eq!(get("/a").unwrap().query(b"/a"), None);
}

#[test]
fn absolute_forms() {
    for (raw, path, raw_path, query, origin) in [
        ("http://h", "/", "/", None, "/"),
        ("HTTP://H:8080/a%20b?c", "/a b", "/a%20b", Some("c"), "/a%20b?c"),
        ("https://h?c", "/", "/", Some("c"), "/?c"),
        ("http://[::1]:80//a", "/a", "//a", None, "//a"),
    ] {
        let target = get(raw).unwrap_or_else(|error| panic!("{raw}: {error:?}"));
        assert_eq!(target.form(), Form::Absolute);
        assert_eq!(text(target.path()), path);
        assert_eq!(text(target.raw_path(raw.as_bytes())), raw_path);
        assert_eq!(target.query(raw.as_bytes()).map(text), query.map(str::to_owned));
        let mut out = Vec::new();
        write_origin_form(Method::Get, raw.as_bytes(), &mut out);
        assert_eq!(text(&out), origin);
    }
    let raw = b"https://Shop.Example:8443/x";
    let target = parse(Method::Get, raw).unwrap();
    assert_eq!(target.authority(raw), Some(&b"Shop.Example:8443"[..]));
    assert_eq!(target.scheme().default_port(), 443);
}

#[test]
fn forms_belong_to_their_methods() {
    let star = parse(Method::Options, b"*").unwrap();
    assert_eq!((star.form(), star.path(), star.raw_path(b"*")), (Form::Asterisk, &b"*"[..], &b"*"[..]));
    let star = parse(Method::Options, b"http://h:81").unwrap();
    assert_eq!((star.form(), star.authority(b"http://h:81")), (Form::Asterisk, Some(&b"h:81"[..])));
    assert_eq!(parse(Method::Options, b"/x").map(|target| target.form()), Ok(Form::Origin));
    assert_eq!(parse(Method::Connect, b"h:443").map(|target| target.form()), Ok(Form::Authority));
    assert_eq!(parse(Method::Connect, b"/x"), Err(Error::Host));
}

#[test]
fn hosts() {
    for (raw, name, port) in [
        ("example.com", "example.com", None),
        ("EXAMPLE.com:80", "example.com", Some(80)),
        ("example.com.", "example.com", None),
        ("example.com.:8000", "example.com", Some(8000)),
        ("example.com:", "example.com", None),
        ("127.0.0.1:8000", "127.0.0.1", Some(8000)),
        ("[::1]", "[::1]", None),
        ("[FE80::1]:443", "[fe80::1]", Some(443)),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]", Some(80)),
        ("[2001:0DB8:0:0::0:7]", "[2001:db8::7]", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("my_app", "my_app", None),
        ("h:65535", "h", Some(65535)),
    ] {
        let host = host(raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error:?}"));
        assert_eq!((text(&host.name).as_str(), host.port), (name, port), "{raw}");
    }
    for (raw, error) in [
        ("", Error::Host),
        (".", Error::Host),
        ("..", Error::Host),
        ("a..b", Error::Host),
        (".a", Error::Host),
        ("a..", Error::Host),
        ("a b", Error::Host),
        ("a/b", Error::Host),
        ("a@b", Error::Host),
        ("a,b", Error::Host),
        ("a%62", Error::Host),
        ("b\u{fc}cher", Error::Host),
        ("[::1", Error::Host),
        ("[::1]x", Error::Host),
        ("[::1%25eth0]", Error::Host),
        ("[1.2.3.4]", Error::Host),
        ("::1", Error::Host),
        ("h:65536", Error::Port),
        ("h:8a", Error::Port),
        ("h:+80", Error::Port),
        ("h:80:80", Error::Port),
        (":80", Error::Host),
    ] {
        assert_eq!(host(raw.as_bytes()), Err(error), "{raw:?}");
    }
    assert_eq!(host(&[b'a'; 256]), Err(Error::Host));
    let (one, other) = (host(b"h").unwrap(), host(b"H.:80").unwrap());
    assert!(one.same(&other, 80) && !one.same(&other, 443));
}

/// Small alphabet, all strings up to seven bytes: the two paths never disagree, and no dot segment is left.
#[test]
fn merging_the_path_for_applications_gives_the_path_for_matching() {
    let alphabet: [&[u8]; 4] = [b"/", b".", b"a", b"%2f"];
    for length in 0..=7_u32 {
        for number in 0..alphabet.len().pow(length) {
            let mut raw = b"/".to_vec();
            (0..length).for_each(|place| raw.extend_from_slice(alphabet[number / 4_usize.pow(place) % 4]));
            let Ok(target) = parse(Method::Get, &raw) else { continue };
            assert_eq!(merge(target.path_info()).unwrap(), target.path(), "{}", text(&raw));
            let segments: Vec<_> = target.path().split(|byte| *byte == b'/').collect();
            assert_eq!(segments[0], b"", "{}", text(&raw));
            let inner = &segments[1..segments.len() - 1];
            assert!(inner.iter().all(|segment| !segment.is_empty()), "{}", text(&raw));
            assert!(!segments.iter().any(|segment| matches!(*segment, b"." | b"..")), "{}", text(&raw));
        }
    }
}
