//! PEP 3333, case by case.

use super::harness::{Answer, Ask, Host, get};
use hatchery::http::BodyLength;
use hatchery::http::fault::Fault;

fn sound(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status(), answer.text().as_str()), (status, body), "{answer:?}");
    assert!(answer.freed && answer.broken.is_none(), "{answer:?}");
}

/// The app raised before its head: the worker has a page for that.
fn failed(answer: &Answer) {
    assert_eq!((answer.broken, answer.freed), (Some(Fault::Failed), true), "{answer:?}");
    assert!(answer.head.is_none() && answer.body.is_empty(), "{answer:?}");
}

#[test]
fn a_small_response_is_one_write() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    for _ in 0..3 {
        let answer = worker.get("/hello");
        sound(&answer, 200, "hello");
        assert_eq!((answer.reads, answer.length), (1, Some(BodyLength::Known(5))));
    }
}

#[test]
fn lengths_are_set_where_they_are_known() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    for (path, length) in [
        ("/parts", BodyLength::Known(3)),
        ("/large_parts", BodyLength::Known(100_000)),
        ("/large", BodyLength::Known(3_000_000)),
        ("/empty_list", BodyLength::Known(0)),
        ("/empty_generator", BodyLength::Known(0)),
        ("/no_content", BodyLength::None),
        ("/lazy", BodyLength::Unknown),
        ("/write", BodyLength::Unknown),
        ("/file_in_memory", BodyLength::Unknown),
    ] {
        let answer = worker.get(path);
        assert_eq!(answer.length, Some(length), "{path}");
        assert!(answer.freed && answer.broken.is_none(), "{path}");
        if let BodyLength::Known(length) = length {
            assert_eq!(answer.body.len() as u64, length, "{path}");
        }
    }
    let answer = worker.ask(&Ask { method: "HEAD", ..get("/empty_list") });
    assert_eq!(answer.length, Some(BodyLength::Unknown), "an empty answer to HEAD says nothing about GET");
    let answer = worker.ask(&Ask { method: "HEAD", ..get("/hello") });
    assert_eq!(answer.length, Some(BodyLength::Known(5)));
}

#[test]
fn the_validator_of_the_standard_library_is_content() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    sound(&worker.get("/valid"), 200, "valid");
    let post = Ask { method: "POST", body: Some(b"some body"), ..get("/valid") };
    sound(&worker.ask(&post), 200, "some body");
    sound(&worker.ask(&Ask { spooled: true, ..post }), 200, "some body");
    assert!(host.stderr().contains("a line for the log\n"));
}

#[test]
fn bodies_come_whole_inline_and_by_descriptor() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    for (length, spooled) in
        [(0, false), (1, false), (65_536, false), (0, true), (70_000, true), (5_000_000, true)]
    {
        let body = &body[..length];
        let ask = Ask { method: "POST", body: Some(body), spooled, ..get("/echo") };
        let answer = worker.ask(&ask);
        assert!(answer.text().starts_with(&format!("{length} ")), "{answer:?}");
        let length = Ask { path: b"/dump", ..ask };
        assert!(worker.ask(&length).text().contains(&format!("CONTENT_LENGTH='{}'\n", body.len())));
    }
    for spooled in [false, true] {
        let body = Some(&b"one\ntwo\nthree\nfour"[..]);
        let answer = worker.ask(&Ask { method: "POST", body, spooled, ..get("/lines") });
        sound(&answer, 200, r"[b'one\n', b'tw', b'o\nt', [b'hree\n', b'four'], b'']");
    }
}

#[test]
fn heads_come_as_they_were_given() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let ask = Ask { path: b"/latin/\xff", fields: &[("X-Latin", b"\xe9")], ..get("") };
    let answer = worker.ask(&ask);
    let head = answer.head.as_ref().unwrap();
    assert_eq!(head.reason.as_deref(), Some(&b"Caf\xe9"[..]));
    assert_eq!(head.fields.get("x-latin"), Some(&b"caf\xe9"[..]));
    assert_eq!(head.fields.iter().filter(|(name, _)| *name == b"Set-Cookie").count(), 2);
    assert_eq!(answer.body, b"\xe9/latin/\xff");
    let answer = worker.get("/hop_by_hop");
    sound(&answer, 200, "hop");
    assert_eq!(answer.head.unwrap().fields.iter().count(), 1);
}

