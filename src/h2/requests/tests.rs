use super::*;

const USUAL: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/a?b"), (":authority", "shop.example")];

fn build(fields: &[(&str, &str)], ended: bool) -> Result<Asked, (Refusal, Option<Box<Line>>)> {
    build_over(Scheme::Http, fields, ended)
}

fn build_over(
    scheme: Scheme,
    fields: &[(&str, &str)],
    ended: bool,
) -> Result<Asked, (Refusal, Option<Box<Line>>)> {
    let limits = Limits { request_line: 40, fields: 5, ..Limits::default() };
    let mut scratch = Scratch::default();
    let mut builder = Builder::new(&mut scratch, &limits, true);
    fields.iter().for_each(|(name, value)| builder.field(name.as_bytes(), value.as_bytes()));
    builder.finish(ended, false, scheme, &limits)
}

/// The usual request with another value of a field, or without it, or with one more.
fn with(name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let mut fields: Vec<_> = USUAL.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let place = fields.iter().position(|(have, _): &(String, String)| have == name);
    match (place, value) {
        (Some(at), Some(value)) => fields[at].1 = value.into(),
        (Some(at), None) => drop(fields.remove(at)),
        (None, value) => fields.push((name.into(), value.unwrap_or_default().into())),
    }
    fields
}

fn status(fields: &[(String, String)], ended: bool) -> u16 {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    match build(&fields, ended) {
        Ok(_) => 200,
        Err((refusal, _)) => refusal.status,
    }
}

#[test]
fn a_request_looks_like_one_of_http_1() {
    let more = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("te", "trailers")];
    let asked = build(&[&USUAL[..], &more].concat(), true).unwrap();
    let Request { head, target, host, body } = asked.request;
    assert_eq!((head.method_bytes(), head.target()), (&b"GET"[..], &b"/a?b"[..]));
    assert_eq!((head.version(), target.path(), body), (Version::Http2, &b"/a"[..], BodyLength::None));
    assert_eq!(&*host.unwrap().name, b"shop.example");
    let fields: Vec<_> = head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let want = [("host", "shop.example"), ("accept", "*/*"), ("te", "trailers"), ("cookie", "a=1; b=2")];
    assert_eq!(fields, want.map(|(name, value)| (name.into(), value.into())));
    // Host without `:authority`, and both.
    let host = [("host", "shop.example")];
    let asked = build(&[&USUAL[..3], &host].concat(), true).unwrap();
    assert_eq!(asked.request.head.get("host"), Some(&b"shop.example"[..]));
    let asked = build(&[&USUAL[..], &[("host", "Shop.example:80")]].concat(), true).unwrap();
    assert_eq!(asked.request.head.all("host").collect::<Vec<_>>(), [b"shop.example"]);
}

#[test]
fn what_came_before_on_the_connection_is_not_in_a_request() {
    let (mut scratch, limits) = (Scratch::default(), Limits::default());
    let mut ask = |authority: &str, more: &[(&str, &str)]| {
        let mut builder = Builder::new(&mut scratch, &limits, true);
        let fields = [&USUAL[..3], &[(":authority", authority)], more].concat();
        fields.iter().for_each(|(name, value)| builder.field(name.as_bytes(), value.as_bytes()));
        let Request { head, host, .. } = builder.finish(true, false, Scheme::Http, &limits).unwrap().request;
        let name = |host: Option<Host>| String::from_utf8(host.unwrap().name.to_vec()).unwrap();
        (name(host), head.fields().count(), head.wire_len())
    };
    let long = "x".repeat(2 * USUAL_BYTES);
    for (authority, host) in [("Shop.example", "shop.example"), ("a.example", "a.example")].repeat(2) {
        let plain = (host.to_owned(), 1, 3 + 4 + 4 + authority.len());
        assert_eq!(ask(authority, &[]), plain);
        assert_eq!(ask(authority, &[]), plain);
        assert_eq!(ask(authority, &[("x", &long)]).2, plain.2 + 1 + long.len());
    }
    assert!(scratch.raw.capacity() <= USUAL_BYTES, "of a long one no room is kept");
}

