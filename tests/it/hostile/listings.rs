//! Directories that take long to list.

use super::fuse::{Fuse, READDIR};
use crate::harness::{Connection, SOON, Setup, get, holds, wait_until};

/// What each thread of that name has run for, in nanoseconds of CPU (proc(5), `schedstat`).
fn threads(pid: u32, name: &str) -> Vec<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ran = |task: std::path::PathBuf| {
        let found = std::fs::read_to_string(task.join("comm")).ok()?;
        let ran = std::fs::read_to_string(task.join("schedstat")).ok()?;
        (found.trim() == name).then(|| ran.split(' ').next().unwrap().parse().unwrap())
    };
    tasks.filter_map(|task| ran(task.ok()?.path())).collect()
}

/// What the loop has run for: the thread that has the number of its process.
fn of_loop(pid: u32) -> u64 {
    let ran = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    ran.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_listing_is_made_beside_the_loop() {
    let Some(mut fuse) = Fuse::mount(&[("a.txt", b"one"), ("b.txt", b"two")]) else { return };
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/far/", to: Files(root: "{}", listing: true)),
            (path: "/", to: Respond(status: 200, body: "here")),
        ],
    )],"#,
        fuse.path().display()
    ))
    .start();
    // Reading the directory takes as long as the test likes.
    fuse.hush(&[READDIR]);
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /far/ HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").unwrap();
    fuse.wait_held(READDIR, 1);
    for _ in 0..10 {
        assert_eq!(get(server.address, "/").text(), "here");
    }
    fuse.speak();
    let listed = connection.reply("GET").unwrap().json();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["a.txt", "b.txt"]);
    fuse.end();
}

#[test]
fn a_hundred_thousand_names_are_listed_by_a_thread() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Files(root: "many", listing: true))])],"#,
    );
    setup.directory.write("many/0", "");
    let many = setup.directory.path().join("many");
    for number in 1..100_000 {
        std::fs::hard_link(many.join("0"), many.join(number.to_string()))
            .or_else(|_| std::fs::write(many.join(number.to_string()), ""))
            .unwrap();
    }
    let server = setup.start();
    let worker = server.ready("worker")[0];
    assert_eq!(threads(worker.pid, "reader"), [] as [u64; 0]);
    let before = of_loop(worker.pid);
    let page = get(server.address, "/").text();
    assert!(page.contains("Only the first 5000 names are shown."), "{} bytes", page.len());
    assert_eq!(page.matches("<tr><td><a href").count(), 5000);
    // CPU time, not the clock: whoever reads and sorts a hundred thousand names has run for longer than whoever sends them.
    wait_until(SOON, "a thread has made it", || {
        let readers = threads(worker.pid, "reader").iter().sum::<u64>();
        let in_loop = of_loop(worker.pid) - before;
        holds(readers > 2 * in_loop, (readers, in_loop))
    });
}