#[test]
fn early_hints_go_before_the_head_and_what_is_none_fails() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let answer = worker.get("/hints");
    sound(&answer, 200, "hinted");
    let hints: Vec<_> = answer.interim.iter().map(|head| (head.status.0, head.fields.get("link"))).collect();
    assert_eq!(hints, [(103, Some(&b"</a.css>; rel=preload"[..])), (103, Some(b"</b\xe9>"))]);
    let mut reasons = Vec::new();
    for (case, why) in [
        ("late", "early hints after the head of the response"),
        ("many", "more than 32 early hints"),
        ("split", "a control character in an early hint"),
        ("tuple", "early hints must be a list"),
        ("bytes", "an early hint must be two str"),
        ("pair", "an early hint must be two str"),
    ] {
        let answer = worker.ask(&Ask { query: case, ..get("/bad_hints") });
        assert!(answer.freed && answer.broken.is_some(), "{case}");
        reasons.push(why);
    }
    sound(&worker.get("/hello"), 200, "hello");
    let told = host.stderr();
    assert!(reasons.iter().all(|why| told.contains(why)), "{told}");
}

#[test]
fn chunks_are_sent_before_the_next_is_asked_for() {
    let host = Host::hostile(1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/streamed") });
    let mut reading = worker.reading();
    while reading.answer.body != b"first" {
        assert!(worker.read(&mut reading));
    }
    drop(std::fs::File::options().write(true).open(fifo).unwrap());
    while worker.read(&mut reading) {}
    sound(&reading.answer, 200, "firstsecond");
}

#[test]
fn start_response_and_write_follow_the_rules() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let answer = worker.get("/lazy");
    sound(&answer, 299, "lazy");
    assert!(answer.head.unwrap().fields.get("X-Lazy").is_some());
    sound(&worker.get("/write"), 200, "one two three four");
    sound(&worker.get("/replaced"), 503, "sorry");
    for path in ["/replaced_too_late", "/fail_later"] {
        let answer = worker.get(path);
        assert_eq!((answer.status(), answer.broken), (200, Some(Fault::Truncated)), "{path}");
        assert!(answer.freed);
    }
    let stderr = host.stderr();
    assert!(
        stderr.contains("GET /replaced_too_late (request test-1) failed in the middle of its response:\n"),
        "{stderr}"
    );
    assert!(stderr.contains("KeyError: 'too late for another head'"), "{stderr}");
}

#[test]
fn failures_before_the_head_are_500_and_the_traceback_is_logged() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let cases = [
        ("/fail_early", "ValueError: too early"),
        ("/fail_after_start", "ValueError: after start_response"),
        ("/fail_first", "ValueError: in the first chunk"),
        ("/exits", "SystemExit: 5"),
        ("/no_start", "AssertionError: the app did not call start_response()"),
        ("/nothing", "TypeError: the app must return an iterable of bytes, as [b'text'], not NoneType"),
        ("/start_twice", "AssertionError: start_response() was called a second time"),
        ("/text", "TypeError: the body must be bytes, not str"),
        ("/split_header", "ValueError: a control character"),
        ("/split_header_nul", "ValueError: a control character"),
        ("/wide_header", "UnicodeEncodeError"),
        ("/tuple_headers", "TypeError: the headers must be a list, not tuple"),
        ("/bad_status", "ValueError: the status must be like '200 OK', not 'OK'"),
    ];
    for (path, _) in cases {
        failed(&worker.get(path));
    }
    sound(&worker.get("/fail_in_close"), 200, "fine");
    sound(&worker.get("/hello"), 200, "hello");
    let stderr = host.stderr();
    for (path, error) in cases.into_iter().chain([("/fail_in_close", "ZeroDivisionError")]) {
        assert!(stderr.contains(&format!("GET {path} (request test-1) failed")), "{path}\n{stderr}");
        assert!(stderr.contains(error), "{error}\n{stderr}");
    }
    assert!(!stderr.contains("<stdin>"), "frames of the host are trimmed\n{stderr}");
}

