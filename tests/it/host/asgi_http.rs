//! `http` of ASGI, case by case.

use super::asgi_harness::{ABORT, Answer, Ask, LENGTH, Line, asked, broken, failed, get, host, sound, with};
use super::harness::Host;
use crate::harness::{SOON, holds, wait_until};
use hatchery::control::frame::{self, Kind};
use std::fs::File;

#[test]
fn scopes_are_as_asgi_has_them() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let fields: &[(&str, &[u8])] =
        &[("host", b"shop.example"), ("cookie", b"a=1"), ("cookie", b"b=2"), ("x-latin", b"caf\xe9")];
    let ask = Ask { mount: "/dump", query: "a=%20", fields, ..get("/dump") };
    let text = line.ask(&ask).text();
    for said in [
        "type='http'\n",
        "asgi={'version': '3.0', 'spec_version': '2.5'}\n",
        "http_version='1.1'\n",
        "method='GET'\n",
        "scheme='http'\n",
        "path='/dump'\n",
        "raw_path=b'/raw%20path'\n",
        "query_string=b'a=%20'\n",
        "root_path='/dump'\n",
        "headers=[(b'host', b'shop.example'), (b'cookie', b'a=1'), (b'cookie', b'b=2'), (b'x-latin', b'caf\\xe9')]\n",
        "types=['bytes']\n",
        "client=('192.0.2.1', 4711)\n",
        "server=('127.0.0.1', 8000)\n",
        "state={'started': ['here']}\n",
        "'http.response.pathsend': {}, 'http.response.early_hint': {}, 'http.response.trailers': {}",
        "'hatchery': {'request_id': 'test-1', 'queued': 1760013296.007999}",
    ] {
        assert!(text.contains(said), "{said}{text}");
    }
}

#[test]
fn a_path_is_utf_8_and_what_is_none_is_replaced() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    for path in ["/caf\u{e9}".as_bytes(), b"/caf\xe9"] {
        failed(&line.ask(&Ask { path, ..get("") }));
    }
    let stderr = host.stderr();
    assert!(stderr.contains("KeyError: '/caf\u{e9}'"), "{stderr}");
    assert!(stderr.contains("KeyError: '/caf\u{fffd}'"), "{stderr}");
}

#[test]
fn state_is_a_shallow_copy_and_each_request_has_its_own_context() {
    let host = host();
    let mut line = Line::to(&host, 0);
    assert_eq!(line.ask(&get("/state")).text(), "[('own', 1), ('started', ['here', 'again'])]");
    assert_eq!(line.ask(&get("/state")).text(), "[('own', 1), ('started', ['here', 'again', 'again'])]");
    for _ in 0..2 {
        sound(&line.ask(&get("/context")), "200", "none");
    }
}

#[test]
fn a_small_answer_comes_together_with_its_length() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let answer = line.ask(&get("/hello"));
    sound(&answer, "200", "hello");
    assert_eq!(answer.head, ["200", "content-type: text/plain", "content-length: 5"]);
    assert_eq!(
        (answer.flags, &*answer.kinds),
        (LENGTH, &[Kind::Head, Kind::Body, Kind::End, Kind::Free][..])
    );
    let answer = line.ask(&get("/empty"));
    sound(&answer, "200", "");
    assert_eq!(answer.head.last().unwrap(), "content-length: 0");
    sound(&line.ask(&get("/no_keys")), "200", "");
    let answer = line.ask(&get("/large"));
    assert_eq!(
        (answer.body.len(), answer.head.last().unwrap().as_str()),
        (3_000_000, "content-length: 3000000")
    );
}

#[test]
fn bodies_come_whole_and_read_part_by_part() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for (length, spooled, parts) in [
        (0, false, 1),
        (1, false, 1),
        (65_536, false, 1),
        (0, true, 1),
        (65_536, true, 1),
        (1_000_000, true, 16),
    ] {
        let body = &body[..length];
        let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 1_000_003;
        let text = line.ask(&Ask { method: "POST", body: Some(body), spooled, ..get("/echo") }).text();
        assert_eq!(text, format!("{length} {parts} {} {sum}", length.min(65_536)), "{spooled}");
    }
    let descriptors = |line: &mut Line| line.ask(&get("/descriptors")).text();
    let before = descriptors(&mut line);
    sound(&line.ask(&Ask { body: Some(&body), spooled: true, ..get("/hello") }), "200", "hello");
    assert_eq!(descriptors(&mut line), before, "a body that nobody reads is closed");
}

