//! Requests that lie there before those ahead of them are over, and what is sent together.

use super::harness::{Ask, Host, get, python};
use hatchery::control::frame::{Frame, Kind};
use hatchery::gateway::app::HOST_PROGRAM;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

const ABORT: u8 = 4;

/// A page that runs until `open` has been called for this FIFO and what it returns was dropped.
fn held(fifo: &Path) -> Ask<'_> {
    Ask { query: fifo.to_str().unwrap(), ..get("/held") }
}

/// Waits until the app waits for this FIFO.
fn open(fifo: &Path) -> File {
    File::options().write(true).open(fifo).unwrap()
}

/// What came for one request: the status line, the body, whether it was aborted, the time in its FREE.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    status: String,
    body: String,
    abort: bool,
    micros: Option<u32>,
}

fn came(frames: &[Frame], number: u32) -> Came {
    let mut came = Came { status: String::new(), body: String::new(), abort: false, micros: None };
    for frame in frames.iter().filter(|frame| frame.header.stream == number) {
        let text = String::from_utf8_lossy(&frame.payload);
        match frame.header.kind {
            Kind::Head => came.status = text.split('\0').next().unwrap().to_owned(),
            Kind::Body => came.body.push_str(&text),
            Kind::End => came.abort = frame.header.flags & ABORT != 0,
            Kind::Free => {
                came.micros = Some(u32::from_le_bytes(frame.payload.as_slice().try_into().unwrap()))
            }
            _ => {}
        }
    }
    came
}

/// Whole answers to the requests `first` and following, with these bodies and in this order; `None`: it was aborted before it began.
fn in_order(frames: &[Frame], first: u32, bodies: &[Option<&str>]) {
    let numbers: Vec<u32> = frames.iter().map(|frame| frame.header.stream).collect();
    assert!(numbers.is_sorted(), "{frames:?}");
    for (number, body) in (first..).zip(bodies) {
        let came = came(frames, number);
        match body {
            Some(body) => {
                assert_eq!((came.status.as_str(), came.body.as_str(), came.abort), ("200 OK", *body, false));
                assert!(came.micros.is_some(), "{number}: {frames:?}");
            }
            None => {
                let skipped =
                    Came { status: String::new(), body: String::new(), abort: true, micros: Some(0) };
                assert_eq!(came, skipped, "{number}");
            }
        }
    }
}

fn ends(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.header.kind == Kind::End).count()
}

#[test]
fn several_requests_are_answered_in_their_order() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    let mut number = 0;
    for count in [4, 8, 200] {
        let sizes: Vec<String> = (1..=count).map(|size| size.to_string()).collect();
        let asks: Vec<Ask<'_>> = sizes.iter().map(|size| Ask { query: size, ..get("/sized") }).collect();
        worker.send_all(&asks);
        let frames = worker.frames(Kind::Free, number + count);
        let bodies: Vec<String> = (1..=count).map(|size| "s".repeat(size as usize)).collect();
        let bodies: Vec<Option<&str>> = bodies.iter().map(|body| Some(body.as_str())).collect();
        in_order(&frames, number + 1, &bodies);
        number += count;
    }
}

#[test]
fn answers_of_fast_pages_are_sent_together() {
    for count in [3, 7] {
        let host = Host::keeping("3600", 1);
        let fifo = host.fifo("go");
        let mut worker = host.connect(0, 0);
        let mut asks = vec![get("/hello"); count];
        asks.push(held(&fifo));
        worker.send_all(&asks);
        let go = open(&fifo);
        assert!(!worker.has_come(), "they wait for each other");
        drop(go);
        let mut bodies = vec![Some("hello"); count];
        bodies.push(Some("let go"));
        let frames = worker.frames(Kind::Free, worker.number());
        in_order(&frames, 1, &bodies);
    }
}

