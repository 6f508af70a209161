//! Users and groups: looked up before a fork, taken on after it.

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io;
use std::path::PathBuf;

/// A user a child runs as, with everything that a forked child may not look up any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Login name.
    pub(crate) name: String,
    /// User id.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// All groups, the primary one included.
    pub(crate) groups: Vec<u32>,
    /// Home directory.
    pub(crate) home: PathBuf,
}

impl Account {
    /// The account called `name`, `None` if there is none.
    ///
    /// # Errors
    /// What the system's user database says when it cannot be read.
    pub(crate) fn named(name: &str) -> io::Result<Option<Self>> {
        User::from_name(name)?.map(Self::from_user).transpose()
    }

    /// The account of the user this process runs as; one without a name or home if the database lacks it.
    ///
    /// # Errors
    /// What the system's user database says when it cannot be read.
    pub(crate) fn own() -> io::Result<Self> {
        let uid = Uid::effective();
        let user = User::from_uid(uid)?;
        user.map_or_else(
            || {
                let gid = Gid::effective().as_raw();
                let home = PathBuf::from("/");
                Ok(Self { name: uid.to_string(), uid: uid.as_raw(), gid, groups: vec![gid], home })
            },
            Self::from_user,
        )
    }

    fn from_user(user: User) -> io::Result<Self> {
        let name = CString::new(user.name.as_str())?;
        let groups = nix::unistd::getgrouplist(&name, user.gid)?;
        Ok(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: user.dir,
        })
    }
}

/// The number of the group called `name`, `None` if there is none.
///
/// # Errors
/// What the system's database of groups says when it cannot be read.
pub(crate) fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// Whether this process may give a file to that group, and has what its members have.
#[must_use]
pub(crate) fn may_give_to(group: u32) -> bool {
    let own = nix::unistd::getgroups().unwrap_or_default();
    is_root() || own.into_iter().chain([Gid::effective()]).any(|own| own.as_raw() == group)
}

/// Whether the group is the user's alone, as `useradd` makes one for each user that a umask of 002 goes with
/// (USERGROUPS_ENAB, login.defs(5)).
#[must_use]
pub(crate) fn is_private_group(uid: u32, gid: u32) -> bool {
    let user = User::from_uid(Uid::from_raw(uid));
    let group = Group::from_gid(Gid::from_raw(gid));
    let (Ok(Some(user)), Ok(Some(group))) = (user, group) else { return false };
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    group.name == user.name && is_alone(&user.name, gid, &group.mem, &accounts)
}

/// Whether nobody else is in a group: neither named by it nor, in lines of passwd(5), with it as the primary group, which
/// group(5) does not list.
fn is_alone(user: &str, gid: u32, members: &[String], accounts: &str) -> bool {
    let is_others = |line: &str| {
        let mut fields = line.split(':');
        fields.next() != Some(user) && fields.nth(2).and_then(|field| field.parse().ok()) == Some(gid)
    };
    members.iter().all(|member| member == user) && !accounts.lines().any(is_others)
}

/// Whether this process may change its user.
#[must_use]
pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The user this process runs as.
#[must_use]
pub(crate) fn uid() -> u32 {
    Uid::effective().as_raw()
}

/// Makes this process run as `account`, for good: groups, group, user, in this order. Async-signal-safe.
///
/// # Errors
/// EPERM without the right to.
pub(crate) fn take_on(account: &Account) -> io::Result<()> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: the pointer and length describe a living slice of group ids.
    check(unsafe { libc::setgroups(account.groups.len(), account.groups.as_ptr()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::setresgid(account.gid, account.gid, account.gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::setresuid(account.uid, account.uid, account.uid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_root_and_not_a_stranger() {
        let root = Account::named("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Account::named("no-such-user-here").unwrap(), None);
        assert_eq!(Account::own().unwrap().uid, uid());
    }

    #[test]
    fn a_private_group_has_one_member() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1001:1005::/home/ann:/bin/sh\nbroken\n";
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(is_alone("ann", 1005, &[], accounts) && is_alone("ann", 1005, &names(&["ann"]), accounts));
        assert!(!is_alone("ann", 1005, &names(&["ann", "bob"]), accounts), "a member");
        let bob = format!("{accounts}bob:x:1002:1005::/home/bob:/bin/sh\n");
        assert!(!is_alone("ann", 1005, &[], &bob), "a primary group");
        assert!(!is_private_group(0, 1) && !is_private_group(0, 3_999_999_999));
    }
}