/// A proxy that ends TLS says what its client has used; over TLS nobody stands in between.
#[test]
fn in_the_clear_https_can_be_asked_for_and_over_tls_nothing_else() {
    for (over, said, port, taken) in [
        (Scheme::Http, "http", ":80", true),
        (Scheme::Http, "https", ":443", true),
        (Scheme::Http, "https", ":80", false),
        (Scheme::Https, "HTTPS", ":443", true),
        (Scheme::Https, "http", "", false),
        (Scheme::Https, "ftp", "", false),
    ] {
        let host = format!("shop.example{port}");
        let fields = [
            (":method", "GET"),
            (":scheme", said),
            (":path", "/"),
            (":authority", "shop.example"),
            ("host", &host),
        ];
        let asked = build_over(over, &fields, true).map(|asked| asked.request.target.scheme());
        assert_eq!(
            asked.ok(),
            taken.then(|| Scheme::parse(said.as_bytes()).unwrap()),
            "{over:?} {said} {port}"
        );
    }
}

#[test]
fn what_is_no_request_of_http_2() {
    for (name, value, expected) in [
        // Pseudo-fields.
        (":method", None, 400),
        (":method", Some(""), 400),
        (":method", Some("G T"), 400),
        (":method", Some("CONNECT"), 501),
        (":method", Some("TRACE"), 405),
        (":method", Some("PROPFIND"), 200),
        (":scheme", None, 400),
        (":scheme", Some("https"), 200),
        (":scheme", Some("ftp"), 400),
        (":scheme", Some("HTTP"), 200),
        (":path", None, 400),
        (":path", Some(""), 400),
        (":path", Some("*"), 400),
        (":path", Some("a"), 400),
        (":path", Some("http://shop.example/"), 400),
        (":path", Some("/%00"), 400),
        (":path", Some("/a b"), 400),
        (":path", Some("/a#b"), 400),
        (":path", Some("/a\r\nx: y"), 400),
        (":path", Some("/0123456789012345678901234567890123456789"), 414),
        (":authority", None, 400),
        (":authority", Some(""), 400),
        (":authority", Some("a@shop.example"), 400),
        (":authority", Some("shop.example:99999"), 400),
        (":authority", Some("shop.example:8080"), 200),
        (":status", Some("200"), 400),
        (":protocol", Some("websocket"), 400),
        (":", Some("x"), 400),
        // Names and values.
        ("", Some("x"), 400),
        ("Accept", Some("x"), 400),
        ("a b", Some("x"), 400),
        ("a:b", Some("x"), 400),
        ("caf\u{e9}", Some("x"), 400),
        ("accept", Some(" x"), 400),
        ("accept", Some("x\t"), 400),
        ("accept", Some(" "), 400),
        ("accept", Some("a\0b"), 400),
        ("accept", Some("a\nb"), 400),
        ("accept", Some("a\rb"), 400),
        ("accept", Some(""), 200),
        ("accept", Some("a b\tc\u{e9}"), 200),
        // What belongs to a connection.
        ("connection", Some("close"), 400),
        ("keep-alive", Some("1"), 400),
        ("proxy-connection", Some("close"), 400),
        ("transfer-encoding", Some("chunked"), 400),
        ("upgrade", Some("h2c"), 400),
        ("te", Some("gzip"), 400),
        ("te", Some("trailers, deflate"), 400),
        ("te", Some("trailers"), 200),
        // Host and length.
        ("host", Some("other.example"), 400),
        ("host", Some("shop.example:8080"), 400),
        ("host", Some("a b"), 400),
        ("content-length", Some("1"), 400),
        ("content-length", Some("0"), 200),
        ("content-length", Some("0, 0"), 400),
        ("content-length", Some("+0"), 400),
    ] {
        assert_eq!(status(&with(name, value), true), expected, "{name} {value:?}");
    }
    assert_eq!(status(&with("content-length", Some("1")), false), 200);
}