#[test]
fn behind_the_response_there_is_a_disconnect() {
    let host = host();
    let mut line = Line::to(&host, 0);
    sound(&line.ask(&get("/after")), "200", "done");
    assert_eq!(line.notes(), "http.request http.disconnect http.disconnect");
}

#[test]
fn many_requests_run_at_a_time_over_one_stream() {
    let host = host();
    let fifos = [0, 1, 2].map(|unit| host.fifo(&format!("go{unit}")));
    let mut line = Line::to(&host, 0);
    let streams: Vec<u32> = fifos
        .iter()
        .zip(0..)
        .map(|(fifo, unit)| line.send(unit, &asked("/streamed", fifo.to_str().unwrap())))
        .collect();
    let mut answers: Vec<Answer> = Vec::new();
    for stream in &streams {
        let mut answer = Answer::default();
        line.go_on(*stream, Kind::Body, &mut answer);
        assert_eq!(answer.text(), "first");
        answers.push(answer);
    }
    for at in [2, 0, 1] {
        drop(File::options().write(true).open(&fifos[at]).unwrap());
        line.go_on(streams[at], Kind::Free, &mut answers[at]);
        sound(&answers[at], "200", "firstsecond");
        assert_eq!(answers[at].flags, 0);
    }
}

#[test]
fn heads_come_as_they_were_given_with_names_in_lower_case() {
    let host = host();
    let answer = Line::to(&host, 0).ask(&get("/raw"));
    sound(&answer, "299", "raw");
    assert_eq!(
        answer.head,
        ["299", "set-cookie: a=1", "set-cookie: b=2", "x-latin: caf\u{e9}", "content-length: 3"]
    );
}

#[test]
fn a_wrong_length_is_cut_or_breaks_off_and_is_told() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let answer = line.ask(&asked("/given_length", "5"));
    sound(&answer, "200", "12345");
    assert_eq!(
        (answer.flags, &*answer.head),
        (LENGTH, &["200".to_owned(), "content-length: 5".to_owned()][..])
    );
    for path in ["/too_long", "/too_long_at_once"] {
        sound(&line.ask(&get(path)), "200", if path == "/too_long" { "121" } else { "123" });
    }
    let answer = line.ask(&get("/too_short"));
    broken(&answer);
    assert_eq!(answer.text(), "1234567");
    let stderr = host.stderr();
    for said in [
        "GET /too_long (request test-1): the body is longer than its content-length of 3 bytes",
        "GET /too_long_at_once (request test-1): the body is longer than its content-length of 3 bytes",
        "GET /too_short (request test-1): the body is shorter than its content-length of 30 bytes",
    ] {
        assert_eq!(stderr.matches(said).count(), 1, "{said}\n{stderr}");
    }
}

#[test]
fn what_has_no_body_gets_none() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    for status in ["204", "205", "304"] {
        let answer = line.ask(&asked("/status", status));
        sound(&answer, status, "");
    }
    let answer = line.ask(&asked("/status", "205"));
    assert_eq!(answer.head, ["205", "content-length: 0"]);
    let answer = line.ask(&Ask { method: "HEAD", ..asked("/status", "200") });
    sound(&answer, "200", "");
    assert_eq!(answer.head, ["200", "content-length: 4"]);
    let answer = line.ask(&Ask { method: "HEAD", ..get("/hello") });
    assert_eq!(answer.head.last().unwrap(), "content-length: 5");
    let answer = line.ask(&Ask { method: "HEAD", ..get("/empty") });
    assert_eq!(answer.head, ["200", "content-type: text/plain"], "it says nothing about GET");
    assert_eq!(host.stderr(), "");
}