#[test]
fn a_mistake_in_what_the_app_answers_is_named() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let header = "a header must be two str, and Content-Length a number, not ('Content-Length', ";
    let cases = [
        ("status", "the status must be like '200 OK', not 200\n".to_owned()),
        ("short", "the status must be like '200 OK', not '20'\n".to_owned()),
        ("superscript", "the status must be like '200 OK', not '20\u{b2} OK'\n".to_owned()),
        ("length", format!("{header}4)")),
        ("no_number", format!("{header}'four')")),
        ("negative", format!("{header}'-4')")),
        ("bytes", "the app must return an iterable of bytes, as [b'text'], not bytes\n".to_owned()),
        ("text", "the app must return an iterable of bytes, as [b'text'], not str\n".to_owned()),
    ];
    for (query, _) in &cases {
        failed(&worker.ask(&Ask { query, ..get("/mistaken") }));
    }
    sound(&worker.ask(&Ask { query: "empty", ..get("/mistaken") }), 200, "");
    let stderr = host.stderr();
    for (query, said) in cases {
        assert!(stderr.contains(&said), "{query}: {said}\n{stderr}");
    }
}

#[test]
fn an_exception_that_comes_from_deep_calls_is_told_at_once() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    for depth in ["100", ""] {
        failed(&worker.ask(&Ask { query: depth, ..get("/fail_deep") }));
    }
    let stderr = host.stderr();
    assert_eq!(stderr.matches("GET /fail_deep (request test-1) failed:\n").count(), 2, "{stderr}");
    assert!(stderr.contains("ValueError: in the depth"), "{stderr}");
    assert!(stderr.contains("RecursionError: maximum recursion depth exceeded"), "{stderr}");
    assert!(!stderr.contains("<stdin>"), "frames of the host are trimmed\n{stderr}");
}

#[test]
fn an_exception_is_told_however_long_it_is_and_if_no_file_can_be_opened() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    failed(&worker.get("/fail_long"));
    failed(&worker.get("/fail_without_files"));
    let stderr = host.stderr();
    assert!(stderr.contains("in fail_long\n") && stderr.contains("ValueError: begins xxx"), "{stderr}");
    assert!(stderr.contains("xxx ends\n") && stderr.len() < 200_000, "{} bytes", stderr.len());
    assert!(stderr.contains("GET /fail_without_files (request test-1) failed:\nValueError"), "{stderr}");
}

#[test]
fn a_process_one_of_whose_threads_has_ended_ends() {
    for threads in [1, 4] {
        let mut host = Host::hostile(threads);
        host.connect(0, 0).send(&get("/close_everything"));
        let (code, stderr) = host.ended();
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("OSError: [Errno 9] Bad file descriptor"), "{stderr}");
    }
}

#[test]
fn what_an_app_must_not_do_costs_its_request_and_no_more() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    failed(&worker.get("/informational"));
    sound(&worker.get("/late_write"), 200, "whole");
    failed(&worker.get("/later_write"));
    let answer = worker.get("/reset_content");
    sound(&answer, 205, "");
    assert_eq!(answer.length, Some(BodyLength::Known(0)));
    sound(&worker.get("/hello"), 200, "hello");
    let stderr = host.stderr();
    for said in [
        "ValueError: the status of a response is at least 200, not '103 Early Hints'",
        "GET /late_write (request test-1) failed in close():\n",
        "RuntimeError: write() after the end of the response",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
}

#[test]
fn a_wrong_length_is_passed_on() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let answer = worker.get("/too_long");
    assert_eq!((answer.length, answer.body.len()), (Some(BodyLength::Known(3)), 6));
    let answer = worker.get("/too_short");
    assert_eq!((answer.length, answer.body.len()), (Some(BodyLength::Known(30)), 7));
}

