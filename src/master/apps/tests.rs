use super::*;

/// With the process's end of what it tells the master.
fn app() -> (App, File, OwnedFd) {
    let (ear, _) = channel::to_child().unwrap();
    let (voice, tell) = channel::from_child().unwrap();
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&tell, flags).unwrap();
    let (read, write) = channel::from_child().unwrap();
    let app = App {
        name: "shop".to_owned(),
        incarnation: 1,
        threads: 1,
        leaving: false,
        ending: false,
        lingering: Vec::new(),
        troubled: false,
        answered: false,
        inquired: false,
        ready: None,
        inquiry: None,
        ear: Some(ear.into()),
        voice: Voice::new(voice),
        waiting: Vec::new(),
        timeout: Duration::from_secs(60),
        running: Running::default(),
        reached: None,
        launch: None,
        start: Start { python: PathBuf::new(), directory: PathBuf::new() },
        preloaded: false,
        output: Output::new("shop", read),
        socket: PathBuf::new(),
    };
    (app, tell.into(), write)
}

#[test]
fn what_is_said_without_end_is_heard_in_parts_and_not_kept() {
    let (mut app, mut theirs, _output) = app();
    let mut free = Vec::new();
    frame::push(&mut free, frame::Kind::Free, 0, 0, &[3, 0, 0, 0]);
    let many = free.repeat(4096);
    // A frame may be cut where the pipe is full; the rest comes with the next write.
    let (mut sent, mut rest) = (0, Vec::new());
    let mut fill = |rest: &mut Vec<u8>| {
        loop {
            if rest.is_empty() {
                rest.extend(&many);
            }
            match theirs.write(rest) {
                Ok(length) => {
                    sent += length;
                    rest.drain(..length);
                }
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        sent
    };
    let budget = 16 * 1024;
    let mut heard = 0;
    for _ in 0..100 {
        assert!(fill(&mut rest) > heard * free.len() + 2 * budget, "there is more than is heard at once");
        let said = app.hear(budget);
        assert!(said.len() * free.len() <= budget + 8 * 1024, "{}", said.len());
        assert!(said.iter().all(|said| *said == Said::Free { row: 3, unit: 0 }));
        assert!(app.voice.rest().len() < free.len(), "only what is not whole is kept");
        heard += said.len();
    }
    // Everything that was said before the end is heard at the end.
    let sent = fill(&mut rest);
    drop(theirs);
    heard += app.hear(1 << 20).len();
    assert_eq!(heard, sent / free.len());
    assert_eq!(app.broken(), Some(Break::Closed));
}