#[test]
fn trailers_and_early_hints_are_passed_on() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let answer = line.ask(&get("/trailers"));
    sound(&answer, "200", "body");
    assert_eq!(answer.flags, frame::TRAILERS);
    assert_eq!(answer.trailers, ["trailers", "x-sum: 1", "x-more: 2"]);
    let answer = line.ask(&get("/hints"));
    sound(&answer, "200", "hinted");
    assert_eq!(answer.interim, ["103", "link: </a.css>; rel=preload", "link: </b.js>; rel=preload"]);
}

#[test]
fn a_path_that_is_sent_comes_as_a_descriptor() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let answer = line.ask(&get("/path"));
    sound(&answer, "200", "from a file");
    assert_eq!(answer.kinds, [Kind::Head, Kind::File, Kind::End, Kind::Free]);
    assert_eq!(answer.head.last().unwrap(), "content-length: 11");
    sound(&line.ask(&asked("/path", "4")), "200", "from");
    let answer = line.ask(&asked("/path", "40"));
    broken(&answer);
    let answer = line.ask(&Ask { method: "HEAD", ..get("/path") });
    sound(&answer, "200", "");
    assert!(line.files.is_empty());
    assert!(
        host.stderr()
            .contains("GET /path (request test-1): the body is shorter than its content-length of 40")
    );
}

#[test]
fn failures_are_aborts_and_the_traceback_is_logged() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let cases = [
        ("/raises", "", "ValueError: too early"),
        ("/raises_after_start", "", "ValueError: after start"),
        ("/exits", "", "SystemExit: 5"),
        ("/nothing", "", "the app returned without http.response.start"),
        ("/unfinished", " in the middle of its response", "the app returned before the end of its response"),
        ("/raises_later", " in the middle of its response", "ValueError: in the middle"),
        ("/no_trailers", " in the middle of its response", "the app returned before the end of its response"),
        ("/raises_behind", " behind its response", "ValueError: behind it"),
    ];
    for (path, when, _) in cases {
        let answer = line.ask(&get(path));
        match when {
            "" => failed(&answer),
            " behind its response" => sound(&answer, "200", "whole"),
            _ => broken(&answer),
        }
    }
    sound(&line.ask(&get("/task_exits")), "200", "still here");
    sound(&line.ask(&get("/hello")), "200", "hello");
    let stderr = host.stderr();
    for (path, when, error) in cases {
        assert!(stderr.contains(&format!("GET {path} (request test-1) failed{when}:\n")), "{path}\n{stderr}");
        assert!(stderr.contains(error), "{error}\n{stderr}");
    }
    assert!(stderr.contains("a task has tried to end the process:\n"), "{stderr}");
    assert!(
        !stderr.contains("<stdin>") && !stderr.contains("<asgi>"),
        "frames of the host are trimmed\n{stderr}"
    );
}

#[test]
fn misuse_of_send_raises_and_says_what_is_wrong() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let cases = [
        ("start_twice", "Misuse: http.response.start was sent twice"),
        ("body_first", "Misuse: http.response.body was sent before http.response.start"),
        ("after_end", "Misuse: http.response.body was sent after the end of the response"),
        (
            "unknown",
            "ValueError: 'http.response.stop' cannot be sent in answer to a request; it is 'http.response.start' or",
        ),
        ("other_kind", "ValueError: 'websocket.accept' cannot be sent in answer to a request"),
        ("no_type", "ValueError: what is sent must have a type"),
        ("no_dict", "TypeError: what is sent must be a dict, not str"),
        ("text", "TypeError: the body of http.response.body must be bytes, not str"),
        ("text_header", "TypeError: the headers of http.response.start must be pairs of bytes"),
        ("text_value", "TypeError: the headers of http.response.start must be pairs of bytes"),
        ("single", "TypeError: the headers of http.response.start must be pairs of bytes"),
        ("text_status", "TypeError: the status of http.response.start must be int, not '200'"),
        ("no_status", "TypeError: the status of http.response.start must be int, not None"),
        ("low_status", "ValueError: the status of a response is from 200 to 999, not 103"),
        ("high_status", "ValueError: the status of a response is from 200 to 999, not 1000"),
        ("line_break", "ValueError: a control character in the headers of http.response.start"),
        ("line_feed", "ValueError: a control character in the headers of http.response.start"),
        ("nul", "ValueError: a control character in the headers of http.response.start"),
        ("length", "ValueError: the content-length must be a number, not b'four'"),
        (
            "unannounced",
            "Misuse: http.response.trailers was sent, but http.response.start has not announced it",
        ),
        ("early_trailers", "Misuse: http.response.trailers was sent before the end of the body"),
        ("late_hint", "Misuse: http.response.early_hint was sent after http.response.start"),
        ("text_hint", "TypeError: the headers of http.response.early_hint must be pairs of bytes"),
        ("relative", "ValueError: the path of http.response.pathsend must be a str and absolute, not 'a'"),
        ("directory", "ValueError: the path of http.response.pathsend is no regular file: '/tmp'"),
        ("late_path", "Misuse: http.response.pathsend was sent after a part of the body"),
    ];
    for (query, said) in cases {
        let answer = line.ask(&asked("/misuse", query));
        match (query, answer.head.is_empty()) {
            ("after_end", _) => sound(&answer, "200", "x"),
            (_, true) => failed(&answer),
            (_, false) => broken(&answer),
        }
        line.ask(&asked("/misused", query));
        let notes = line.notes();
        assert!(notes.starts_with(said), "{query}: {said}\n{notes}");
    }
    let stderr = host.stderr();
    for (query, said) in cases {
        assert!(stderr.contains(said), "{query}: {said}\n{stderr}");
    }
}

