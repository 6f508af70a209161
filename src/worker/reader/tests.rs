use super::*;
use std::io::Write as _;

fn wait_for(reader: &mut Reader, wanted: usize) -> Vec<(Whom, Outcome)> {
    let mut done = Vec::new();
    while done.len() < wanted {
        let mut waits = [nix::poll::PollFd::new(reader.descriptor(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut waits, 30_000u16).unwrap(), 1, "after {} jobs", done.len());
        done.extend(reader.take_done());
    }
    done
}

fn key(index: u32) -> Key {
    Key { index, reuse: 1 }
}

fn exchange(index: u32) -> Whom {
    Whom::Exchange(Owner { client: key(index), stream: 1 })
}

fn connection(index: u32) -> Whom {
    Whom::Connection(key(index))
}

fn file(content: &[u8]) -> OwnedFd {
    let mut file = fd::unnamed_file(&std::env::temp_dir()).unwrap();
    file.write_all(content).unwrap();
    file.into()
}

const FAR: Far = Far::App(1);

/// A job that ends when the other end of what is returned is dropped.
fn gate() -> (Sender<()>, Work) {
    let (open, gate) = channel::<()>();
    let work = Box::new(move |_: &mut [u8]| {
        let _ = gate.recv();
        Outcome::Done
    });
    (open, work)
}

#[test]
fn every_job_is_done_once_by_few_threads() {
    let file = file(&vec![1; 1 << 20]);
    let mut reader = Reader::new().unwrap();
    assert_eq!(reader.threads, 0);
    for index in 0..100 {
        // Beyond the end and empty ones come back too.
        let from = u64::from(index) << 14;
        reader.read(connection(index), file.as_fd(), from..from + (1 << 14), Time::ZERO).unwrap();
    }
    let done = wait_for(&mut reader, 100).into_iter().map(|(whom, outcome)| match (whom, outcome) {
        (Whom::Connection(key), Outcome::Near) => key.index,
        other => panic!("{other:?}"),
    });
    let mut done: Vec<u32> = done.collect();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..100));
    assert!((1..=NEAR_THREADS).contains(&reader.threads) && reader.running == 0, "{}", reader.threads);
    assert_eq!(reader.deadline(), None);
    assert!(reader.hand.0.lock().runs.is_empty(), "what is done is not read any more");
}

