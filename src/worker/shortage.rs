//! When descriptors or places run out: connections that can be done without are closed, so that new ones get in, and requests
//! find descriptors for files and for connections to upstreams and apps.

use super::Worker;
use crate::timer::Time;
use nix::errno::Errno;
use std::io;
use std::time::Duration;

/// Connections given up at a time: as many as are accepted in a turn.
const AT_A_TIME: usize = 8;

/// Connections that can be done without, the least useful kind first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expendable {
    /// It has had time to send a request and has not, or not the whole head.
    Silent,
    /// It was answered and closed by us, and is read from only so that its client sees the answer.
    Lingering,
    /// It has served a request and waits for another.
    Idle,
}

/// A client that has sent no whole head for so long is silent; before, its request may be on its way.
const SILENT: Duration = Duration::from_secs(1);

impl Expendable {
    /// A connection whose head has been awaited for so long.
    pub(super) fn silent(since: Duration) -> Option<Self> {
        (since >= SILENT).then_some(Self::Silent)
    }
}

impl Worker {
    /// A connection could not be accepted: makes room for it in this turn, or lets accepting rest.
    pub(super) fn lacks(&mut self, error: &io::Error) {
        let given_up = if is_shortage(error) { self.give_way() } else { 0 };
        let what = if given_up > 0 {
            "idle connections are closed for new ones"
        } else {
            self.gate.rest(self.cx.now);
            "accepting rests for half a second"
        };
        let line =
            format!("worker: cannot accept: {error}; {what}. Raise LimitNOFILE or lower workers.connections");
        self.cx.note_fault(log::Level::Warn, &line, format_args!("{line}"));
    }

    /// A request met a shortage in this turn: the next one finds room.
    pub(super) fn make_room(&mut self) {
        if std::mem::take(&mut self.cx.is_short) {
            self.give_way();
        }
    }

    /// Closes connections for want of descriptors, first those to upstreams that nobody uses; how many.
    fn give_way(&mut self) -> usize {
        let idle = self.cx.give_up_idle_links(AT_A_TIME);
        idle + self.close_expendable(AT_A_TIME - idle)
    }

    /// A connection waits, and there are as many as there may be: makes room for it, so that it is taken in the next turn.
    pub(super) fn make_place(&mut self) {
        if self.gate.leaves_it_to_others(&self.cx) {
            return;
        }
        if self.close_expendable(1) == 0 {
            self.gate.stand(self.cx.now);
        }
    }

    /// Closes the connections that can best be done without, at most so many; how many. One whose next request has come
    /// meanwhile is still answered.
    fn close_expendable(&mut self, most: usize) -> usize {
        let now = self.cx.now;
        let expendable = self.clients.iter().filter_map(|(key, client)| Some((client.expendable(now)?, key)));
        let chosen = least(expendable.collect(), most);
        for (_, key) in &chosen {
            if let Some(client) = self.clients.get_mut(*key) {
                client.give_up(now);
                self.cx.run_soon(*key);
            }
        }
        chosen.len()
    }
}

/// The `most` that are first in order: by kind, then by which would end first anyway.
fn least<T>(mut expendable: Vec<((Expendable, Time), T)>, most: usize) -> Vec<((Expendable, Time), T)> {
    if expendable.len() > most {
        expendable.select_nth_unstable_by_key(most, |(order, _)| *order);
        expendable.truncate(most);
    }
    expendable
}

/// Whether a call failed for want of descriptors or memory, so that closing connections helps.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| short.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_and_lingering_connections_go_first_and_then_those_idle_for_longest() {
        let (lingering, idle) = (Expendable::Lingering, Expendable::Idle);
        assert_eq!(Expendable::silent(SILENT / 2), None);
        let silent = Expendable::silent(SILENT).unwrap();
        let all = [(idle, 5), (lingering, 90), (idle, 3), (silent, 99), (idle, 4)];
        let chosen = |most| {
            let expendable = all.iter().map(|(kind, end)| ((*kind, Time(*end)), ())).collect();
            let mut ends: Vec<_> = least(expendable, most).iter().map(|((_, end), ())| end.0).collect();
            ends.sort_unstable();
            ends
        };
        assert_eq!(chosen(1), [99]);
        assert_eq!(chosen(3), [3, 90, 99]);
        assert_eq!(chosen(5), [3, 4, 5, 90, 99]);
        assert_eq!(chosen(9), [3, 4, 5, 90, 99]);
        assert!(chosen(0).is_empty());
    }

    #[test]
    fn only_a_shortage_is_helped_by_closing() {
        for (errno, helps) in [
            (Errno::EMFILE, true),
            (Errno::ENFILE, true),
            (Errno::ENOBUFS, true),
            (Errno::ENOMEM, true),
            (Errno::EPERM, false),
            (Errno::ENETDOWN, false),
        ] {
            assert_eq!(is_shortage(&errno.into()), helps, "{errno}");
        }
    }
}
