//! How streams and the process end.

use super::harness::{Ask, Host, get};
use crate::harness::{SOON, holds, wait_until};
use hatchery::control::frame::{self, Kind};
use nix::sys::signal::Signal;
use std::fs::File;

#[test]
fn leave_runs_atexit_and_exits_0() {
    for threads in [1, 3] {
        let mut host = Host::hostile(threads);
        let _idle = host.connect(0, 0);
        host.tell(Kind::Leave, b"");
        let (code, stderr) = host.ended();
        assert_eq!((code, stderr.as_str()), (Some(0), "atexit ran\n"));
    }
}

#[test]
fn the_end_of_the_master_is_the_end_of_the_host() {
    for threads in [1, 3] {
        let mut host = Host::hostile(threads);
        host.hang_up();
        let (code, stderr) = host.ended();
        assert_eq!((code, stderr.as_str()), (Some(0), "atexit ran\n"));
    }
}

#[test]
fn sigterm_lets_the_running_request_finish() {
    for threads in [1, 3] {
        let mut host = Host::hostile(threads);
        let fifo = host.fifo("go");
        let mut worker = host.connect(0, threads - 1);
        worker.send(&Ask { query: fifo.to_str().unwrap(), ..get("/held") });
        let go = File::options().write(true).open(fifo).unwrap(); // returns once the app has opened it
        host.signal(Signal::SIGINT);
        host.signal(Signal::SIGTERM);
        drop(go);
        let mut reading = worker.reading();
        while worker.read(&mut reading) {}
        assert_eq!((reading.answer.text().as_str(), reading.answer.freed), ("let go", true));
        let (code, stderr) = host.ended();
        assert_eq!((code, stderr.as_str()), (Some(0), "held\natexit ran\n"));
    }
}

#[test]
fn sigterm_ends_an_idle_host() {
    for threads in [1, 3] {
        let mut host = Host::hostile(threads);
        let _idle = host.connect(0, 0);
        host.signal(Signal::SIGTERM);
        assert_eq!(host.ended(), (Some(0), "atexit ran\n".to_owned()));
    }
}

#[test]
fn a_worker_that_dies_in_a_response_does_not_disturb_the_app() {
    for threads in [1, 2] {
        let mut host = Host::hostile(threads);
        let unit = threads - 1;
        let mut worker = host.connect(7, unit);
        worker.send(&get("/endless"));
        let mut reading = worker.reading();
        while reading.answer.body.len() < 100_000 {
            assert!(worker.read(&mut reading));
        }
        drop(worker);
        assert_eq!(host.told_free(), (7, unit));
        let mut worker = host.connect(7, unit);
        let answer = worker.ask(&Ask { query: "endless", ..get("/count_closed") });
        assert_eq!(answer.text(), "1");
        assert_eq!(host.stderr(), "", "the app and its log see nothing of it");
    }
}

#[test]
fn a_worker_that_dies_idle_or_in_a_request_is_reported() {
    let mut host = Host::hostile(1);
    drop(host.connect(3, 0));
    assert_eq!(host.told_free(), (3, 0));
    let mut worker = host.connect(4, 0);
    worker.send(&get("/hello"));
    drop(worker);
    assert_eq!(host.told_free(), (4, 0));
}

#[test]
fn gone_is_answered_for_every_unit_once_nothing_runs() {
    let mut host = Host::hostile(2);
    let fifo = host.fifo("go");
    let mut dead = host.connect(5, 0);
    let mut other = host.connect(6, 1);
    assert_eq!(other.get("/hello").text(), "hello");
    dead.send(&Ask { query: fifo.to_str().unwrap(), ..get("/held") });
    let go = File::options().write(true).open(&fifo).unwrap();
    drop(dead);
    host.tell(Kind::Gone, &5_u16.to_le_bytes());
    assert_eq!(host.told_free(), (5, 1), "nothing of it runs there");
    let mut successor = host.connect(5, 1);
    assert_eq!(successor.get("/hello").text(), "hello");
    drop(go);
    assert_eq!(host.told_free(), (5, 0), "its request is over");
    host.tell(Kind::Gone, &5_u16.to_le_bytes());
    assert_eq!(
        [host.told_free(), host.told_free()],
        [(5, 0), (5, 1)],
        "a new worker in its row does not count"
    );
    assert_eq!(successor.get("/hello").text(), "hello");
}

#[test]
fn who_asks_learns_when_no_request_of_that_worker_runs() {
    let ask = |row: u16, unit: u16| [row.to_le_bytes(), unit.to_le_bytes()].concat();
    for threads in [1, 2] {
        let mut host = Host::hostile(threads);
        let fifo = host.fifo("go");
        let mut busy = host.connect(5, 0);
        host.tell(Kind::Ask, &ask(5, 0));
        assert_eq!(host.told_free(), (5, 0), "it is idle");
        host.tell(Kind::Ask, &ask(5, 77));
        assert_eq!(host.told_free(), (5, 77), "there is no such unit");
        busy.send(&Ask { query: fifo.to_str().unwrap(), ..get("/held") });
        let go = File::options().write(true).open(&fifo).unwrap();
        host.tell(Kind::Ask, &ask(5, 0));
        host.tell(Kind::Ask, &ask(6, 0));
        if threads > 1 {
            assert_eq!(host.told_free(), (6, 0), "another worker's request runs there");
        }
        drop(go);
        let mut told = [(5, 0); 2];
        told[0] = host.told_free();
        if threads == 1 {
            told[1] = host.told_free();
            assert_eq!(told, [(5, 0), (6, 0)], "it could not say so before");
        }
        assert_eq!(told[0], (5, 0), "the request is over");
    }
}

#[test]
fn strangers_are_turned_away() {
    let host = Host::hostile(1);
    let mut beyond = host.connect(0, 1);
    let mut reading = beyond.reading();
    while beyond.read(&mut reading) {}
    assert!(!reading.answer.freed && reading.answer.head.is_none());
    assert_eq!(host.connect(0, 0).get("/hello").text(), "hello");
}

#[test]
fn who_passes_descriptors_that_nobody_asked_for_is_turned_away() {
    let mut host = Host::hostile(1);
    let mut other = host.connect(0, 0);
    assert_eq!(other.get("/hello").text(), "hello");
    let before = host.descriptors();
    let null = File::open("/dev/null").unwrap();
    let frame = |kind, flags| {
        let mut wire = Vec::new();
        frame::push(&mut wire, kind, flags, 1, b"");
        wire
    };
    // More than one, one with a frame that brings none, and a body that is no file.
    for (kind, flags, count) in
        [(Kind::Request, frame::FD, 253), (Kind::Request, frame::END, 1), (Kind::Request, frame::FD, 1)]
    {
        let mut worker = host.connect(7, 0);
        worker.pass(&frame(kind, flags), &null, count);
        let mut reading = worker.reading();
        while worker.read(&mut reading) {}
        assert!(!reading.answer.freed && reading.answer.head.is_none(), "{kind:?} {flags} {count}");
        assert_eq!(host.told_free(), (7, 0));
        assert_eq!(other.get("/hello").text(), "hello");
    }
    wait_until(SOON, "all of them are closed", || holds(host.descriptors() <= before, host.descriptors()));
}
