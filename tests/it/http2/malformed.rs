//! The table of what clients may not do, against the real program.

use super::table::{Case, Expected, STREAMS, Step, cases};
use crate::harness::http2::{Came, Client, END_STREAM, PING, PROTOCOL_ERROR, asks, frame, headers};
use crate::harness::{Connection, Server, Setup, Upstream};
use std::io::{self, Read as _};
use std::time::Duration;

/// `/` answers, `/up/` reads what comes and answers, `/wait/` does not answer.
fn site(up: &Upstream, wait: &Upstream) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    limits: (streams: {STREAMS}),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/up/", to: Proxy("up")),
            (path: "/wait/", to: Proxy("wait")),
            (path: "/", to: Respond(body: "fixed")),
        ],
    )],
    upstreams: {{"up": (servers: ["{}"]), "wait": (servers: ["{}"])}},"#,
        up.address, wait.address
    ))
    .start()
}

/// The stream of the request that shows that a connection goes on.
const PROBE: u32 = 1001;

#[test]
fn each_is_answered_as_the_rfc_says() {
    let up = Upstream::fixed("read");
    // Until the server closes.
    let wait = Upstream::start(|_, stream| stream.read(&mut [0]).is_err());
    let server = site(&up, &wait);
    let worker = server.ready("worker");
    let cases = cases();
    let malformed =
        cases.iter().filter(|case| !matches!(case.expected, Expected::Status(200) | Expected::Nothing));
    assert!(malformed.count() >= 100);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let seen = play(&server, case).unwrap_or_else(|error| vec![format!("{error}")]);
            let expected = expected(case.expected);
            (seen != expected)
                .then(|| format!("{}\n    expected {expected:?}\n    got      {seen:?}", case.what))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(server.ready("worker"), worker);
}

/// After ALPN there is no other protocol; with prior knowledge what is no preface is HTTP/1.
#[test]
fn what_is_no_preface_is_an_error_after_alpn_and_http1_without() {
    let tls = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        names: ["a"],
        tls: (listen: ["{address}"], certificates: SelfSigned),
        locations: [(path: "/", to: Respond(body: "fixed"))],
    )],"#,
    )
    .start();
    let (up, wait) = (Upstream::fixed("read"), Upstream::fixed("answered"));
    let plain = site(&up, &wait);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    ] {
        let mut client = Client::connect_tls(tls.address).unwrap();
        client.send(bytes).unwrap();
        let code = (0..).find_map(|_| match client.next().unwrap() {
            Came::GoAway { code, .. } => Some(code),
            Came::Closed => panic!("closed without a word"),
            _ => None,
        });
        assert_eq!(code, Some(PROTOCOL_ERROR), "{}", bytes.escape_ascii());

        let mut connection = Connection::open(plain.address).unwrap();
        connection.send(bytes).unwrap();
        let status = connection.reply("GET").unwrap().status;
        let expected: &[u16] = if bytes.starts_with(b"GET") { &[200] } else { &[400, 505] };
        assert!(expected.contains(&status), "{}: {status}", bytes.escape_ascii());
    }
    assert_eq!(Client::open_tls(tls.address, &[]).unwrap().get("/").unwrap().text(), "fixed");
}

fn expected(expected: Expected) -> Vec<String> {
    let goes_on = || "goes on".to_owned();
    match expected {
        Expected::GoAway(code) => vec![format!("GOAWAY {code}"), "closed".to_owned()],
        Expected::Reset(stream, code) => vec![format!("{stream} reset {code}"), goes_on()],
        Expected::Refused(status, code) => {
            vec![format!("1 answered {status}"), format!("1 reset {code}"), goes_on()]
        }
        Expected::Status(status) => vec![format!("1 answered {status}"), goes_on()],
        Expected::Nothing => vec![goes_on()],
    }
}

/// Plays a case and says what came of it.
fn play(server: &Server, case: &Case) -> io::Result<Vec<String>> {
    let mut client =
        if case.bare { Client::connect(server.address)? } else { Client::open(server.address, &[])? };
    let mut seen = Vec::new();
    let mut sent = Ok(());
    for step in &case.steps {
        match step {
            // The server may close before it has read all.
            Step::Send(bytes) => sent = sent.and(client.send(bytes)),
            Step::Answered(stream) => {
                let answer = client.answer(*stream)?;
                seen.push(format!("{stream} answered {}", answer.status));
            }
        }
    }
    let probe = [headers(PROBE, END_STREAM, &asks("GET", "/")), frame(PING, 0, 0, b"the last")].concat();
    let _ = client.send(probe);
    collect(&mut client, case.expected, &mut seen)?;
    Ok(seen)
}

/// Takes what comes until the end of the connection, or until it shows that it goes on after all that is expected.
fn collect(client: &mut Client, expected: Expected, seen: &mut Vec<String>) -> io::Result<()> {
    client.patience(Duration::from_secs(10))?;
    let wanted: Vec<String> = self::expected(expected).into_iter().filter(|line| line != "goes on").collect();
    let (mut answered, mut acknowledged, mut last) = (false, false, false);
    while !last {
        match client.next_or_silence() {
            Came::Closed => {
                seen.push("closed".to_owned());
                break;
            }
            Came::Silence => {
                seen.push("silence".to_owned());
                break;
            }
            Came::Headers { stream: PROBE, fields, .. } => answered = fields[0].1 == "200",
            Came::Headers { stream: 1, fields, .. } => seen.push(format!("1 answered {}", fields[0].1)),
            Came::Reset { stream, code } => seen.push(format!("{stream} reset {code}")),
            Came::GoAway { code, .. } => seen.push(format!("GOAWAY {code}")),
            Came::PingAck(data) if data == *b"the last" => acknowledged = true,
            // All that was to be said was said before it.
            Came::PingAck(data) => last = data == *b"very end",
            _ => {}
        }
        if answered && acknowledged && wanted.iter().all(|line| seen.contains(line)) {
            acknowledged = false;
            client.send(frame(PING, 0, 0, b"very end"))?;
        }
    }
    if last {
        seen.push("goes on".to_owned());
    }
    // What was answered before the end is of no interest, nor that the server wants no more of a body that it answered.
    if matches!(expected, Expected::GoAway(_)) {
        seen.retain(|line| !line.contains("answered"));
    }
    seen.retain(|line| line != "1 reset 0");
    Ok(())
}
