//! The table of limits: made before the first fork, handed to every worker, and over upgrades. And what workers have refused.

use super::Master;
use crate::config::Config;
use crate::control::command::{LimitStatus, LimitsStatus};
use crate::policy::limit::table::{self, MasterTable, Table, Usage, WorkerTable};
use crate::sys::carried::Carried;
use crate::sys::fd;
use crate::sys::shm::Shared;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

/// The table, and the file in memory that it is mapped from.
#[derive(Debug, Serialize)]
pub(super) struct Segment {
    #[serde(skip)]
    shared: Shared,
    file: Carried,
}

/// A table as it travels.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    file: Carried,
}

/// How often a limit was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exceeded {
    /// And the request refused.
    refused: u64,
    /// And it was not, as that is only tried.
    spared: u64,
}

impl Segment {
    /// A new one, sized by the configuration.
    ///
    /// # Errors
    /// As [`Shared::in_file`].
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let (shared, file) = Shared::in_file_of_name(c"hatchery-limits", table::words(config.limits.table))?;
        MasterTable::new(shared.words()).begin([fd::random(), fd::random()]);
        Ok(Self { shared, file: file.into() })
    }

    /// That of the program before; a new one where it has none that this program understands: then its workers and ours do
    /// not see what the others count, until they have left.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn of(kept: Option<Kept>, config: &Config) -> io::Result<Self> {
        let known = kept.and_then(|Kept { file }| {
            let shared = Shared::of_any(file.as_fd()).ok()?;
            Table::new(shared.words()).is_ours().then_some(Self { shared, file })
        });
        known.map_or_else(|| Self::new(config), Ok)
    }

    /// As a worker is started with it.
    pub(super) fn lent(&self) -> Lent<'_> {
        Lent { shared: self.shared, file: self.file.as_fd() }
    }

    fn table(&self) -> MasterTable<'static> {
        MasterTable::new(self.shared.words())
    }

    /// Zeroes what the worker of that row, which was reaped, has written there.
    ///
    /// # Errors
    /// As [`Shared::release`].
    pub(super) fn release(&self, row: u16) -> io::Result<()> {
        self.table().fold(row);
        table::area(row).map_or(Ok(()), |words| self.shared.release(words))
    }

    /// Says so if it has another size than it would be given at a start.
    pub(super) fn compare(&self, config: &Config) {
        if table::words(config.limits.table) != self.shared.words().len() {
            log::warn!(
                target: "hatchery",
                "`limits.table` stays as it is until the server is restarted: all workers use one table"
            );
        }
    }
}

/// The table on its way to a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent<'a> {
    shared: Shared,
    file: BorrowedFd<'a>,
}