#[test]
fn not_more_than_64_kib_are_kept() {
    let host = Host::keeping("3600", 1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    let large = Ask { query: "40000", ..get("/sized") };
    worker.send_all(&[large.clone(), large, held(&fifo)]);
    let go = open(&fifo);
    assert_eq!(ends(&worker.frames(Kind::Free, 2)), 2);
    drop(go);
    worker.frames(Kind::Free, 3);
}

#[test]
fn no_answer_waits_for_a_page_where_one_was_slow() {
    // By the page before it, which is slow itself; by one that was slow before, although the last was fast.
    for (seconds, path) in [("0", "/hello"), ("0.05", "/nap")] {
        let host = Host::keeping(seconds, 1);
        let fifo = host.fifo("go");
        let mut worker = host.connect(0, 0);
        worker.send_all(&[get(path), get("/hello"), held(&fifo), get("/hello")]);
        let go = open(&fifo);
        assert_eq!(ends(&worker.frames(Kind::Free, 2)), 2, "{path}");
        drop(go);
        in_order(&worker.frames(Kind::Free, 4), 3, &[Some("let go"), Some("hello")]);
    }
}

#[test]
fn the_answer_to_what_cannot_be_repeated_waits_for_nothing() {
    let host = Host::keeping("3600", 1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    worker.send_all(&[Ask { method: "POST", body: Some(b"order"), ..get("/hello") }, held(&fifo)]);
    let go = open(&fifo);
    assert_eq!(ends(&worker.frames(Kind::Free, 1)), 1);
    drop(go);
    worker.frames(Kind::Free, 2);
}

#[test]
fn a_request_that_was_cancelled_before_it_began_is_not_begun() {
    for threads in [1, 2] {
        let host = Host::keeping("0", threads);
        let fifo = host.fifo("go");
        let mut worker = host.connect(0, threads - 1);
        let closing = get("/closing");
        // What the host has read already; then what still lies in the socket.
        worker.send_all(&[held(&fifo), closing.clone(), get("/hello"), closing.clone()]);
        let go = open(&fifo);
        worker.cancel(2);
        worker.cancel(4);
        drop(go);
        in_order(&worker.frames(Kind::Free, 4), 1, &[Some("let go"), None, Some("hello"), None]);
        worker.send(&held(&fifo));
        let go = open(&fifo);
        worker.send_all(&[closing, get("/hello")]);
        worker.cancel(6);
        worker.cancel(99);
        drop(go);
        in_order(&worker.frames(Kind::Free, 7), 5, &[Some("let go"), None, Some("hello")]);
        let count = Ask { query: "closing", ..get("/count_closed") };
        worker.send(&count);
        in_order(&worker.frames(Kind::Free, 8), 8, &[Some("0")]);
    }
}

#[test]
fn a_request_with_a_body_that_was_cancelled_is_read_and_not_begun() {
    let host = Host::keeping("0", 1);
    let [one, two] = ["one", "two"].map(|name| host.fifo(name));
    let mut worker = host.connect(0, 0);
    for spooled in [false, true] {
        let first = worker.number() + 1;
        worker.send_all(&[held(&one), held(&two)]);
        let go = open(&one);
        let post = Ask { method: "POST", body: Some(b"order"), spooled, ..get("/echo") };
        worker.send_all(&[post, get("/hello")]);
        drop(go);
        let go = open(&two);
        worker.cancel(first + 2);
        drop(go);
        let bodies = [Some("let go"), Some("let go"), None, Some("hello")];
        in_order(&worker.frames(Kind::Free, first + 3), first, &bodies);
    }
}

#[test]
fn a_response_is_cancelled_with_others_behind_it() {
    for threads in [1, 2] {
        let host = Host::hostile(threads);
        let mut worker = host.connect(0, threads - 1);
        worker.send_all(&[get("/endless"), get("/hello"), get("/hello")]);
        worker.frames(Kind::Body, 1);
        worker.cancel(2);
        worker.cancel(1);
        let frames = worker.frames(Kind::Free, 3);
        assert!(came(&frames, 1).abort);
        in_order(&frames, 2, &[None, Some("hello")]);
        assert_eq!(worker.ask(&Ask { query: "endless", ..get("/count_closed") }).text(), "1");
    }
}

#[test]
fn end_waits_for_close_where_that_was_fast() {
    let host = Host::keeping("3600", 1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    let slow_close = Ask { query: fifo.to_str().unwrap(), ..get("/slow_close") };
    worker.send_all(&[get("/closing"), slow_close]);
    let go = open(&fifo);
    let frames = worker.frames(Kind::Body, 2);
    assert_eq!(came(&frames, 2).body, "response");
    assert!(!worker.has_come());
    drop(go);
    let frames = worker.frames(Kind::Free, 2);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame.header.kind).collect();
    assert_eq!(kinds, [Kind::End, Kind::Free]);
}

#[test]
fn end_does_not_wait_for_close_where_that_was_slow() {
    let host = Host::keeping("0.05", 1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    let nap = Ask { query: "close", ..get("/nap") };
    for path in [get("/closing"), nap, get("/closing")] {
        assert!(worker.ask(&path).freed);
    }
    let number = worker.number() + 1;
    worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/slow_close") });
    let go = open(&fifo);
    worker.frames(Kind::End, number);
    drop(go);
    worker.frames(Kind::Free, number);
}

#[test]
fn what_streams_sends_what_was_kept_before_it() {
    let host = Host::keeping("3600", 1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    let streamed = Ask { query: fifo.to_str().unwrap(), ..get("/streamed") };
    worker.send_all(&[get("/hello"), streamed, get("/write"), get("/large"), get("/hello")]);
    let frames = worker.frames(Kind::Body, 2);
    in_order(&frames, 1, &[Some("hello")]);
    assert_eq!(came(&frames, 2).body, "first");
    drop(open(&fifo));
    let frames = worker.frames(Kind::Free, 5);
    assert_eq!(came(&frames, 2).body, "second");
    in_order(&frames, 3, &[Some("one two three four"), Some(&"z".repeat(3_000_000)), Some("hello")]);
}

#[test]
fn a_file_among_others_comes_with_its_descriptor() {
    let host = Host::keeping("3600", 1);
    let mut worker = host.connect(0, 0);
    worker.send_all(&[get("/hello"), get("/file_temporary"), get("/hello"), get("/file_temporary")]);
    let frames = worker.frames(Kind::Free, 4);
    in_order(&frames, 1, &[Some("hello"), Some(""), Some("hello"), Some("")]);
    let files: Vec<_> = frames.iter().filter(|frame| frame.header.kind == Kind::File).collect();
    assert_eq!((files.len(), worker.files.len()), (2, 2));
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame.header.kind).collect();
    let [hello, file] = [Kind::Body, Kind::File].map(|body| [Kind::Head, body, Kind::End, Kind::Free]);
    assert_eq!(kinds, [hello, file, hello, file].concat());
    for (frame, file) in files.iter().zip(&worker.files) {
        assert_eq!(frame.payload, [5_u64.to_le_bytes(), 9_u64.to_le_bytes()].concat());
        let mut bytes = [0; 9];
        file.read_exact_at(&mut bytes, 5).unwrap();
        assert_eq!(&bytes, b"temporary");
    }
}

#[test]
fn bodies_come_with_their_own_request_behind_others() {
    let host = Host::hostile(1);
    let fifo = host.fifo("go");
    let mut worker = host.connect(0, 0);
    let post = |body| Ask { method: "POST", body: Some(body), ..get("/lines") };
    let said = |text: &str| format!("[b'{text}\\n', b'', b'', [], b'']");
    // The host reads them while the first response is sent.
    worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/streamed") });
    worker.frames(Kind::Body, 1);
    worker.send_all(&[Ask { spooled: true, ..post(b"one\n") }, get("/hello"), post(b"two\n")]);
    worker.send_all(&[Ask { spooled: true, ..post(b"three\n") }, get("/hello")]);
    worker.send(&Ask { spooled: true, ..post(b"four\n") });
    drop(open(&fifo));
    let frames = worker.frames(Kind::Free, 7);
    let [one, two, three, four] = ["one", "two", "three", "four"].map(said);
    let bodies = [one.as_str(), "hello", &two, &three, "hello", &four].map(Some);
    in_order(&frames, 2, &bodies);
}

#[test]
fn who_must_leave_finishes_what_runs_and_begins_no_more() {
    for threads in [1, 3] {
        let mut host = Host::keeping("3600", threads);
        let mut worker = host.connect(0, threads - 1);
        worker.send_all(&[get("/hello"), get("/told_to_leave"), get("/hello")]);
        in_order(&worker.frames(Kind::Free, 2), 1, &[Some("hello"), Some("told")]);
        assert_eq!(worker.rest(), [], "the third is for another process");
        assert_eq!(host.ended(), (Some(0), "atexit ran\n".to_owned()));
    }
}

#[test]
fn who_asks_while_several_lie_there_learns_when_the_last_is_over() {
    let ask = |row: u16| [row.to_le_bytes(), 0_u16.to_le_bytes()].concat();
    let mut host = Host::hostile(2);
    let [first, second] = ["first", "second"].map(|name| host.fifo(name));
    let mut worker = host.connect(5, 0);
    worker.send_all(&[held(&first), held(&second)]);
    let go = open(&first);
    host.tell(Kind::Ask, &ask(5));
    host.tell(Kind::Ask, &ask(6));
    assert_eq!(host.told_free(), (6, 0));
    drop(go);
    let go = open(&second);
    host.tell(Kind::Ask, &ask(7));
    assert_eq!(host.told_free(), (7, 0), "the first is over, and the other runs");
    drop(go);
    assert_eq!(host.told_free(), (5, 0));
    worker.frames(Kind::Free, 2);
}

#[test]
fn slow_pages_that_lie_there_do_not_keep_the_master_waiting() {
    let mut host = Host::keeping("0", 1);
    let mut other = host.connect(6, 0);
    let fifo = host.fifo("go");
    let mut worker = host.connect(5, 0);
    let nap = get("/nap");
    worker.send_all(&[nap.clone(), nap.clone(), nap.clone(), held(&fifo), nap]);
    worker.frames(Kind::Head, 1);
    other.send(&get("/hello"));
    host.tell(Kind::Ask, &[6, 0, 77, 0]);
    let go = open(&fifo);
    assert_eq!(host.told_free(), (6, 77));
    in_order(&other.frames(Kind::Free, 1), 1, &[Some("hello")]);
    drop(go);
    let frames = worker.frames(Kind::Free, 5);
    in_order(&frames, 4, &[Some("let go"), Some("slept")]);
}

#[test]
fn free_says_how_long_the_app_took() {
    let host = Host::hostile(1);
    let mut worker = host.connect(0, 0);
    worker.send_all(&[get("/nap"), Ask { query: "close", ..get("/nap") }, get("/hello"), get("/hello")]);
    let frames = worker.frames(Kind::Free, 4);
    for number in [1, 2] {
        let micros = came(&frames, number).micros.unwrap();
        assert!((100_000..60_000_000).contains(&micros), "{micros}");
    }
    assert!([3, 4].iter().any(|number| came(&frames, *number).micros.unwrap() < 100_000), "{frames:?}");
}

#[test]
fn what_a_view_forks_sends_nothing_of_what_was_kept() {
    for threads in [1, 2] {
        let host = Host::keeping("3600", threads);
        let mut worker = host.connect(0, 0);
        let fork = Ask { query: "return", ..get("/fork_and_come_back") };
        worker.send_all(&[get("/hello"), fork.clone(), fork, get("/hello")]);
        let frames = worker.frames(Kind::Free, 4);
        in_order(&frames, 1, &[Some("hello"), Some("0"), Some("0"), Some("hello")]);
        assert_eq!(ends(&frames), 4);
        assert!(!worker.has_come());
    }
}

#[test]
fn a_process_that_dies_has_sent_what_was_due() {
    let host = Host::keeping("0", 1);
    let mut worker = host.connect(0, 0);
    worker.send_all(&[get("/hello"), get("/close_everything")]);
    in_order(&worker.frames(Kind::Free, 1), 1, &[Some("hello")]);
}

/// What runs after the functions of the host are there.
const OWN_TIME: &str = r#"
from time import sleep, thread_time

def measured(act):
    before = getrusage(RUSAGE_THREAD)
    act()
    return own_time(10.0, before)

def burn():
    until = thread_time() + 0.02
    while thread_time() < until:
        pass

assert any(measured(lambda: None) < 0.01 for _ in range(1000)), "none of it is its own"
assert any(0.019 < measured(burn) < 10 for _ in range(100)), "what it has computed is"
assert measured(lambda: sleep(0.001)) == 10.0, "what it has waited is"
"#;

#[test]
fn time_that_the_kernel_gave_to_others_is_not_the_apps() {
    let functions = HOST_PROGRAM.trim_end().strip_suffix("main()").unwrap();
    let ran = Command::new(python()).args(["-c", &[functions, OWN_TIME].concat()]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
