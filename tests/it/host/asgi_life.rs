//! How an ASGI process begins and ends: lifespan, LEAVE, signals, workers that go.

use super::asgi_harness::{ABORT, Answer, Line, app, asked, broken, get, host, sound, with};
use super::harness::Host;
use hatchery::control::frame::{self, Kind};
use nix::sys::signal::Signal;
use std::fs::File;

/// What it says and prints after LEAVE.
fn left(host: &mut Host) -> String {
    host.tell(Kind::Leave, b"");
    let (code, stderr) = host.ended();
    assert_eq!(code, Some(0), "{stderr}");
    stderr
}

#[test]
fn a_startup_that_fails_fails_the_process() {
    for (callable, said) in [
        ("failed", "the app's lifespan.startup has failed: no database\nat all"),
        ("exits", "SystemExit: settings are missing\n"),
    ] {
        let mut host = Host::start_with("asgi_lifespan", callable, &[]);
        let frame = host.told();
        assert_eq!(frame.header.kind, Kind::Failed, "{callable}");
        let text = String::from_utf8(frame.payload).unwrap();
        assert!(text.ends_with(said), "{text}");
        assert_eq!(host.ended(), (Some(3), String::new()));
    }
}

#[test]
fn an_app_that_knows_no_lifespan_serves_without() {
    for (callable, says) in [
        ("raises", ""),
        ("ignores", ""),
        ("answers_as_http", ""),
        (
            "raises_late",
            "hatchery: the app raised after lifespan.startup, and serves without taking part in lifespan:\n",
        ),
    ] {
        let mut host = app("asgi_lifespan", callable, &[]);
        sound(&Line::to(&host, 0).ask(&get("/")), "200", "{}");
        let stderr = left(&mut host);
        assert!(stderr.starts_with(says) && stderr.is_empty() == says.is_empty(), "{callable}: {stderr}");
        assert_eq!(stderr.contains("ValueError: after startup\n"), !says.is_empty(), "{stderr}");
    }
}

#[test]
fn what_lifespan_does_wrong_later_is_told() {
    for (callable, says) in [
        ("ends", ""),
        ("raises_at_the_end", "ValueError: in shutdown\n"),
        ("fails_at_the_end", "the app's lifespan.shutdown has failed: it hangs\n"),
        ("twice", "lifespan.startup.complete was sent after an answer to lifespan.startup\n"),
        ("leaves_a_task", "shutdown ran, False\nthe task ended\n"),
    ] {
        let mut host = app("asgi_lifespan", callable, &[]);
        let state = if callable == "ends" { "{'a': 1}" } else { "{}" };
        sound(&Line::to(&host, 0).ask(&get("/")), "200", state);
        let stderr = left(&mut host);
        assert!(stderr.ends_with(says) && stderr.is_empty() == says.is_empty(), "{callable}: {stderr}");
    }
}

#[test]
fn leave_shuts_the_app_down_and_exits_0() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    sound(&line.ask(&get("/hello")), "200", "hello");
    assert_eq!(left(&mut host), "shutdown ran\natexit ran\n");
    assert!(line.is_closed());
}

#[test]
fn the_end_of_the_master_is_the_end_of_the_host() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let stream = line.begin(0, &get("/sleeps"));
    host.hang_up();
    assert_eq!(line.expect(Kind::End, stream).header.flags, ABORT);
    assert_eq!(host.ended(), (Some(0), "shutdown ran\natexit ran\n".to_owned()));
}

#[test]
fn sigterm_ends_what_runs_and_sigint_does_nothing() {
    for path in ["/sleeps", "/hello"] {
        let mut host = host();
        let mut line = Line::to(&host, 0);
        host.signal(Signal::SIGINT);
        let stream = line.begin(0, &get(path));
        host.signal(Signal::SIGTERM);
        let mut answer = Answer::default();
        line.go_on(stream, Kind::Free, &mut answer);
        assert_eq!(answer.end, Some(if path == "/hello" { 0 } else { ABORT }));
        assert_eq!(host.ended(), (Some(0), "shutdown ran\natexit ran\n".to_owned()));
    }
}