#[test]
fn close_is_called_exactly_once() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    sound(&worker.get("/closing"), 200, "closed");
    for path in ["/closing", "/fail_first", "/fail_later"] {
        worker.ask(&Ask { method: "HEAD", ..get(path) });
    }
    for (name, count) in [("closing", "2"), ("fail_first", "1"), ("fail_later", "1")] {
        sound(&worker.ask(&Ask { query: name, ..get("/count_closed") }), 200, count);
    }
}

fn closed(worker: &mut super::harness::Worker, name: &str) -> String {
    worker.ask(&Ask { query: name, ..get("/count_closed") }).text()
}

#[test]
fn an_app_whose_client_has_left_is_asked_for_no_more_and_closed_once() {
    for threads in [1, 2] {
        let mut host = Host::hostile(threads);
        let mut worker = host.connect(0, threads - 1);
        for name in ["endless", "endless_write"] {
            worker.send(&get(&format!("/{name}")));
            let mut reading = worker.reading();
            while reading.answer.body.len() < 100_000 {
                assert!(worker.read(&mut reading));
            }
            worker.cancel(worker.number());
            while worker.read(&mut reading) {}
            assert!(reading.answer.freed, "{name}: {reading:?}", reading = reading.answer);
            assert_eq!(closed(&mut worker, name), "1");
        }
        assert_eq!(host.stderr(), "", "it is no error of the app");
    }
}

