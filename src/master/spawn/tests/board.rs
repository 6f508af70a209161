//! What a worker can do on the board.

use super::*;
use crate::dispatch::{Board, Freed, MasterBoard, PoolState, Rows};
use crate::sys::process::Ended;
use crate::timer::Time;
use std::sync::atomic::Ordering::SeqCst;

/// The row of the worker.
const ROW: u16 = 3;
/// An app, which has one process of one unit.
const POOL: u16 = 1;
const INCARNATION: u32 = 7;

/// A board with a process of an app, and another worker.
fn scene() -> (Shared, OwnedFd) {
    let (shared, file) = shared::new().unwrap();
    let board = MasterBoard::new(shared.words());
    board.seat(ROW);
    board.publish(POOL, PoolState::Serving);
    assert_eq!(board.open(POOL, 0, INCARNATION, 1, 0), Rows::default());
    (shared, file)
}

/// Tells what it found, one line each.
fn tell(boot: &WorkerBoot, lines: &[String]) -> i32 {
    let said = ToMaster::Failed(lines.join("\n")).encode();
    i32::from(fd::write_whole(boot.tell.as_fd(), &said).is_err())
}

fn do_what_a_worker_does(boot: WorkerBoot) -> i32 {
    let board = boot.board;
    board.beat(5);
    board.set_connections(2);
    board.set_accepting(true);
    board.count_requests(3);
    let lease = board.claim(POOL);
    let freed = lease.map(|lease| board.free(lease, Time(9)));
    let head = board.head(POOL, Some(Time(8)));
    let again = board.wait(POOL, Time(8));
    let state = board.state(POOL);
    tell(&boot, &[format!("{freed:?} {} {} {state:?}", head == Rows::default(), again.is_some())])
}

/// Stores a word, whose number is handed to it.
fn store(boot: WorkerBoot) -> i32 {
    boot.board.word(handed(&boot) as usize).store(77, SeqCst);
    0
}

/// Tries to get at that word by other ways.
fn unlock(boot: WorkerBoot) -> i32 {
    let word = boot.board.word(handed(&boot) as usize);
    let mut lines = vec![format!("mprotect {:?}", probe::make_writable(word))];
    for path in ["/proc/self/maps", "/proc/self/mem", "/proc/self/map_files", "/proc/self/fd"] {
        lines.push(format!("{path} {:?}", File::open(path).map(drop).map_err(|error| error.kind())));
    }
    let memory = File::options().write(true).open(format!("/proc/{}/mem", boot.master));
    lines.push(format!("the master's memory {:?}", memory.map(drop).map_err(|error| error.kind())));
    tell(&boot, &lines)
}

/// The files in memory that it has open.
fn list_files_in_memory(boot: WorkerBoot) -> i32 {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let found: Vec<String> =
        links.map(|link| link.display().to_string()).filter(|link| link.contains("memfd")).collect();
    tell(&boot, &found)
}

fn text(said: &[ToMaster]) -> &str {
    match said.last() {
        Some(ToMaster::Failed(text)) => text,
        _ => panic!("{said:?}"),
    }
}

/// Words of others: of the master, of a pool, of a slot, of the workers before and after.
fn foreign() -> Vec<usize> {
    let areas = [0, ROW - 1, ROW + 1, 63].map(|row| Board::area(row).unwrap());
    // Of an area its first word, its beat, some head, and its last.
    let rows = areas.into_iter().flat_map(|area| [area.start, area.start + 3, area.start + 12, area.end - 1]);
    let masters =
        [0, 1, 2, 64 + usize::from(ROW), 512 + 136, 512 + 136 + 8, Board::area(0).unwrap().start - 1];
    masters.into_iter().chain(rows).collect()
}

#[test]
fn a_worker_does_its_work_on_its_own_words_and_the_units() {
    for sandbox in ["Try", "Off"] {
        let (shared, file) = scene();
        let (said, ended) =
            Scene::new("board").fork(sandbox, 1, ROW, (shared, file.as_fd()), do_what_a_worker_does);
        assert_eq!(ended, Ended::Code(0), "{said:?}");
        assert_eq!(text(&said), "Some(Idle) true true Serving");
        let board = MasterBoard::new(shared.words());
        let seen = (board.turn(ROW), board.connections(ROW), board.accepting(ROW), board.requests(ROW));
        assert_eq!(seen, (Some(5), Some(2), true, Some(3)));
        assert_eq!((board.claimed(POOL, 0), board.last_activity(POOL, Time(50))), (1, Time(50)));
        // It is reaped.
        assert_eq!(board.worker_left(ROW, Time(60)), Rows::default());
        shared.release(Board::area(ROW).unwrap()).unwrap();
        let lease = crate::dispatch::Lease { pool: POOL, slot: 0, thread: 0, incarnation: INCARNATION };
        assert_eq!(board.freed(lease, ROW, Time(61)), Freed::Idle);
        assert_eq!((board.turn(ROW), board.connections(ROW), board.requests(ROW)), (None, None, None));
        assert_eq!(board.last_activity(POOL, Time(90)), Time(61));
    }
}

#[test]
fn a_worker_that_writes_the_words_of_others_ends_and_has_written_nothing() {
    let (shared, file) = scene();
    let scene = Scene::new("foreign");
    for at in foreign() {
        let before = shared.words()[at].load(SeqCst);
        let (_, ended) = scene.fork("Try", at as u32, ROW, (shared, file.as_fd()), store);
        assert_eq!(ended, Ended::Signal(nix::libc::SIGSEGV), "{at}");
        assert_eq!(shared.words()[at].load(SeqCst), before, "{at}");
    }
    let own = Board::area(ROW).unwrap();
    for at in [own.start, own.end - 1, Board::units().start, Board::units().end - 1] {
        let (_, ended) = scene.fork("Try", at as u32, ROW, (shared, file.as_fd()), store);
        assert_eq!((ended, shared.words()[at].load(SeqCst)), (Ended::Code(0), 77), "{at}");
    }
}

#[test]
fn a_worker_gets_at_the_words_of_others_in_no_other_way() {
    let (shared, file) = scene();
    let scene = Scene::new("unlock");
    let with = |sandbox, at: usize, run| scene.fork(sandbox, at as u32, ROW, (shared, file.as_fd()), run).0;
    for at in foreign() {
        // Without a sandbox, too: what may be done with a mapping depends on how its file was opened.
        for sandbox in ["Try", "Off"] {
            let said = with(sandbox, at, unlock);
            assert!(text(&said).contains(&format!("mprotect Err({})", nix::libc::EACCES)), "{at} {said:?}");
        }
    }
    assert_eq!(text(&with("Off", 1, list_files_in_memory)), "", "no descriptor of it is left");
    if !sandbox::missing().is_empty() {
        eprintln!("nothing more to test: this kernel does not offer {:?}", sandbox::missing());
        return;
    }
    let said = with("Require", 1, unlock);
    let refused = text(&said).lines().filter(|line| line.ends_with("Err(PermissionDenied)")).count();
    assert_eq!(refused, 5, "{said:?}");
}
