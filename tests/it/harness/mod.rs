//! What the black-box tests share. They run the real binary with a real configuration, wait for conditions with a
//! deadline instead of sleeping, and print what they saw when they fail.

#![allow(clippy::disallowed_methods, reason = "a test watches from outside, on the real clock")]
#![allow(dead_code, reason = "not every test uses every tool")]

mod browser;
mod certificates;
mod http;
pub(crate) mod http2;
mod load;
mod nginx;
mod process;
mod server;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod upstream;

pub(crate) use browser::Browser;
pub(crate) use certificates::Authority;
pub(crate) use http::{Connection, Reply, assert_bodies_arrive_whole, get, reply_to};
pub(crate) use load::{Load, Report as LoadReport};
pub(crate) use nginx::Nginx;
pub(crate) use process::{Process, as_nobody, spawn, without};
pub(crate) use server::{Finished, Server, Setup, binary, hatchery};
pub(crate) use upstream::{Received, Upstream, counts, shares};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything on a busy machine; for conditions that come true much sooner.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Polls `condition` until it says `Ok`; what it saw last is printed when `within` has passed.
#[track_caller]
pub(crate) fn wait_until<T>(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        let seen = match condition() {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(start.elapsed() < within, "not within {within:?}: {what}; seen last: {seen}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// For `wait_until`: `Ok` if true, else what was seen.
pub(crate) fn holds(condition: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// A moment, to measure from.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Makes a test under load go on for a while; not for waiting on anything.
pub(crate) fn keep_loading(time: Duration) {
    let start = Instant::now();
    wait_until(time * 4, "time under load", || holds(start.elapsed() >= time, start.elapsed()));
}

/// A directory of its own for one test, removed at its end. Its path is short enough for Unix sockets.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("hatchery-test-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // Left by a test that was killed, and had our process id.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// A named pipe at which code of a test waits (`open('gate').read()`) until the test lets it go on.
#[derive(Debug)]
pub(crate) struct Gate(PathBuf);

impl Gate {
    /// Makes the pipe in the test's directory.
    pub(crate) fn new(directory: &Directory, name: &str) -> Self {
        let path = directory.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        Self(path)
    }

    /// Lets go all who wait, at least one.
    #[track_caller]
    pub(crate) fn open(&self) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).custom_flags(nix::libc::O_NONBLOCK);
        wait_until(SOON, "somebody waits at the gate", || {
            options.open(&self.0).map_err(|error| error.to_string())
        });
    }
}

/// The sites of `tests/apps`.
pub(crate) fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
}

/// A virtualenv with what the sites of `tests/apps` need; made at the first call if `scripts/test` has not.
pub(crate) fn virtualenv() -> PathBuf {
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let sites =
        ["scgi_site", "shop", "flask_site", "green_site", "uwsgi_site", "websocket_site", "gunicorn_site"];
    MADE.get_or_init(|| made_virtualenv("", sites.map(|site| apps().join(site)))).clone()
}

/// Another one, for the applications of `tests/apps/real`: what those want of Django and its like binds no other site.
pub(crate) fn real_virtualenv() -> PathBuf {
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let sites = || std::fs::read_dir(apps().join("real")).unwrap().map(|site| site.unwrap().path());
    MADE.get_or_init(|| made_virtualenv("-real", sites())).clone()
}

/// The virtualenv for these sites, which stands where HATCHERY_TEST_VENV says, or beside the binary; `more` is added to its name.
fn made_virtualenv(more: &str, sites: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    let beside_the_binary =
        || Path::new(env!("CARGO_BIN_EXE_hatchery")).ancestors().nth(2).unwrap().join("test-venv").into();
    let mut directory = std::env::var_os("HATCHERY_TEST_VENV").unwrap_or_else(beside_the_binary);
    directory.push(more);
    let made = std::process::Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/venv"))
        .arg(&directory)
        .args(sites.into_iter().map(|site| site.join("requirements.txt")))
        .output()
        .unwrap();
    assert!(made.status.success(), "scripts/venv failed: {made:?}");
    directory.into()
}

/// The program of php-fpm; Debian has its version in its name.
pub(crate) fn php_fpm() -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut found = std::env::split_paths(&path).filter_map(|directory| std::fs::read_dir(directory).ok());
    let mut files = found.by_ref().flatten().map(|entry| entry.unwrap());
    let is_fpm = |name: &str| {
        name.strip_prefix("php-fpm")
            .is_some_and(|rest| rest.chars().all(|char| char.is_ascii_digit() || char == '.'))
    };
    let file = files.find(|file| file.file_name().to_str().is_some_and(is_fpm));
    file.expect("php-fpm is missing: apt install php-fpm").path()
}

/// Bytes in which a lost, doubled or swapped block shows; different for each `seed`.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The SHA-256 of `bytes`, from coreutils.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let directory = Directory::new();
    let file = directory.write("bytes", bytes);
    let output = std::process::Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}
