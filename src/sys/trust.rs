//! Who can change a file or directory: by its owner, its mode and its access control list. The superuser and we
//! ourselves are no strangers.

mod numbers;

use super::user;
use nix::sys::stat::FileStat;
use nix::unistd::{Gid, Group, Uid, User};
use numbers::Numbers;
use std::fmt;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Users and groups that may change what we work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Trust {
    /// The superuser and its group, and us. A user that is not the superuser mostly has a group of its own, and a umask
    /// that lets this group write.
    #[must_use]
    pub(crate) fn own() -> Self {
        let mut own = Self { users: vec![0], groups: vec![0] };
        if !user::is_root() {
            own.users.push(user::uid());
            own.groups.push(Gid::effective().as_raw());
        }
        own
    }

    /// Trusts one more user or group; anybody is never trusted.
    pub(crate) fn add(&mut self, who: Stranger) {
        match who {
            Stranger::User(uid) => self.users.push(uid),
            Stranger::Group(gid) => self.groups.push(gid),
            Stranger::Listed | Stranger::Anybody => {}
        }
    }

    /// Whether this user is no stranger.
    #[must_use]
    pub(crate) fn has_user(&self, uid: u32) -> bool {
        self.users.contains(&uid)
    }

    /// A stranger who can change this file, or the names in this directory; `opened` is what `stat` was asked of.
    #[must_use]
    pub(crate) fn stranger(&self, stat: &FileStat, opened: BorrowedFd<'_>) -> Option<Stranger> {
        if !self.has_user(stat.st_uid) {
            return Some(Stranger::User(stat.st_uid));
        }
        if stat.st_mode & 0o002 != 0 {
            return Some(Stranger::Anybody);
        }
        if stat.st_mode & 0o020 == 0 {
            return None;
        }
        if !self.groups.contains(&stat.st_gid) {
            return Some(Stranger::Group(stat.st_gid));
        }
        // With a list the bits of the group are the most that anybody in the list has (acl(5)).
        has_list(opened).then_some(Stranger::Listed)
    }
}

/// Somebody who can change something that only we should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Its owner.
    User(u32),
    /// Members of its group.
    Group(u32),
    /// Those in its access control list.
    Listed,
    /// Every user.
    Anybody,
}

impl Stranger {
    /// Whether it is a user or group that has no number in the user namespace of this process, as the host's in a
    /// container of its own users. All of them show as one, mostly as `nobody`.
    #[must_use]
    pub(crate) fn is_outside(self) -> bool {
        match self {
            Self::User(uid) => Numbers::of_users().is_outside(uid),
            Self::Group(gid) => Numbers::of_groups().is_outside(gid),
            Self::Listed | Self::Anybody => false,
        }
    }

    /// Whether this machine has no account for the user or group, as in a container into which a directory of the host
    /// is mounted, nor hands its number out (/etc/subuid, systemd).
    #[must_use]
    pub(crate) fn has_no_account(self) -> bool {
        match self {
            Self::User(uid) => Numbers::of_users()
                .is_nobody_here(uid, || !matches!(User::from_uid(Uid::from_raw(uid)), Ok(None))),
            Self::Group(gid) => Numbers::of_groups()
                .is_nobody_here(gid, || !matches!(Group::from_gid(Gid::from_raw(gid)), Ok(None))),
            Self::Listed | Self::Anybody => false,
        }
    }

    /// Commands after which only root can change `path`.
    #[must_use]
    pub(crate) fn remedy(self, path: &std::path::Path) -> String {
        let path = path.display();
        match self {
            Self::User(_) => format!("chown root {path}"),
            Self::Group(_) => format!("chmod g-w {path}"),
            Self::Listed => format!("setfacl -b {path}"),
            Self::Anybody => format!("chmod o-w {path}"),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::User(uid) if self.is_outside() => write!(out, "a user of the host (shown as {uid})"),
            Self::Group(gid) if self.is_outside() => write!(out, "a group of the host (shown as {gid})"),
            Self::User(uid) => out.write_str(&user_name(uid)),
            Self::Group(gid) => match Group::from_gid(Gid::from_raw(gid)) {
                Ok(Some(group)) => write!(out, "the group `{}`", group.name),
                _ => write!(out, "the group {gid}"),
            },
            Self::Listed => out.write_str("whoever its access control list names"),
            Self::Anybody => out.write_str("every user"),
        }
    }
}

/// The user, as messages name it.
#[must_use]
pub(crate) fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("the user `{}`", user.name),
        _ => format!("the user {uid}"),
    }
}

/// Whether an access control list stands beside the mode.
fn has_list(opened: BorrowedFd<'_>) -> bool {
    let Ok(path) = std::ffi::CString::new(format!("/proc/self/fd/{}", opened.as_raw_fd())) else {
        return true;
    };
    let name = c"system.posix_acl_access";
    // SAFETY: both texts end with NUL and live across the call; with size 0 nothing is written.
    let size = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;
    use std::os::fd::AsFd as _;

    #[test]
    fn owner_group_and_mode_tell_who_can_change() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut stat = fstat(&file).unwrap();
        let trust = Trust { users: vec![0, 7], groups: vec![0] };
        for (uid, gid, mode, expected) in [
            (0, 0, 0o100_644, None),
            (7, 9, 0o100_644, None),
            (7, 0, 0o100_664, None),
            (8, 0, 0o100_600, Some(Stranger::User(8))),
            (0, 9, 0o100_664, Some(Stranger::Group(9))),
            (0, 0, 0o100_646, Some(Stranger::Anybody)),
        ] {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, mode);
            assert_eq!(trust.stranger(&stat, file.as_fd()), expected, "{uid} {gid} {mode:o}");
        }
        let mut more = trust.clone();
        more.add(Stranger::User(8));
        more.add(Stranger::Anybody);
        (stat.st_uid, stat.st_gid, stat.st_mode) = (8, 0, 0o100_602);
        assert_eq!(more.stranger(&stat, file.as_fd()), Some(Stranger::Anybody));
    }

    #[test]
    fn accounts_and_namespaces_are_known() {
        assert!(!Stranger::User(0).has_no_account());
        assert!(Stranger::User(3_999_999_999).has_no_account());
        assert!(!Stranger::Anybody.has_no_account());
    }
}
