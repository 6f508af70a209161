//! Lines as they should look, then lines that attackers would like to see.

use super::*;

const ORDINARY: Record<'_> = Record {
    wall: Wall { seconds: 1_760_013_296, nanos: 7_999_999 },
    client: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))),
    user: None,
    method: b"GET",
    target: b"/orders?page=2",
    version: "HTTP/1.1",
    tls: Some("TLSv1.3"),
    status: 200,
    body_bytes: 5120,
    received: Some(77),
    took: Duration::from_nanos(1_002_345_999),
    name: Some(b"shop.example"),
    host: Some(b"Shop.example:80"),
    referer: Some(b"https://shop.example/"),
    user_agent: Some(b"curl/8.5.0"),
    id: "0-3-12-9f",
    site: "shop.example",
    handler: "app shop",
    cache: Some("MISS"),
    upstream: Some(Duration::from_micros(950)),
    queue_time: Some(Duration::from_micros(320)),
    fault: None,
    error: None,
};

fn line(format: Format, record: &Record<'_>) -> String {
    let mut out = b"before\n".to_vec();
    render(format, record, usize::MAX, &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before\n").unwrap().to_owned()
}

#[test]
fn an_ordinary_record() {
    assert_eq!(
        line(Format::Json, &ORDINARY),
        "{\"time\":\"2025-10-09T12:34:56.007Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
         \"target\":\"/orders?page=2\",\"version\":\"HTTP/1.1\",\"tls\":\"TLSv1.3\",\"status\":200,\"bytes\":5120,\"received\":77,\
         \"duration\":1.002345,\"host\":\"Shop.example:80\",\"referer\":\"https://shop.example/\",\
         \"user_agent\":\"curl/8.5.0\",\"id\":\"0-3-12-9f\",\"site\":\"shop.example\",\
         \"handler\":\"app shop\",\"cache\":\"MISS\",\"upstream\":0.000950,\"queue_time\":0.000320}\n"
    );
    assert_eq!(
        line(Format::Combined, &ORDINARY),
        "192.0.2.7 - - [09/Oct/2025:12:34:56 +0000] \"GET /orders?page=2 HTTP/1.1\" 200 5120 \
         \"https://shop.example/\" \"curl/8.5.0\" 1.002345 0-3-12-9f\n"
    );
}

#[test]
fn who_watches_a_terminal_sees_what_came_of_a_request() {
    assert_eq!(line(Format::Short, &ORDINARY), "200 GET /orders?page=2 (1002 ms, 5.0 KiB, app shop)\n");
    let record = Record {
        status: 502,
        body_bytes: 17,
        took: Duration::from_micros(1840),
        target: b"/\x1b[2J",
        error: Some("its process has died"),
        ..ORDINARY
    };
    assert_eq!(
        line(Format::Short, &record),
        "502 GET /\\x1B[2J (1.8 ms, 17 B, app shop): its process has died\n"
    );
    let unread =
        Record { status: 400, body_bytes: 3 << 20, method: b"", target: b"", handler: "", ..ORDINARY };
    assert_eq!(line(Format::Short, &unread), "400 - - (1002 ms, 3.0 MiB)\n");
    let mut out = Vec::new();
    render(Format::Short, &Record { target: &[b'x'; 20_000], ..ORDINARY }, 4096, &mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.len() <= 4096 && line.contains("xxx... (1002 ms") && line.ends_with("app shop)\n"),
        "{line}"
    );
}

#[test]
fn the_host_comes_first_and_the_rest_is_as_without_it() {
    let combined = line(Format::Combined, &ORDINARY);
    assert_eq!(line(Format::VhostCombined, &ORDINARY), format!("shop.example {combined}"));
    let unread = Record { name: None, ..ORDINARY };
    assert_eq!(line(Format::VhostCombined, &unread), format!("- {combined}"));
}

#[test]
fn a_line_for_a_pipe_is_cut_where_clients_wrote_much_and_stays_a_record() {
    const MOST: usize = 4096;
    let long = [b'\xff'; 20_000];
    for (target, agent) in [(&long[..], &b"curl"[..]), (&long[..3000], &long[..]), (&b"/"[..], &long[..1000])]
    {
        let record = Record {
            target,
            user_agent: Some(agent),
            host: Some(target),
            referer: Some(target),
            method: agent,
            fault: Some("refused"),
            error: Some("header line without a colon"),
            ..ORDINARY
        };
        for format in [Format::Json, Format::Combined, Format::VhostCombined] {
            let mut out = b"before\n".to_vec();
            render(format, &record, MOST, &mut out);
            let line = std::str::from_utf8(out.strip_prefix(b"before\n").unwrap()).unwrap();
            assert!(line.len() <= MOST && line.ends_with('\n') && line.contains("..."), "{format:?}: {line}");
            if format == Format::Json {
                let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&parsed["status"], &parsed["id"]), (&200.into(), &"0-3-12-9f".into()), "{line}");
            }
        }
    }
    let mut out = Vec::new();
    render(Format::Json, &ORDINARY, MOST, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), line(Format::Json, &ORDINARY));
}