#[test]
fn who_leaves_ends_event_streams_and_cancels_what_goes_on() {
    let mut host = host();
    let fifo = host.fifo("go");
    let mut line = Line::to(&host, 0);
    let events = line.send(0, &get("/events"));
    let sleeps = line.begin(1, &get("/sleeps"));
    let behind = line.send(2, &asked("/behind", fifo.to_str().unwrap()));
    let mut answers = [Answer::default(), Answer::default(), Answer::default()];
    line.go_on(events, Kind::Body, &mut answers[0]);
    line.go_on(behind, Kind::End, &mut answers[2]);
    host.tell(Kind::Leave, b"");
    for (stream, answer) in [events, sleeps, behind].into_iter().zip(&mut answers) {
        line.go_on(stream, Kind::Free, answer);
    }
    sound(&answers[0], "200", "data: 1\n\n");
    assert_eq!(answers[1].end, Some(ABORT));
    sound(&answers[2], "200", "answered");
    drop(File::options().write(true).open(fifo).unwrap());
    assert_eq!(host.ended(), (Some(0), "shutdown ran\natexit ran\n".to_owned()));
}

#[test]
fn a_worker_that_goes_takes_its_requests_with_it() {
    let mut host = host();
    let mut line = Line::to(&host, 7);
    line.begin(2, &get("/sleeps"));
    let stream = line.send(1, &get("/events"));
    line.go_on(stream, Kind::Body, &mut Answer::default());
    drop(line);
    assert_eq!(host.told_free(), (7, 2), "the event stream has no unit any more");
    let mut line = Line::to(&host, 7);
    let mut notes: Vec<String> = line.notes().lines().map(str::to_owned).collect();
    notes.sort();
    assert_eq!(notes, ["cancelled", "saw the end"]);
    assert_eq!(host.stderr(), "");
}

#[test]
fn gone_is_answered_for_every_unit_once_nothing_runs() {
    let mut host = host();
    let [fifo, other_fifo] = ["go", "go_other"].map(|name| host.fifo(name));
    let mut dead = Line::to(&host, 5);
    let mut other = Line::to(&host, 6);
    let stubborn = asked("/stubborn", fifo.to_str().unwrap());
    dead.send(2, &stubborn);
    sound(&dead.ask(&get("/hello")), "200", "hello");
    drop(dead);
    host.tell(Kind::Gone, &5_u16.to_le_bytes());
    assert_eq!([host.told_free(), host.told_free(), host.told_free()], [(5, 0), (5, 1), (5, 3)]);
    let mut successor = Line::to(&host, 5);
    let held = asked("/held", other_fifo.to_str().unwrap());
    let stream = successor.send(1, &held);
    sound(&other.ask(&get("/hello")), "200", "hello");
    drop(File::options().write(true).open(&fifo).unwrap());
    assert_eq!(host.told_free(), (5, 2), "its request is over");
    host.tell(Kind::Gone, &5_u16.to_le_bytes());
    let told: Vec<_> = (0..4).map(|_| host.told_free()).collect();
    assert_eq!(told, [(5, 0), (5, 1), (5, 2), (5, 3)], "a new worker in its row does not count");
    drop(File::options().write(true).open(&other_fifo).unwrap());
    let mut answer = Answer::default();
    successor.go_on(stream, Kind::Free, &mut answer);
    sound(&answer, "200", "let go");
}

#[test]
fn who_asks_learns_when_no_request_of_that_worker_runs_on_the_unit() {
    let ask = |row: u16, unit: u16| [row.to_le_bytes(), unit.to_le_bytes()].concat();
    let mut host = host();
    let fifo = host.fifo("go");
    let mut busy = Line::to(&host, 5);
    let held = busy.send(1, &asked("/held", fifo.to_str().unwrap()));
    let events = busy.send(0, &get("/events"));
    busy.go_on(events, Kind::Body, &mut Answer::default());
    for (row, unit) in [(5, 1), (5, 0), (5, 2), (6, 1), (5, 77)] {
        host.tell(Kind::Ask, &ask(row, unit));
    }
    let told: Vec<_> = (0..4).map(|_| host.told_free()).collect();
    assert_eq!(told, [(5, 0), (5, 2), (6, 1), (5, 77)], "an event stream has given its unit back");
    drop(File::options().write(true).open(&fifo).unwrap());
    assert_eq!(host.told_free(), (5, 1));
    sound(&busy.answer(held), "200", "let go");
}