#[test]
fn an_app_waits_in_send_until_there_is_credit() {
    let host = host();
    let mut line = Line::to(&host, 0);
    for path in ["/endless", "/endless_wide"] {
        let stream = line.send(0, &get(path));
        line.expect(Kind::Head, stream);
        let mut came = 0;
        while came < 65_536 {
            came += line.expect(Kind::Body, stream).payload.len();
        }
        sound(&line_of(&host).ask(&get("/hello")), "200", "hello");
        assert_eq!(came, 65_536, "it has sent no more than the window");
        line.credit(stream, 1000);
        assert_eq!(line.expect(Kind::Body, stream).payload.len(), 1000);
        line.cancel(stream);
        assert_eq!(line.expect(Kind::End, stream).header.flags, ABORT);
        line.expect(Kind::Free, stream);
    }
    assert_eq!(line.notes(), "sent 60000", "the send that had no room raised");
}

/// Another worker's stream.
fn line_of(host: &Host) -> Line {
    Line::to(host, 1)
}

#[test]
fn a_worker_that_reads_nothing_holds_up_who_sends_and_nobody_else() {
    let host = with(&[("WINDOW", "1000000000")]);
    let mut line = Line::to(&host, 0);
    let streams = [line.send(0, &get("/endless")), line.send(1, &get("/endless"))];
    for _ in 0..20 {
        sound(&line_of(&host).ask(&get("/hello")), "200", "hello");
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let resident = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kilobytes: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100_000, "{resident}");
    for stream in streams {
        line.cancel(stream);
    }
    for stream in streams {
        let mut answer = Answer::default();
        line.go_on(stream, Kind::Free, &mut answer);
        broken(&answer);
    }
}

#[test]
fn who_is_cancelled_sees_a_disconnect_and_send_raises() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let stream = line.begin(0, &get("/waits"));
    line.cancel(stream);
    let answer = line.answer(stream);
    failed(&answer);
    assert_eq!(line.notes(), "http.disconnect http.disconnect\nsend raised ConnectionResetError");
    assert_eq!(host.stderr(), "", "it is no error of the app");
}

#[test]
fn a_cancel_is_answered_at_once_and_the_task_cancelled() {
    let mut host = host();
    let fifo = host.fifo("go");
    let mut line = Line::to(&host, 0);
    for late in [&b""[..], &[1]] {
        let stream = line.begin(0, &get("/sleeps"));
        line.say(Kind::Cancel, 0, stream, late);
        assert_eq!(line.expect(Kind::End, stream).header.flags, ABORT);
        line.expect(Kind::Free, stream);
    }
    assert_eq!(line.notes(), "cancelled\ncancelled");
    let stream = line.begin(0, &asked("/stubborn", fifo.to_str().unwrap()));
    line.say(Kind::Cancel, 0, stream, &[1]);
    assert_eq!(line.expect(Kind::End, stream).header.flags, ABORT);
    sound(&line_of(&host).ask(&get("/hello")), "200", "hello");
    let go = File::options().write(true).open(fifo).unwrap();
    assert_eq!(line.notes(), "goes on");
    drop(go);
    line.expect(Kind::Free, stream);
    assert_eq!(host.stderr(), "");
}

