use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const USUAL: Pairs<'static> = &[
    ("REQUEST_METHOD", "GET"),
    ("REQUEST_URI", "/a?b"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("HTTP_HOST", "shop.example"),
    ("REMOTE_ADDR", "203.0.113.9"),
];

fn packet(pairs: Pairs<'_>) -> Vec<u8> {
    let mut variables = Vec::new();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        variables.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        variables.extend_from_slice(text.as_bytes());
    }
    let [low, high] = u16::try_from(variables.len()).unwrap().to_le_bytes();
    [&[0, low, high, 0], &*variables].concat()
}

fn taken(pairs: Pairs<'_>) -> Result<RequestHead, Refusal> {
    take(&mut packet(pairs), &Settings::default()).map(|head| head.expect("it is whole"))
}

/// The usual ones with these in place of, or behind, them.
fn with<'a>(pairs: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let is_other = |(name, _): &&(&str, &str)| !pairs.iter().any(|(other, _)| other == name);
    USUAL.iter().filter(is_other).chain(pairs).copied().collect()
}

fn fields(head: &RequestHead) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields().map(|(name, value)| (text(name), text(value))).collect()
}

#[test]
fn a_packet_becomes_the_head_that_the_front_had() {
    let head = taken(&with(&[
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("CONTENT_LENGTH", "5"),
        ("CONTENT_TYPE", "text/plain"),
        ("HTTP_X_REAL_IP", " 1 "),
        ("HTTPS", "on"),
        ("PATH_INFO", "/other"),
        ("UWSGI_FILE", "/etc/passwd"),
    ]));
    let head = head.unwrap();
    assert_eq!(
        (head.method_bytes(), head.target(), head.version()),
        (&b"GET"[..], &b"/a?b"[..], Version::Http2)
    );
    let wanted = [
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("host", "shop.example"),
        ("x-real-ip", "1"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(fields(&head), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn what_follows_stays_and_nothing_is_taken_of_a_part() {
    let whole = [packet(USUAL), b"body".to_vec()].concat();
    for end in 0..whole.len() - 4 {
        let mut part = whole[..end].to_vec();
        assert!(take(&mut part, &Settings::default()).unwrap().is_none());
        assert_eq!(part, whole[..end]);
    }
    let mut input = whole;
    assert!(take(&mut input, &Settings::default()).unwrap().is_some());
    assert_eq!(input, b"body");
}

#[test]
fn fields_about_the_connection_of_the_front_s_client_stay_there() {
    let head = taken(&with(&[
        ("CONTENT_LENGTH", ""),
        ("CONTENT_TYPE", ""),
        ("HTTP_CONTENT_LENGTH", "5"),
        ("HTTP_CONTENT_TYPE", "text/plain"),
        ("HTTP_EXPECT", "100-continue"),
        ("HTTP_UPGRADE", "websocket"),
        ("HTTP_CONNECTION", "upgrade, x"),
    ]));
    let names: Vec<_> = fields(&head.unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["host", "connection", "x-forwarded-for", "x-forwarded-proto"]);
    let chunked = with(&[("CONTENT_LENGTH", "3"), ("HTTP_TRANSFER_ENCODING", "chunked")]);
    assert_eq!(taken(&chunked).unwrap().get("transfer-encoding"), None);
}

#[test]
fn the_front_has_the_last_word_on_the_way_of_a_request() {
    for (pairs, address, scheme) in [
        (
            &[("HTTP_X_FORWARDED_FOR", "6.6.6.6"), ("HTTP_X_FORWARDED_PROTO", "https")][..],
            "203.0.113.9",
            "http",
        ),
        (&[("REMOTE_ADDR", "2001:DB8::1"), ("HTTPS", "off")], "2001:db8::1", "http"),
        (&[("REMOTE_ADDR", "unix:"), ("HTTPS", "1")], "unknown", "https"),
        (&[("REMOTE_ADDR", "1.1.1.1, 2.2.2.2"), ("REQUEST_SCHEME", "https")], "unknown", "https"),
        // The operator's own, behind those that nginx has in a file.
        (&[("REMOTE_ADDR", "1.1.1.1"), ("REMOTE_ADDR", "2.2.2.2"), ("HTTPS", "on")], "2.2.2.2", "https"),
    ] {
        let head = taken(&with(pairs)).unwrap();
        assert_eq!(head.all("x-forwarded-for").last(), Some(address.as_bytes()), "{pairs:?}");
        assert_eq!(head.all("x-forwarded-proto").last(), Some(scheme.as_bytes()), "{pairs:?}");
    }
}

#[test]
fn what_could_be_meant_otherwise_is_refused() {
    let long = "x".repeat(9000);
    let many: Vec<_> = (0..101).map(|_| ("HTTP_X", "1")).collect();
    for (pairs, status, why) in [
        (&[("REQUEST_METHOD", "GET"), ("REQUEST_METHOD", "GET")][..], 400, "more than one REQUEST_METHOD"),
        (&[("REQUEST_URI", "/"), ("REQUEST_URI", "/")], 400, "more than one REQUEST_URI"),
        (&[("CONTENT_LENGTH", ""), ("CONTENT_LENGTH", "3")], 400, "more than one CONTENT_LENGTH"),
        (&[("REQUEST_METHOD", "G T")], 400, "invalid method"),
        (&[("REQUEST_METHOD", "")], 400, "invalid method"),
        (&[("REQUEST_URI", "/a b")], 400, "REQUEST_URI"),
        (&[("REQUEST_URI", "")], 400, "REQUEST_URI"),
        (&[("REQUEST_URI", &long)], 414, "request line too long"),
        (&[("SERVER_PROTOCOL", "HTTP/1.10")], 505, "SERVER_PROTOCOL"),
        (&[("HTTP_X", "a\r\nY: b")], 400, "malformed header field"),
        (&[("HTTP_X", "a\0")], 400, "malformed header field"),
        (&[("HTTP_X Y", "a")], 400, "malformed header field"),
        (&[("HTTP_TRANSFER-ENCODING", "chunked")], 400, "malformed header field"),
        (&[("HTTP_Transfer_Encoding", "chunked")], 400, "malformed header field"),
        (&[("HTTP_", "a")], 400, "malformed header field"),
        (&[("CONTENT_TYPE", "a\nb")], 400, "malformed header field"),
        (&[("", "a")], 400, "variables that do not fit"),
        (&[("HTTP_X", &long), ("HTTP_Y", &long), ("HTTP_Z", &long), ("HTTP_W", &long)], 431, "head too long"),
        (&many, 431, "too many header fields"),
        (&[("HTTP_TRANSFER_ENCODING", "chunked")], 411, "chunked body without CONTENT_LENGTH"),
    ] {
        let refusal = taken(&with(pairs)).unwrap_err();
        assert!(refusal.status == status && refusal.why.contains(why), "{pairs:?}: {refusal:?}");
    }
    for missing in 0..3 {
        let pairs = [&USUAL[..missing], &USUAL[missing + 1..]].concat();
        assert_eq!(taken(&pairs).unwrap_err(), MISSING);
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"\x1e\0\0\0", b"\0\0\0\x01"] {
        assert_eq!(take(&mut bytes.to_vec(), &Settings::default()).unwrap_err(), NO_PACKET);
    }
    for bytes in [&b"\0\x01\0\0A"[..], b"\0\x04\0\0\x01\0A\0", b"\0\x06\0\0\x01\0A\xff\xff\0"] {
        assert_eq!(take(&mut bytes.to_vec(), &Settings::default()).unwrap_err(), BROKEN);
    }
}
