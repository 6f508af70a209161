//! A file system in user space that answers what it is told to: the least of the protocol of /dev/fuse (fuse(4),
//! include/uapi/linux/fuse.h) for one directory of files.

use crate::harness::{Directory, SOON, holds, wait_until};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What is asked of the file system.
pub(super) const LOOKUP: u32 = 1;
/// As [`LOOKUP`].
pub(super) const READ: u32 = 15;
/// As [`LOOKUP`]: sent at each close.
pub(super) const FLUSH: u32 = 25;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
/// As [`LOOKUP`].
pub(super) const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
/// These are not answered at all.
const FORGET: [u32; 3] = [2, 36, 42];

/// A mounted file system. Dropping it, or `end`, gives an error to whoever still waits for it.
pub(super) struct Fuse {
    directory: Directory,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Vec<(String, Vec<u8>)>,
    /// What is not answered.
    silent: Mutex<BTreeSet<u32>>,
    /// What was asked and not answered.
    held: Mutex<Vec<Vec<u8>>>,
    over: AtomicBool,
}

impl Fuse {
    /// With these files; `None`, said with the reason, where it cannot be mounted.
    pub(super) fn mount(files: &[(&str, &[u8])]) -> Option<Self> {
        let device = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(device) if nix::unistd::geteuid().is_root() => device,
            Ok(_) => return nothing("only root may mount"),
            Err(error) => return nothing(&format!("/dev/fuse: {error}")),
        };
        let directory = Directory::new();
        let place = directory.path().join("mounted");
        std::fs::create_dir(&place).unwrap();
        // mount(8) has the device as its descriptor 0, and calls no helper.
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other,nosuid,nodev";
        let mut command = Command::new("mount");
        command.args(["-i", "-t", "fuse", "-o", options, "hatchery-test"]).arg(&place);
        match command.stdin(device.try_clone().unwrap()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return nothing(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => return nothing(&format!("mount: {error}")),
        }
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
        let (silent, held) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { files, silent, held, over: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        let thread = Some(std::thread::spawn(move || serving.serve(device)));
        Some(Self { directory, shared, thread })
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    /// From now on these are not answered.
    pub(super) fn hush(&self, operations: &[u32]) {
        *self.shared.silent.lock().unwrap() = operations.iter().copied().collect();
    }

    /// Everything is answered again, also what waits.
    pub(super) fn speak(&self) {
        self.hush(&[]);
    }

    /// Waits until so many requests of this kind are not answered.
    #[track_caller]
    pub(super) fn wait_held(&self, operation: u32, count: usize) {
        wait_until(SOON, "requests that are not answered", || {
            let held = self.shared.held.lock().unwrap();
            let operations: Vec<u32> = held.iter().map(|request| number(request, 4)).collect();
            holds(operations.iter().filter(|other| **other == operation).count() >= count, operations)
        });
    }

    /// How many requests are not answered.
    pub(super) fn held(&self) -> usize {
        self.shared.held.lock().unwrap().len()
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.over.store(true, Ordering::Relaxed);
            // Its descriptor is closed: whoever waits gets ENOTCONN.
            thread.join().unwrap();
            assert!(Command::new("umount").arg("-l").arg(self.path()).status().unwrap().success());
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.end();
    }
}

fn nothing<T>(why: &str) -> Option<T> {
    eprintln!("nothing to test: no file system in user space: {why}");
    None
}

impl Shared {
    fn serve(&self, mut device: File) {
        let mut buffer = vec![0; 1 << 20];
        while !self.over.load(Ordering::Relaxed) {
            let silent = self.silent.lock().unwrap().clone();
            let mut held = self.held.lock().unwrap();
            let (answered, kept) = std::mem::take(&mut *held)
                .into_iter()
                .partition(|request| !silent.contains(&number(request, 4)));
            *held = kept;
            drop(held);
            let answered: Vec<Vec<u8>> = answered;
            answered.iter().for_each(|request| self.answer(&mut device, request));
            let mut waits = [nix::poll::PollFd::new(device.as_fd(), nix::poll::PollFlags::POLLIN)];
            if nix::poll::poll(&mut waits, 20_u16) != Ok(1) {
                continue;
            }
            let Ok(length) = device.read(&mut buffer) else { continue };
            let request = buffer[..length].to_vec();
            if silent.contains(&number(&request, 4)) {
                self.held.lock().unwrap().push(request);
            } else {
                self.answer(&mut device, &request);
            }
        }
    }

    fn answer(&self, device: &mut File, request: &[u8]) {
        let operation = number(request, 4);
        if FORGET.contains(&operation) {
            return;
        }
        let (error, payload) = match self.reply(operation, long(request, 16), &request[40..]) {
            Ok(payload) => (0, payload),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = (16 + payload.len() as u32).to_le_bytes().to_vec();
        reply.extend(error.to_le_bytes());
        reply.extend(&request[8..16]);
        reply.extend(payload);
        // Whoever asked may have gone.
        let _ = device.write(&reply);
    }

    fn reply(&self, operation: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        let longs =
            |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        match operation {
            INIT => {
                let mut reply = [7, 31, 0, 0, 0, 1 << 17, 1, 0].map(u32::to_le_bytes).concat();
                reply.resize(64, 0);
                Ok(reply)
            }
            LOOKUP => {
                let name = body.split(|byte| *byte == 0).next().unwrap();
                let at =
                    self.files.iter().position(|(known, _)| known.as_bytes() == name).ok_or(libc::ENOENT)?;
                let node = at as u64 + 2;
                Ok([longs(&[node, 0, 0, 0, 0]), self.attributes(node)?].concat())
            }
            GETATTR => Ok([longs(&[0, 0]), self.attributes(node)?].concat()),
            OPEN | OPENDIR => Ok(longs(&[0, 0])),
            READ => {
                let (offset, size) = (long(body, 8) as usize, number(body, 16) as usize);
                let content = self.content(node)?;
                let part = content.get(offset..).unwrap_or_default();
                Ok(part[..part.len().min(size)].to_vec())
            }
            READDIR => {
                let mut listed = Vec::new();
                for (at, (name, _)) in self.files.iter().enumerate().skip(long(body, 8) as usize) {
                    listed.extend(longs(&[at as u64 + 2, at as u64 + 1]));
                    listed.extend((name.len() as u32).to_le_bytes());
                    listed.extend(u32::from(libc::DT_REG).to_le_bytes());
                    listed.extend(name.as_bytes());
                    listed.resize(listed.len().next_multiple_of(8), 0);
                }
                Ok(listed)
            }
            STATFS => Ok(vec![0; 80]),
            FLUSH | RELEASE | RELEASEDIR => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        }
    }

    fn content(&self, node: u64) -> Result<&[u8], i32> {
        let at = (node as usize).checked_sub(2).ok_or(libc::EISDIR)?;
        self.files.get(at).map(|(_, content)| content.as_slice()).ok_or(libc::ENOENT)
    }

    fn attributes(&self, node: u64) -> Result<Vec<u8>, i32> {
        let (mode, size) = match node {
            1 => (0o40_755, 0),
            node => (0o100_644, self.content(node)?.len() as u64),
        };
        let times = [1_000_000_000_u64; 3];
        let mut attributes: Vec<u8> =
            [&[node, size, 0][..], &times].concat().iter().flat_map(|number| number.to_le_bytes()).collect();
        attributes.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat());
        Ok(attributes)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn the_file_system_of_the_tests_answers() {
    let Some(fuse) = Fuse::mount(&[("a.txt", b"one"), ("b.txt", b"two")]) else { return };
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(read(&fuse.path().join("a.txt")), b"one");
    let names = std::fs::read_dir(fuse.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<BTreeSet<_>>(), ["a.txt", "b.txt"].map(Into::into).into());
    fuse.hush(&[READ]);
    let path = fuse.path().join("b.txt");
    let reading = std::thread::spawn(move || std::fs::read(path).unwrap());
    fuse.wait_held(READ, 1);
    fuse.speak();
    assert_eq!(reading.join().unwrap(), b"two");
}
