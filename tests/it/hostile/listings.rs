//! Directories that take long to list.

use super::fuse::{Fuse, READDIR};
use crate::harness::{Connection, SOON, Setup, get, holds, wait_until};

/// Threads of a process by their names; the loop's is that of the process.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
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
    assert_eq!(threads(worker.pid, "reader"), 0);
    let page = get(server.address, "/").text();
    assert!(page.contains("Only the first 5000 names are shown."), "{} bytes", page.len());
    assert_eq!(page.matches("<tr><td><a href").count(), 5000);
    wait_until(SOON, "a thread has made it", || {
        let readers = threads(worker.pid, "reader");
        holds(readers > 0, readers)
    });
}