#[test]
fn what_comes_twice_or_too_late_or_is_too_much() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (name, value) in USUAL {
        let mut fields = with("", None);
        fields.pop();
        fields.push(pair(name, value));
        assert_eq!(status(&fields, true), 400, "{name} twice");
        let mut late = with(name, None);
        late.extend([pair("accept", "*/*"), pair(name, value)]);
        assert_eq!(status(&late, true), 400, "{name} late");
    }
    for name in ["host", "content-length"] {
        let mut fields = with(name, Some("0"));
        fields.retain(|(name, _)| name != ":authority");
        assert_eq!(status(&[&fields[..], &[pair(name, "0")]].concat(), true), 400, "{name} twice");
    }
    let more: Vec<_> = (0..5).map(|_| pair("accept", "*/*")).collect();
    assert_eq!(status(&[&with("accept", Some("*/*"))[..4], &more[..4]].concat(), true), 200);
    assert_eq!(status(&[&with("accept", Some("*/*"))[..4], &more].concat(), true), 431);
    let mut options = with(":method", Some("OPTIONS"));
    options[2].1 = "*".into();
    assert_eq!(status(&options, true), 200);
}

#[test]
fn what_is_refused_has_its_line_for_the_log() {
    let line = |fields: &[(&str, &str)]| build(fields, true).unwrap_err().1;
    let bad = [&USUAL[..], &[("Accept", "x")]].concat();
    let Line { method, target, version } = *line(&bad).unwrap();
    assert_eq!((&method[..], &target[..], version), (&b"GET"[..], &b"/a?b"[..], Version::Http2));
    assert!(line(&USUAL[..1]).is_none());
    let connect = [(":method", "CONNECT"), (":authority", "a:1")];
    assert_eq!(line(&connect).unwrap().target, b"a:1");
}

#[test]
fn what_else_is_said_of_a_request() {
    let asked = |more: &[(&str, &str)], ended| build(&[&USUAL[..], more].concat(), ended).unwrap();
    assert_eq!(asked(&[], true).priority, Priority::UNSAID);
    assert_eq!(asked(&[("priority", "u=1, i")], true).priority, Priority::parse(b"u=1, i"));
    assert!(asked(&[("expect", "100-Continue")], false).expects);
    assert!(!asked(&[("expect", "100-continue")], true).expects);
    assert_eq!(asked(&[], false).request.body, BodyLength::Unknown);
    assert_eq!(asked(&[("content-length", "7")], false).request.body, BodyLength::Known(7));
}

#[test]
fn a_tunnel_is_asked_for_with_a_path_and_has_no_body() {
    let tunnel = |more: &[(&str, &str)]| {
        let usual = [(":method", "CONNECT"), (":protocol", "websocket")];
        let fields = [&usual[..], &USUAL[1..], more].concat();
        build(&fields, false).map_err(|(refusal, _)| refusal)
    };
    let asked = tunnel(&[("expect", "100-continue")]).unwrap();
    let Request { head, target, host, body } = asked.request;
    assert_eq!((head.method(), head.target(), target.path()), (Method::Connect, &b"/a?b"[..], &b"/a"[..]));
    assert_eq!((body, &*host.unwrap().name), (BodyLength::None, &b"shop.example"[..]));
    assert!(asked.tunnel && !asked.expects);
    assert_eq!(tunnel(&[("content-length", "0")]).unwrap_err().why, "Content-Length of a tunnel");
    for (fields, status) in [
        (&[(":method", "CONNECT"), (":authority", "a:1")][..], 501),
        (&[(":method", "CONNECT"), (":protocol", "connect-udp"), USUAL[1], USUAL[2], USUAL[3]], 501),
        (&[(":method", "CONNECT"), (":protocol", ""), USUAL[1], USUAL[2], USUAL[3]], 501),
        (&[(":method", "CONNECT"), (":protocol", "websocket"), USUAL[1], USUAL[3]], 400),
        (&[(":method", "CONNECT"), (":protocol", "websocket"), USUAL[2], USUAL[3]], 400),
        (&[(":method", "CONNECT"), (":protocol", "websocket"), USUAL[1], (":path", "a:1"), USUAL[3]], 400),
        (&[(":protocol", "websocket"), USUAL[0], USUAL[1], USUAL[2], USUAL[3]], 400),
    ] {
        assert_eq!(build(fields, true).unwrap_err().0.status, status, "{fields:?}");
    }
    // Where it is not enabled nobody has asked for it.
    let (mut scratch, limits) = (Scratch::default(), Limits::default());
    let mut builder = Builder::new(&mut scratch, &limits, false);
    builder.field(b":protocol", b"websocket");
    let (refusal, _) = builder.finish(true, false, Scheme::Http, &limits).unwrap_err();
    assert_eq!(refusal.why, "unknown pseudo-header field");
}