#[test]
fn a_far_file_comes_in_chunks_and_is_closed_elsewhere() {
    let mut reader = Reader::new().unwrap();
    let content: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let stamp = file::metadata(file(&content).as_fd()).unwrap().stamp();
    let (mut read, write) = std::io::pipe().unwrap();
    // What is held by the same descriptor as the pipe's end is closed when that is.
    let pipe = FarFile::new(write.into(), FAR, reader.hand());
    let descriptor = file(&content);
    let same = Stamp { ..file::metadata(descriptor.as_fd()).unwrap().stamp() };
    let open = OpenFile::from(FarFile::new(descriptor, FAR, reader.hand()));
    assert_eq!(open.far(), Some(FAR));
    let mut fetch = |range: Range<u64>, stamp| {
        reader.fetch(Whom::Connection(key(1)), (&open, FAR), &range, stamp, Time::ZERO).unwrap();
        match wait_for(&mut reader, 1).remove(0) {
            (Whom::Connection(_), Outcome::Bytes(bytes)) => bytes.map_err(|error| error.kind()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(10..1000, Some(same)), Ok(content[10..1000].to_vec()));
    assert_eq!(fetch(0..300_000, None), Ok(content[..CHUNK as usize].to_vec()), "not all at once");
    assert_eq!(fetch(300_000..300_001, None), Err(io::ErrorKind::UnexpectedEof));
    let other = Stamp { size: stamp.size + 1, ..stamp };
    assert_eq!(fetch(0..10, Some(other)), Err(io::ErrorKind::InvalidData));
    drop(pipe);
    std::io::Read::read_to_end(&mut read, &mut Vec::new()).expect("a thread has closed the other end");
}

#[test]
fn one_origin_holds_up_no_other() {
    let mut reader = Reader::new().unwrap();
    let mut gates = Vec::new();
    let order = |reader: &mut Reader, index: u32, origin: Origin, work: Work| {
        let whom = exchange(index);
        reader.order(whom, origin, None, work, Time::ZERO).unwrap();
    };
    // More than they may have at a time, of more than there are threads for.
    for app in 0..20 {
        for index in 0..4 {
            let (open, work) = gate();
            gates.push(open);
            order(&mut reader, 100 + index, Origin::Far(Far::App(app)), work);
        }
    }
    assert!(reader.threads <= FAR_THREADS, "{} threads", reader.threads);
    for index in 0..NEAR_THREADS as u32 {
        order(&mut reader, index, Origin::Disk, Box::new(|_| Outcome::Near));
    }
    let done = wait_for(&mut reader, NEAR_THREADS);
    assert!(done.iter().all(|(_, outcome)| matches!(outcome, Outcome::Near)), "{done:?}");
    gates.clear();
    wait_for(&mut reader, 80);
    let (first, last) = (gate(), gate());
    order(&mut reader, 1, Origin::Far(FAR), first.1);
    order(&mut reader, 2, Origin::Far(FAR), last.1);
    order(&mut reader, 3, Origin::Far(FAR), Box::new(|_| Outcome::Done));
    order(&mut reader, 4, Origin::Far(Far::App(2)), Box::new(|_| Outcome::Done));
    let (whom, _) = wait_for(&mut reader, 1).remove(0);
    assert_eq!(whom, exchange(4), "the others wait for their own");
    drop((first.0, last.0));
    wait_for(&mut reader, 3);
}

#[test]
fn jobs_that_take_long_are_told_once_and_then_nothing_more_is_begun() {
    let at = |seconds| Time(seconds * 1_000_000_000);
    let path = Some(PathBuf::from("/srv/a.txt"));
    let file = file(b"x");
    for (origin, most) in [(Origin::Disk, NEAR_THREADS as u64), (Origin::Far(FAR), 2)] {
        let mut reader = Reader::new().unwrap();
        // As if its threads were in jobs that never return: none takes another one.
        reader.threads = NEAR_THREADS + FAR_THREADS;
        let hung = |reader: &mut Reader, since| {
            reader.running += 1;
            let run = Running { number: since, origin, path: path.clone(), since: at(since), told: false };
            reader.hand.0.lock().runs.push(run);
        };
        let open = |reader: &mut Reader, now| {
            let whom = exchange(1);
            reader
                .order(whom, origin, None, Box::new(|_| Outcome::Done), at(now))
                .map_err(|error| error.kind())
        };
        hung(&mut reader, 1);
        // A job that waits since then, and may have begun at any time.
        open(&mut reader, 0).unwrap();
        assert_eq!(reader.deadline(), Some(at(10)));
        assert_eq!(reader.take_long(at(10)), []);
        assert_eq!(reader.deadline(), Some(at(11)));
        assert_eq!(reader.take_long(at(11)), std::slice::from_ref(&path));
        assert_eq!(reader.take_long(at(21)), [], "told once");
        (2..=most).for_each(|since| hung(&mut reader, since));
        let last = 10 + most;
        assert_eq!(open(&mut reader, last - 1), Ok(()), "one thread may still get on");
        assert_eq!(open(&mut reader, last), Err(io::ErrorKind::TimedOut));
        if origin.is_near() {
            // What is on its way to a client waits, as long as that client has time.
            reader.read(connection(1), file.as_fd(), 0..1, at(last)).unwrap();
        }
        reader.hand.0.lock().runs.pop();
        assert_eq!(open(&mut reader, last), Ok(()), "the disk is back");
    }
}

#[test]
fn nothing_is_read_for_who_has_gone() {
    let mut reader = Reader::new().unwrap();
    // No thread takes a job.
    reader.threads = NEAR_THREADS + FAR_THREADS;
    for whom in [connection(1), connection(2), exchange(1), exchange(3)] {
        let held = FarFile::new(file(b"x"), FAR, reader.hand());
        let work = Box::new(move |_: &mut [u8]| {
            drop(held);
            Outcome::Done
        });
        reader.order(whom, Origin::Far(FAR), None, work, Time::ZERO).unwrap();
    }
    // A request that is given up does not hold up what is still sent of the one before.
    assert!(reader.forget(exchange(1)));
    let left: Vec<Whom> = reader.hand.0.lock().waiting.iter().map(|job| job.whom).collect();
    // What the forgotten one held is to be closed.
    assert_eq!(left, [connection(1), connection(2), exchange(3), Whom::Nobody]);
    assert_eq!(reader.running, 3);
}