#[test]
fn what_is_cancelled_before_it_begins_need_not_begin() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let (stream, mut wire) = line.frames_of(0, &get("/sleeps"));
    frame::push(&mut wire, Kind::Cancel, 0, stream, b"");
    line.say_raw(&wire);
    failed(&line.answer(stream));
    assert!(["", "cancelled"].contains(&&*line.notes()));
}

#[test]
fn what_is_over_or_not_there_is_not_disturbed_by_a_cancel() {
    let host = host();
    let fifo = host.fifo("go");
    let mut line = Line::to(&host, 0);
    let stream = line.send(0, &asked("/behind", fifo.to_str().unwrap()));
    let mut answer = Answer::default();
    line.go_on(stream, Kind::End, &mut answer);
    line.cancel(stream);
    line.cancel(77 << 16);
    line.credit(77 << 16, 1);
    drop(File::options().write(true).open(fifo).unwrap());
    line.go_on(stream, Kind::Free, &mut answer);
    sound(&answer, "200", "answered");
    assert_eq!(line.notes(), "ran behind");
    line.cancel(stream);
    sound(&line.ask(&get("/hello")), "200", "hello");
}

#[test]
fn free_says_how_long_the_task_took() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let answer = line.ask(&get("/naps"));
    sound(&answer, "200", "answered");
    assert!((100_000..60_000_000).contains(&answer.micros.unwrap()), "behind its response, too: {answer:?}");
}

#[test]
fn what_a_view_forks_answers_nothing() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    for (query, code) in [("", "0"), ("raise", "1"), ("await", "0")] {
        sound(&line.ask(&asked("/forks", query)), "200", code);
    }
    sound(&line.ask(&get("/hello")), "200", "hello");
    let stderr = host.stderr();
    assert!(
        stderr.contains("GET /forks (request test-1) failed in a process that it has forked:\n"),
        "{stderr}"
    );
    assert!(!stderr.contains("the copy has come back"), "{stderr}");
}

#[test]
fn who_speaks_no_frames_or_passes_what_nobody_asked_for_is_turned_away() {
    let host = host();
    let mut other = Line::to(&host, 0);
    sound(&other.ask(&get("/hello")), "200", "hello");
    let before = host.descriptors();
    let null = File::open("/dev/null").unwrap();
    let frame = |kind, flags, payload: &[u8]| {
        let mut wire = Vec::new();
        frame::push(&mut wire, kind, flags, 1, payload);
        wire
    };
    let (_, request) = other.frames_of(1, &Ask { body: Some(b""), spooled: true, ..get("/hello") });
    let (_, beyond) = other.frames_of(4, &get("/hello"));
    let cases = [
        (frame(Kind::Leave, 0, b""), 0, "a kind that is the master's"),
        (frame(Kind::Request, frame::END, b"http\0"), 0, "too few fields"),
        (frame(Kind::Request, frame::END, &[b'a', 0].repeat(20)), 0, "no numbers"),
        (beyond, 0, "a unit that there is not"),
        (request.clone(), 253, "more than one descriptor"),
        (request, 1, "a body that is no file"),
        (frame(Kind::Credit, 0, b""), 1, "a descriptor with a frame that brings none"),
    ];
    for (wire, count, what) in cases {
        let mut line = Line::to(&host, 7);
        match count {
            0 => line.say_raw(&wire),
            count => super::harness::pass(&line.socket, &wire, &null, count),
        }
        assert!(line.is_closed(), "{what}");
        sound(&other.ask(&get("/hello")), "200", "hello");
    }
    let mut line = Line::to(&host, 7);
    let (stream, _) = line.frames_of(0, &get("/hello"));
    line.say(Kind::Text, 0, stream, b"for no WebSocket");
    sound(&line.ask(&get("/hello")), "200", "hello");
    drop(line);
    wait_until(SOON, "all of them are closed", || holds(host.descriptors() <= before, host.descriptors()));
}