#[test]
fn a_cancel_that_comes_too_late_or_too_early_is_nothing_to_another_request() {
    let host = Host::hostile(1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    sound(&worker.get("/hello"), 200, "hello");
    worker.cancel(worker.number());
    for other in [0, 2] {
        worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/streamed") });
        worker.cancel((worker.number() + other) - 1);
        let mut reading = worker.reading();
        while reading.answer.body != b"first" {
            assert!(worker.read(&mut reading));
        }
        drop(std::fs::File::options().write(true).open(&fifo).unwrap());
        while worker.read(&mut reading) {}
        sound(&reading.answer, 200, "firstsecond");
    }
    sound(&worker.get("/lazy"), 299, "lazy");
}

#[test]
fn a_request_that_has_not_answered_yet_is_not_interrupted() {
    let host = Host::hostile(1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/held") });
    let go = std::fs::File::options().write(true).open(fifo).unwrap();
    worker.cancel(worker.number());
    drop(go);
    let mut reading = worker.reading();
    while worker.read(&mut reading) {}
    sound(&reading.answer, 200, "let go");
}

#[test]
fn what_cannot_be_sent_is_not_asked_for() {
    let mut host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let answer = worker.ask(&Ask { method: "HEAD", ..get("/endless") });
    assert!(answer.freed && answer.broken.is_none(), "{answer:?}");
    assert_eq!(closed(&mut worker, "endless"), "1");
    for status in ["200", "204", "304"] {
        let answer = worker.ask(&Ask { query: status, ..get("/endless_status") });
        assert!(answer.freed && answer.broken.is_none(), "{answer:?}");
        assert_eq!(closed(&mut worker, &format!("endless_{status}")), "1");
    }
    for (method, status, count) in
        [("HEAD", "200", "1"), ("GET", "200", "2"), ("GET", "204", "1"), ("GET", "304", "1")]
    {
        let answer = worker.ask(&Ask { method, query: status, ..get("/endless_write_status") });
        assert!(answer.freed && answer.broken.is_none(), "{method} {status}: {answer:?}");
        assert_eq!(closed(&mut worker, &format!("endless_write_{status}")), count);
    }
    sound(&worker.get("/streamed_to_the_end"), 200, "stream");
    assert_eq!(closed(&mut worker, "streamed_to_the_end"), "1", "what follows the last chunk runs");
    assert_eq!(host.stderr(), "");
}

#[test]
fn a_response_does_not_wait_for_close_but_the_unit_does() {
    let host = Host::hostile(1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/slow_close") });
    let mut reading = worker.reading();
    while reading.answer.body != b"response" {
        assert!(worker.read(&mut reading));
    }
    assert!(!reading.answer.freed);
    drop(std::fs::File::options().write(true).open(fifo).unwrap());
    while worker.read(&mut reading) {}
    sound(&reading.answer, 200, "response");
}

#[test]
fn files_are_passed_by_descriptor() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let source = std::fs::read(super::harness::apps().join("hostile.py")).unwrap();
    let size = source.len() as u64;
    let answer = worker.get("/file");
    assert_eq!(
        (answer.files.as_slice(), answer.length),
        (&[(10, size - 10)][..], Some(BodyLength::Known(size - 10)))
    );
    assert_eq!(answer.body, &source[10..]);
    let answer = worker.get("/file_with_length");
    assert_eq!((answer.files.as_slice(), answer.body.as_slice()), (&[(4, 6)][..], &source[4..10]));
    let answer = worker.get("/file_temporary");
    assert_eq!(answer.files, [(5, 9)]);
    sound(&answer, 200, "temporary");
    for (path, body) in [
        ("/file_empty", ""),
        ("/file_in_memory", "in memory"),
        ("/file_gzip", "unpacked"),
        ("/file_gzip_buffered", "unpacked"),
        ("/file_subclass", "QUIET"),
        ("/file_lines", "one\ntwo"),
        ("/file_of_the_kernel", "Linux\n"),
        ("/file_not_returned", "only iterated"),
    ] {
        let answer = worker.get(path);
        assert!(answer.files.is_empty(), "{path}");
        sound(&answer, 200, body);
    }
    let before = host.descriptors();
    for _ in 0..20 {
        worker.get("/file");
        worker.ask(&Ask { method: "POST", body: Some(b"x"), spooled: true, ..get("/echo") });
    }
    // Fewer, where the interpreter has collected what only its cycles held.
    assert!(host.descriptors() <= before, "descriptors leak");
}

#[test]
fn four_threads_serve_four_requests_at_once() {
    let host = Host::hostile(4);
    let mut workers: Vec<_> = (0..4).map(|unit| host.connect(unit % 2, unit)).collect();
    for _ in 0..3 {
        workers.iter_mut().for_each(|worker| worker.send(&get("/together")));
        let mut names: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let mut reading = worker.reading();
                while worker.read(&mut reading) {}
                reading.answer.text()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["unit-0", "unit-1", "unit-2", "unit-3"]);
    }
    let text = workers[0].get("/dump").text();
    assert!(text.contains("wsgi.multithread=True\n"), "{text}");
}

#[test]
fn many_workers_take_turns_at_one_unit() {
    let host = Host::hostile(1);
    let mut workers: Vec<_> = (0..8).map(|row| host.connect(row, 0)).collect();
    for round in 0..24 {
        sound(&workers[round % 8].get("/hello"), 200, "hello");
    }
}

#[test]
fn a_forked_child_holds_nothing_of_ours() {
    let host = Host::hostile(1);
    sound(&host.connect(0, 0).get("/fork"), 200, "[] 15");
}

#[test]
fn a_forked_child_that_comes_back_from_the_view_ends_as_it_says() {
    for threads in [1, 4] {
        let mut host = Host::hostile(threads);
        let mut worker = host.connect(0, 0);
        for (query, code) in [("return", "0"), ("exit", "4"), ("raise", "1")] {
            sound(&worker.ask(&Ask { query, ..get("/fork_and_come_back") }), 200, code);
        }
        sound(&worker.get("/hello"), 200, "hello");
        let stderr = host.stderr();
        let told = "GET /fork_and_come_back (request test-1) failed in a process that it has forked:\n";
        assert_eq!(stderr.matches("Traceback").count(), 1, "only that of the app\n{stderr}");
        assert!(stderr.contains(told) && stderr.contains("ValueError: in the child"), "{stderr}");
    }
}

#[test]
fn a_child_of_a_forked_child_keeps_its_files() {
    let host = Host::hostile(1);
    sound(&host.connect(0, 0).get("/fork_again"), 200, "0 lost of 40");
}