impl Lent<'_> {
    /// A worker is about to be forked for that row, with this configuration.
    pub(super) fn seat(self, row: u16, config: &Config) {
        let table = MasterTable::new(self.shared.words());
        table.slowest(config.limits().filter_map(|limit| limit.bucket).map(|bucket| bucket.full()).max());
        table.seat(row);
    }

    /// What the worker of that row may do with it; it can write nothing else from then on, in this process.
    ///
    /// # Errors
    /// As [`Shared::confine`]; there is no such row.
    pub(super) fn confine(self, row: u16) -> io::Result<WorkerTable<'static>> {
        let own = table::area(row).ok_or_else(|| io::Error::other("there is no such row"))?;
        let all = self.shared.words().len();
        let confined = self.shared.confine(self.file, &[own, table::shared(all)])?;
        match confined.writable.as_slice() {
            [own, buckets] => Ok(WorkerTable::new(confined.words, row, own, buckets)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Master {
    /// A worker says how often a limit was exceeded.
    pub(super) fn note_limited(&mut self, label: String, refused: u64, spared: u64) {
        let config = &self.current.config;
        let is_there = |label: &str| config.limit_labels().any(|known| known == label);
        self.limited.retain(|label, _| is_there(label));
        if is_there(&label) {
            let known = self.limited.entry(label).or_default();
            known.refused = known.refused.saturating_add(refused);
            known.spared = known.spared.saturating_add(spared);
        }
    }

    /// How full the table is, and what was refused.
    pub(super) fn limits(&self) -> LimitsStatus {
        let Usage { size, used, evicted } = self.limits.table().usage();
        let of = |label: &str| {
            let Exceeded { refused, spared } = self.limited.get(label).copied().unwrap_or_default();
            LimitStatus { name: label.to_owned(), refused, spared }
        };
        let mut limits: Vec<LimitStatus> = self.current.config.limit_labels().map(of).collect();
        limits.sort_by(|one, two| one.name.cmp(&two.name));
        limits.dedup();
        LimitsStatus { size, used, evicted, limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::limit::Rate;
    use crate::policy::limit::rate::{Bucket, Outcome};
    use crate::sys::process::{self, Ended};
    use crate::timer::Time;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    const ROW: u16 = 2;

    fn segment() -> Segment {
        Segment::new(&Config::default()).unwrap()
    }

    /// What becomes of a worker of [`ROW`] that does this.
    fn ends(segment: &Segment, act: impl FnOnce(WorkerTable<'static>) -> i32) -> Ended {
        segment.lent().seat(ROW, &Config::default());
        let child = process::fork_of_test(|_| act(segment.lent().confine(ROW).unwrap())).unwrap();
        process::wait(&child).unwrap()
    }

    #[test]
    fn a_worker_writes_its_row_and_the_buckets_and_nothing_else() {
        let segment = segment();
        let words = segment.shared.words();
        let bucket = Bucket::new(Rate { count: 1, per: Duration::from_secs(60) }, 1);
        let now = Time(77_000_000_000);
        let worked = ends(&segment, |table| {
            let first = table.take(table.hash(1, 0, b""), bucket, now);
            i32::from(!matches!(first, Outcome::Allowed { .. }))
        });
        assert_eq!(worked, Ended::Code(0));
        let again = ends(&segment, |table| {
            i32::from(!matches!(table.take(table.hash(1, 0, b""), bucket, now), Outcome::Refused { .. }))
        });
        assert_eq!(again, Ended::Code(0), "the next worker knows it");
        let own = table::area(ROW).unwrap();
        for at in [0, 2, 5, own.start - 1, own.end] {
            let before = words[at].load(SeqCst);
            let ended = ends(&segment, |_| {
                segment.shared.words()[at].store(9, SeqCst);
                0
            });
            assert_eq!(ended, Ended::Signal(nix::libc::SIGSEGV), "{at}");
            assert_eq!(words[at].load(SeqCst), before);
        }
        assert_eq!(segment.table().usage().used, 1);
        segment.release(ROW).unwrap();
        assert!(words[own].iter().all(|word| word.load(SeqCst) == 0));
        assert_eq!(segment.table().usage().used, 1);
    }

    #[test]
    fn it_goes_along_to_the_next_program_unless_that_lays_it_out_otherwise() {
        let first = segment();
        let words = first.shared.words();
        let (key, all) = (words[2].load(SeqCst), words.len());
        let kept = || Some(Kept { file: first.file.as_fd().try_clone_to_owned().unwrap().into() });
        let mut other = Config::default();
        other.limits.table = 1 << 20;
        let second = Segment::of(kept(), &other).unwrap();
        assert_eq!((second.shared.words()[2].load(SeqCst), second.shared.words().len()), (key, all));
        words[0].fetch_add(1, SeqCst);
        let third = Segment::of(kept(), &other).unwrap();
        assert_ne!(third.shared.words()[2].load(SeqCst), key);
        assert!(third.shared.words().len() < all);
        let none = process::memory_file(&[]).unwrap();
        for strange in [None, Some(Kept { file: none.into() })] {
            assert!(Segment::of(strange, &other).is_ok());
        }
    }
}