#[test]
fn a_head_that_could_not_be_read() {
    let record = Record {
        wall: Wall { seconds: -1, nanos: 999_999_999 },
        status: 400,
        fault: Some("refused"),
        error: Some("header line without a colon"),
        ..Record::default()
    };
    assert_eq!(
        line(Format::Json, &record),
        "{\"time\":\"1969-12-31T23:59:59.999Z\",\"method\":\"\",\"target\":\"\",\"status\":400,\"bytes\":0,\
         \"duration\":0.000000,\"fault\":\"refused\",\"error\":\"header line without a colon\"}\n"
    );
    assert_eq!(
        line(Format::Combined, &record),
        "- - - [31/Dec/1969:23:59:59 +0000] \"-\" 400 0 \"-\" \"-\" 0.000000 -\n"
    );
}

#[test]
fn every_byte_is_escaped_or_harmless() {
    let every: Vec<u8> = (0..=255).collect();
    for byte in 0..=255_u8 {
        let around = [b'a', byte, b'z'];
        let record = Record { target: &around, user_agent: Some(&around), ..ORDINARY };
        let combined = line(Format::Combined, &record);
        assert_eq!(combined.bytes().filter(|byte| *byte == b'"').count(), 6, "{byte:#x}: {combined}");
        assert!(
            combined.trim_end_matches('\n').bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{byte:#x}"
        );

        let json = line(Format::Json, &record);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        // A byte alone, whether ASCII or no UTF-8, comes back as the character of its number.
        let expected: String = around.iter().copied().map(char::from).collect();
        assert_eq!(parsed["target"], expected, "{byte:#x}: {json}");
        assert_eq!(parsed["user_agent"], expected);
        assert!(!json.trim_end_matches('\n').chars().any(char::is_control), "{byte:#x}: {json}");
    }
    let record = Record { target: &every, ..ORDINARY };
    assert!(serde_json::from_str::<serde_json::Value>(&line(Format::Json, &record)).is_ok());
}

#[test]
fn a_request_cannot_forge_a_line_or_a_member() {
    let record = Record {
        target: b"/\" 200 1 \"-\" \"x\"\n10.0.0.1 - - [",
        referer: Some(b"\",\"status\":200,\"x\":\"\\"),
        user_agent: Some(b"\x1b[2J\xc2\x9b2J\xe2\x80\xa8"),
        status: 403,
        ..ORDINARY
    };
    let combined = line(Format::Combined, &record);
    assert_eq!(combined.lines().count(), 1);
    assert!(
        combined.contains("/\\x22 200 1 \\x22-\\x22 \\x22x\\x22\\x0A10.0.0.1 - - [ HTTP/1.1\" 403"),
        "{combined}"
    );
    assert!(combined.contains("\"\\x1B[2J\\xC2\\x9B2J\\xE2\\x80\\xA8\""), "{combined}");
    let json = line(Format::Json, &record);
    assert_eq!(json.lines().count(), 1);
    assert!(json.contains("\\u001b[2J\\u009b2J\\u2028"), "{json}");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["status"], 403);
    assert_eq!(parsed["referer"], "\",\"status\":200,\"x\":\"\\");
    assert!(parsed.get("x").is_none());
}

#[test]
fn text_that_is_utf8_stays_readable_in_json() {
    let text = "/caf\u{e9}/\u{4e2d}\u{6587}?\u{1f600}";
    let json = line(Format::Json, &Record { target: text.as_bytes(), ..ORDINARY });
    assert!(json.contains(text), "{json}");
    // Cut in the middle of a character: the byte that is left is shown by its number.
    let cut = line(Format::Json, &Record { target: &text.as_bytes()[..5], ..ORDINARY });
    assert!(cut.contains("\"/caf\\u00c3\""), "{cut}");
}

#[test]
fn ipv6_clients_and_times() {
    let record = Record { client: Some("2001:db8::1".parse().unwrap()), took: Duration::MAX, ..ORDINARY };
    assert!(line(Format::Combined, &record).starts_with("2001:db8::1 - - ["));
    assert!(line(Format::Json, &record).contains("\"duration\":18446744073709551615.999999,"));
}
