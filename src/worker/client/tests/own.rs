//! Requests of the server itself.

use super::*;
use crate::http::target::{self, Host};
use crate::http::{Method, RequestHead, Span, Version, forwarded};
use crate::worker::exchange::Given;
use crate::worker::own::Ask;
use crate::worker::owner::Owner;

const FILES: &str = r#"path: "/", to: Files(root: "files")"#;

impl Bench {
    fn given(&self, path: &str) -> Given {
        let raw = [b"GET".as_slice(), path.as_bytes()].concat();
        let (method, rest) = (Span { start: 0, end: 3 }, Span { start: 3, end: raw.len() as u32 });
        let origin = forwarded::Origin { client: None, scheme: Scheme::Http, trusted: false };
        Given {
            head: RequestHead::new(raw, method, rest, Version::Http11, Vec::new()),
            target: target::parse(Method::Get, path.as_bytes()).unwrap(),
            host: Host { name: Rc::from(*b"a"), port: None },
            origin,
            peer: Peer { address: None, listener: 0, session: None, local: None },
            user: None,
            site: Some(0),
            place: Some((0, 0)),
            handler: Rc::clone(&self.worker.cx.config.sites[0].locations[0].handler),
        }
    }

    /// Has the server ask on account of the client, who is driven when it is answered.
    fn ask_own(&mut self, path: &str, until: Time) -> Owner {
        let whom = Owner { client: self.key, stream: 7 };
        let given = self.given(path);
        self.worker.cx.ask_own(Ask { whom: Some(whom), given, until, claim: None });
        self.run();
        whom
    }

    fn run(&mut self) {
        while self.worker.cx.has_work() {
            self.worker.run_clients();
            self.worker.settle();
        }
    }

    /// How many clients there are, with the server.
    fn parties(&self) -> usize {
        self.worker.clients.len()
    }

    fn is_left(&self) -> bool {
        self.parties() == 1 && self.worker.cx.owns.is_empty()
    }
}

#[test]
fn an_answer_comes_to_whom_it_is_for_and_nothing_is_left() {
    let mut bench = Bench::new("own-answer", r#"path: "/", to: Respond(status: 203, body: "four")"#, &[]);
    let whom = bench.ask_own("/", Time::NEVER);
    assert!(bench.worker.cx.take_own(Owner { stream: 8, ..whom }).is_none());
    let answer = bench.worker.cx.take_own(whom);
    let Some(Some(head)) = answer else { panic!("{answer:?}") };
    assert_eq!(head.status.0, 203);
    assert!(head.fields.get("content-type").is_some());
    assert!(bench.is_left());
}

#[test]
fn nobody_may_wait_for_it() {
    let mut bench = Bench::new("own-nobody", r#"path: "/", to: Respond(status: 200, body: "x")"#, &[]);
    let given = bench.given("/");
    bench.worker.cx.ask_own(Ask { whom: None, given, until: Time::NEVER, claim: None });
    bench.run();
    assert!(bench.is_left());
}

#[test]
fn what_is_encoded_before_is_an_answer_too() {
    let mut bench = Bench::new("own-prepared", FILES, &["a.txt"]);
    bench.open_root();
    bench.ask("/a.txt");
    assert!(bench.answered().starts_with("HTTP/1.1 200 "));
    let whom = bench.ask_own("/a.txt", Time::NEVER);
    let answer = bench.worker.cx.take_own(whom);
    let Some(Some(head)) = answer else { panic!("{answer:?}") };
    assert_eq!(head.status.0, 200);
    assert!(head.fields.get("etag").is_some() && head.fields.get("content-length").is_none());
    let whom = bench.ask_own("/none", Time::NEVER);
    let answer = bench.worker.cx.take_own(whom);
    assert!(matches!(&answer, Some(Some(head)) if head.status.0 == 404), "{answer:?}");
    assert!(bench.is_left());
}

/// Its root has yet to be opened, by a thread.
fn waiting(name: &str, until: Duration) -> (Bench, Owner) {
    let mut bench = Bench::new(name, FILES, &["a.txt"]);
    let until = bench.worker.cx.now.after(until);
    let whom = bench.ask_own("/a.txt", until);
    assert_eq!(bench.parties(), 2);
    assert!(bench.worker.cx.take_own(whom).is_none());
    (bench, whom)
}

#[test]
fn one_for_which_nobody_waits_any_more_is_given_up() {
    let (mut bench, whom) = waiting("own-forgotten", Duration::from_secs(9));
    bench.worker.cx.forget_own(whom);
    bench.run();
    assert!(bench.worker.cx.take_own(whom).is_none());
    assert!(bench.is_left());
}

#[test]
fn one_that_has_had_its_time_is_given_up() {
    let (mut bench, whom) = waiting("own-late", Duration::from_secs(9));
    // Timers fire in the next millisecond.
    bench.worker.cx.now = bench.worker.cx.now.after(Duration::from_millis(9001));
    bench.worker.expire();
    bench.run();
    assert!(matches!(bench.worker.cx.take_own(whom), Some(None)));
    assert!(bench.is_left());
}

#[test]
fn one_that_still_runs_when_the_worker_leaves_is_given_up() {
    let (mut bench, whom) = waiting("own-leaving", Duration::from_secs(9));
    bench.worker.break_off();
    bench.run();
    assert!(matches!(bench.worker.cx.take_own(whom), Some(None)));
    assert!(bench.worker.cx.owns.is_empty());
}

#[test]
fn one_that_waits_goes_on_with_what_a_thread_has_found() {
    let mut bench = Bench::new("own-reads", FILES, &["a.txt"]);
    let whom = bench.ask_own("/a.txt", Time::NEVER);
    let opened = bench.brought();
    bench.worker.note_read(opened.0, opened.1);
    bench.run();
    let answer = bench.worker.cx.take_own(whom);
    assert!(matches!(&answer, Some(Some(head)) if head.status.0 == 200), "{answer:?}");
    assert!(bench.is_left());
}
