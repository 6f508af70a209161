//! Whether memory ran out: the kernel counts the processes it killed for that, per control group and for the machine.

use std::path::{Path, PathBuf};

/// Where the kernel counts, and what it had counted when it was asked last.
#[derive(Debug)]
pub(super) struct OutOfMemory {
    file: Option<PathBuf>,
    counted: u64,
}

impl OutOfMemory {
    /// The count of our control group (version 2, else version 1), else that of the whole machine.
    pub(super) fn new() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let candidates = candidates(&groups);
        let file = candidates.into_iter().find(|file| count(file).is_some());
        Self::at(file)
    }

    fn at(file: Option<PathBuf>) -> Self {
        let counted = file.as_deref().and_then(count).unwrap_or(0);
        Self { file, counted }
    }

    /// Whether the kernel has killed for want of memory since the last call.
    pub(super) fn has_grown(&mut self) -> bool {
        let now = self.file.as_deref().and_then(count).unwrap_or(self.counted);
        std::mem::replace(&mut self.counted, now) < now
    }
}

/// Files that may hold the count, by what /proc/self/cgroup says (cgroups(7)).
fn candidates(groups: &str) -> Vec<PathBuf> {
    let below =
        |mount: &str, path: &str, file: &str| Path::new(mount).join(path.trim_start_matches('/')).join(file);
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if controllers.is_empty() {
            files.push(below("/sys/fs/cgroup", path, "memory.events"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.push(below("/sys/fs/cgroup/memory", path, "memory.oom_control"));
        }
    }
    files.push(PathBuf::from("/proc/vmstat"));
    files
}

/// The value of `oom_kill` in a file of lines of a name and a number.
fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_our_group_comes_before_that_of_the_machine() {
        let paths =
            |groups| candidates(groups).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            paths("0::/system.slice/hatchery.service\n"),
            ["/sys/fs/cgroup/system.slice/hatchery.service/memory.events", "/proc/vmstat"]
        );
        assert_eq!(
            paths("9:cpu,cpuacct:/x\n8:memory:/box\n"),
            ["/sys/fs/cgroup/memory/box/memory.oom_control", "/proc/vmstat"]
        );
        assert_eq!(paths("nonsense"), ["/proc/vmstat"]);
    }

    #[test]
    fn growth_is_told_once() {
        let file = std::env::temp_dir().join(format!("hatchery-oom-{}", std::process::id()));
        let write = |count| {
            std::fs::write(&file, format!("low 0\noom 9\noom_kill {count}\noom_group_kill 0\n")).unwrap()
        };
        write(3);
        let mut memory = OutOfMemory::at(Some(file.clone()));
        assert!(!memory.has_grown());
        write(4);
        assert!(memory.has_grown() && !memory.has_grown());
        std::fs::remove_file(&file).unwrap();
        assert!(!memory.has_grown());
        assert!(!OutOfMemory::at(None).has_grown());
    }
}
