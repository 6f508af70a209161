//! What a user may do with a path, from mode bits alone (path_resolution(7)): the server asks for users that it is not
//! yet. Access control lists and mandatory access control are not looked at.

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;

/// Whether every user may reach what lies at that path: each directory above it lets everybody through.
pub(super) fn is_open_to_all(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1);
    above.all(|directory| fs::metadata(directory).map_or(true, |found| found.mode() & EXECUTE != 0))
}

/// The first directory above a path that members of a group, as far as they are nobody else, may not enter.
pub(super) fn closed_to_group(path: &Path, group: u32) -> Option<PathBuf> {
    let real = fs::canonicalize(path.parent()?).ok()?;
    let is_closed = |directory: &&Path| {
        let Ok(found) = fs::metadata(directory) else { return false };
        let right = if found.gid() == group { EXECUTE << 3 } else { EXECUTE };
        found.mode() & right == 0
    };
    let above: Vec<&Path> = real.ancestors().collect();
    above.into_iter().rev().find(is_closed).map(Path::to_owned)
}

/// A user with its groups.
pub(super) struct Identity {
    /// For messages.
    pub(super) name: String,
    pub(super) uid: u32,
    gids: Vec<u32>,
}

impl Identity {
    /// The user that this process runs as.
    pub(super) fn current() -> Self {
        let uid = geteuid();
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name);
        let mut gids: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        gids.push(getegid().as_raw());
        Self { name: format!("`{name}`"), uid: uid.as_raw(), gids }
    }

    /// The user of this name, `None` if there is none.
    pub(super) fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        let text = CString::new(name).ok()?;
        let mut gids = getgrouplist(&text, user.gid).unwrap_or_default();
        gids.push(user.gid);
        let gids = gids.into_iter().map(Gid::as_raw).collect();
        Some(Self { name: format!("`{name}`"), uid: Uid::as_raw(user.uid), gids })
    }

    /// The user of this name; ourselves without one, or if it does not exist (which is a problem of its own).
    pub(super) fn of(name: Option<&str>) -> Self {
        name.and_then(Self::named).unwrap_or_else(Self::current)
    }

    pub(super) fn may_read_directory(&self, path: &Path) -> Result<(), String> {
        self.may(path, READ | EXECUTE)
    }

    pub(super) fn may_enter(&self, directory: &Path) -> Result<(), String> {
        self.may(directory, EXECUTE)
    }

    pub(super) fn may_write_directory(&self, path: &Path) -> Result<(), String> {
        self.may(path, WRITE | EXECUTE)
    }

    pub(super) fn may_read_file(&self, path: &Path) -> Result<(), String> {
        self.may(path, READ)
    }

    pub(super) fn may_write_file(&self, path: &Path) -> Result<(), String> {
        self.may(path, WRITE)
    }

    pub(super) fn may_execute(&self, path: &Path) -> Result<(), String> {
        self.may(path, EXECUTE)
    }

    /// The wanted bits on the path itself, and the right to walk through every directory above it. As the path is
    /// resolved first, the way to a symbolic link itself is not looked at.
    fn may(&self, path: &Path, wanted: u32) -> Result<(), String> {
        let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
        for above in real.ancestors().skip(1) {
            self.has(above, EXECUTE).map_err(|()| format!("no right to enter `{}`", above.display()))?;
        }
        let right = match wanted {
            EXECUTE if real.is_dir() => "enter",
            EXECUTE => "execute",
            READ => "read",
            WRITE => "write",
            _ if wanted & WRITE != 0 => "write in",
            _ => "read",
        };
        self.has(&real, wanted).map_err(|()| format!("no right to {right} it"))
    }

    fn has(&self, path: &Path, wanted: u32) -> Result<(), ()> {
        let metadata = fs::metadata(path).map_err(|_| ())?;
        let mode = metadata.mode();
        if self.uid == 0 {
            // The superuser may do everything except execute what nobody may (capabilities(7), CAP_DAC_OVERRIDE).
            let executable = metadata.is_dir() || wanted & EXECUTE == 0 || mode & 0o111 != 0;
            return if executable { Ok(()) } else { Err(()) };
        }
        let bits = if metadata.uid() == self.uid {
            mode >> 6
        } else if self.gids.contains(&metadata.gid()) {
            mode >> 3
        } else {
            mode
        };
        if bits & wanted == wanted { Ok(()) } else { Err(()) }
    }
}

/// ip(7), `ip_unprivileged_port_start`.
pub(super) fn first_unprivileged_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// This process has CAP_NET_BIND_SERVICE (bit 10 of the effective set in /proc/self/status, proc(5)).
pub(super) fn may_bind_any_port() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.map_or_else(|| geteuid().is_root(), |set| set & (1 << 10) != 0)
}