#[test]
fn a_process_that_has_served_enough_says_so_once() {
    let mut host = with(&[("MAX_REQUESTS", "2")]);
    let mut line = Line::to(&host, 0);
    for _ in 0..4 {
        line.ask(&get("/hello"));
    }
    let worn = host.told();
    assert_eq!((worn.header.kind, &*worn.payload), (Kind::Worn, &2_u32.to_le_bytes()[..]));
    host.tell(Kind::Ask, &[0, 0, 1, 0]);
    assert_eq!(host.told_free(), (0, 1));
}

#[test]
fn who_asks_for_the_master_has_the_answer_in_a_pipe() {
    let host = host();
    for path in ["/hello", "/large", "/path"] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let socket = host.stream();
        let mut hello = Vec::new();
        hatchery::gateway::app::hello(u16::MAX, frame::WHOLE, &mut hello);
        super::harness::pass(&socket, &hello, &writer, 1);
        drop(writer);
        let mut asks = Line::to(&host, 1);
        let (stream, wire) = asks.frames_of(0, &get(path));
        std::io::Write::write_all(&mut &socket, &wire).unwrap();
        let mut frames = frame::Reader::new();
        let mut answer = Answer::default();
        let mut bytes = [0; 65_536];
        while answer.micros.is_none() {
            let count = std::io::Read::read(&mut reader, &mut bytes).unwrap();
            assert_ne!(count, 0, "{answer:?}");
            frames.feed(&bytes[..count]);
            while let Some(frame) = frames.poll().unwrap() {
                assert_eq!(frame.header.stream, stream);
                if frame.header.kind != Kind::File {
                    answer.take(&frame, &mut Vec::new());
                }
            }
        }
        assert_eq!((answer.status(), answer.end), ("200", Some(0)), "{path}");
    }
}

#[test]
fn a_stream_to_one_unit_is_for_wsgi() {
    let mut host = host();
    let mut line = Line::to_unit(&host, 0, 1);
    line.send(0, &get("/hello"));
    assert!(line.is_closed());
    sound(&Line::to(&host, 0).ask(&get("/hello")), "200", "hello");
    assert_eq!(host.stderr(), "");
}

#[test]
fn stacks_show_the_tasks_with_their_requests() {
    let mut host = with(&[("STACKS_SIGNAL", &(Signal::SIGUSR2 as i32).to_string())]);
    let mut line = Line::to(&host, 0);
    let stream = line.send(0, &get("/sleeps"));
    sound(&line.ask(&get("/hello")), "200", "hello");
    host.signal(Signal::SIGUSR2);
    crate::harness::wait_until(crate::harness::SOON, "the stacks are printed", || {
        let text = host.printed();
        let threads = text.contains("thread 0x") && text.contains(" (most recent call first):\n");
        let task = text.contains("Task GET /sleeps (request test-1) (most recent call first):\n  File \"");
        crate::harness::holds(threads && task && text.contains(" in sleeps\n"), text)
    });
    line.cancel(stream);
    let mut answer = Answer::default();
    line.go_on(stream, Kind::Free, &mut answer);
    assert_eq!(answer.end, Some(ABORT));
    let text = host.stderr();
    let (_, task) = text.split_once("Task GET /sleeps").unwrap();
    let stack: Vec<&str> = task.lines().skip(1).take_while(|line| line.starts_with("  File ")).collect();
    assert!(
        stack.len() > 1 && !stack.iter().any(|line| line.contains("<asgi>")),
        "of the app only: {stack:?}"
    );
}

#[test]
fn a_loop_that_is_held_up_answers_nothing_and_its_stack_is_shown() {
    let mut host = with(&[("STACKS_SIGNAL", &(Signal::SIGUSR2 as i32).to_string())]);
    let go = host.directory.join("go");
    let mut line = Line::to(&host, 0);
    let stream = line.send(0, &asked("/spins", go.to_str().unwrap()));
    let printed = |host: &Host, said: &str| {
        crate::harness::wait_until(crate::harness::SOON, "it is printed", || {
            let text = host.printed();
            crate::harness::holds(text.contains(said), text)
        });
    };
    printed(&host, "it spins\n");
    line.cancel(stream);
    host.signal(Signal::SIGUSR2);
    printed(&host, " in spins\n");
    std::fs::write(go, "").unwrap();
    let answer = line.answer(stream);
    assert!(answer.end.is_some());
    let stream = line.send(0, &get("/raises_later"));
    broken(&line.answer(stream));
    assert!(host.stderr().contains("in the middle"));
}
