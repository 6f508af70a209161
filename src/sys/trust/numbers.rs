//! What the number of a user or group stands for where we are: an account, or one that this machine cannot know, or one
//! that somebody else of this machine can become.

use std::fs::read_to_string;
use std::ops::RangeInclusive;

/// What the kernel shows for whoever has no number, unless it is told otherwise (user_namespaces(7)).
const OVERFLOW: u32 = 65_534;

/// Users and groups that systemd makes for as long as a unit runs (`DynamicUser=`, systemd.exec(5)).
const DYNAMIC: RangeInclusive<u32> = 61_184..=65_519;

/// What is known of the numbers of users, or of groups.
pub(super) struct Numbers {
    /// Lines of first number inside, first number outside and length: /proc/self/uid_map.
    map: String,
    /// As which number the kernel shows all that have none in this user namespace: /proc/sys/fs/overflowuid.
    overflow: u32,
    /// Lines of user, first number and length that the user may give in containers of its own: /etc/subuid, subuid(5).
    subordinate: String,
}

impl Numbers {
    /// Of users.
    pub(super) fn of_users() -> Self {
        Self::read("uid_map", "overflowuid", "/etc/subuid")
    }

    /// Of groups.
    pub(super) fn of_groups() -> Self {
        Self::read("gid_map", "overflowgid", "/etc/subgid")
    }

    /// What cannot be read is as on a machine without containers.
    fn read(map: &str, overflow: &str, subordinate: &str) -> Self {
        let text = |path: &str| read_to_string(path).unwrap_or_default();
        let overflow = text(&format!("/proc/sys/fs/{overflow}")).trim().parse();
        Self {
            map: text(&format!("/proc/self/{map}")),
            overflow: overflow.unwrap_or(OVERFLOW),
            subordinate: text(subordinate),
        }
    }

    /// Whether nobody here can be this number, or a number without an account (`has_account`): one of the host's, as seen
    /// in a container. Numbers without an account that a user of this machine, or systemd, gives to processes are somebody.
    pub(super) fn is_nobody_here(&self, id: u32, has_account: impl FnOnce() -> bool) -> bool {
        self.is_outside(id) || !DYNAMIC.contains(&id) && !self.is_subordinate(id) && !has_account()
    }

    fn is_subordinate(&self, id: u32) -> bool {
        self.subordinate.lines().any(|line| {
            let mut numbers = line.split(':').skip(1).map(|field| field.trim().parse::<u64>());
            let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next()) else { return false };
            (first..first.saturating_add(count)).contains(&u64::from(id))
        })
    }

    /// Whether whoever shows as this number has none in the user namespace where we are: one of the host, which nobody in
    /// here can become. What is `nobody` in here shows the same, and cannot be told from it.
    pub(super) fn is_outside(&self, id: u32) -> bool {
        id == self.overflow && !self.is_whole()
    }

    /// Whether every number means what it does to the kernel, as outside of all user namespaces.
    fn is_whole(&self) -> bool {
        let whole = ["0", "0", "4294967295"];
        self.map.is_empty() || self.map.lines().any(|line| line.split_whitespace().eq(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "         0          0 4294967295\n";

    fn numbers(map: &str) -> Numbers {
        Numbers { map: map.to_owned(), overflow: OVERFLOW, subordinate: String::new() }
    }

    #[test]
    fn who_has_no_number_in_a_namespace_is_from_outside() {
        for map in ["0 100000 65536\n", "0 1000 1\n1 100000 65536\n", "0 0 1\n", "0 0 65536\n"] {
            assert!(numbers(map).is_outside(OVERFLOW), "{map}");
            assert!(!numbers(map).is_outside(0) && !numbers(map).is_outside(1000), "{map}");
        }
        assert!(!numbers(WHOLE).is_outside(OVERFLOW), "nobody");
        assert!(!numbers("").is_outside(OVERFLOW), "without /proc");
        let moved = Numbers { overflow: 7, ..numbers("0 100000 65536\n") };
        assert!(moved.is_outside(7) && !moved.is_outside(OVERFLOW));
    }

    #[test]
    fn numbers_that_somebody_can_have_are_not_nobodys() {
        let subordinate = "# theirs\ndeploy:100000:65536\n1001:300000:10\nbad:x:9\nshort:500000\n".to_owned();
        let host = Numbers { subordinate, ..numbers(WHOLE) };
        let without = || false;
        for id in [61_184, 65_519, 100_000, 165_535, 300_009] {
            assert!(!host.is_nobody_here(id, without), "{id}");
        }
        for id in [1000, 61_183, 65_520, 65_534, 99_999, 165_536, 300_010, 500_000, u32::MAX - 1] {
            assert!(host.is_nobody_here(id, without), "{id}");
            assert!(!host.is_nobody_here(id, || true), "{id} with an account");
        }
        // The plain container: the host's numbers, and no users who have containers.
        assert!(numbers(WHOLE).is_nobody_here(100_000, without));
        // What shows as the overflow number in a namespace is nobody's here, whatever else the number is.
        assert!(numbers("0 100000 65536\n").is_nobody_here(OVERFLOW, || true));
    }
}
