//! What the number of a user or group stands for where we are: an account, or one that this machine cannot know, or one
//! that somebody else of this machine can become.

use std::fs::read_to_string;

/// What the kernel shows for whoever has no number, unless it is told otherwise (user_namespaces(7)).
const OVERFLOW: u32 = 65_534;

/// What is known of the numbers of users, or of groups.
pub(super) struct Numbers {
    /// Lines of first number inside, first number outside and length: /proc/self/uid_map.
    map: String,
    /// As which number the kernel shows all that have none in this user namespace: /proc/sys/fs/overflowuid.
    overflow: u32,
}

impl Numbers {
    /// Of users.
    pub(super) fn of_users() -> Self {
        Self::read("uid_map", "overflowuid")
    }

    /// Of groups.
    pub(super) fn of_groups() -> Self {
        Self::read("gid_map", "overflowgid")
    }

    /// What cannot be read is as on a machine without containers.
    fn read(map: &str, overflow: &str) -> Self {
        let text = |path: String| read_to_string(path).unwrap_or_default();
        let overflow = text(format!("/proc/sys/fs/{overflow}")).trim().parse();
        Self { map: text(format!("/proc/self/{map}")), overflow: overflow.unwrap_or(OVERFLOW) }
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
        Numbers { map: map.to_owned(), overflow: OVERFLOW }
    }

    #[test]
    fn who_has_no_number_in_a_namespace_is_from_outside() {
        for map in ["0 100000 65536\n", "0 1000 1\n1 100000 65536\n", "0 0 1\n", "0 0 65536\n"] {
            assert!(numbers(map).is_outside(OVERFLOW), "{map}");
            assert!(!numbers(map).is_outside(0) && !numbers(map).is_outside(1000), "{map}");
        }
        assert!(!numbers(WHOLE).is_outside(OVERFLOW), "nobody");
        assert!(!numbers("").is_outside(OVERFLOW), "without /proc");
        let moved = Numbers { map: "0 100000 65536\n".to_owned(), overflow: 7 };
        assert!(moved.is_outside(7) && !moved.is_outside(OVERFLOW));
    }
}
