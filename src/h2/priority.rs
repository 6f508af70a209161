//! Whose DATA is next (RFC 9218): the more urgent first; of the same urgency those that are of use in pieces take turns, and
//! those of use only as a whole are one party of it, served one after the other.
//!
//! Who says nothing at all counts as of use in pieces, although the default is otherwise: a client that knows no priorities
//! asks for a page while it loads a film.

use super::StreamId;

/// What a client says of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Priority {
    /// 0 is the most urgent, 7 the least.
    urgency: u8,
    incremental: bool,
}

impl Priority {
    /// Of a request without one.
    pub(super) const UNSAID: Self = Self { urgency: 3, incremental: true };

    /// The value of a `priority` field or of PRIORITY_UPDATE: a dictionary, `u=1, i`. What is not understood counts as not
    /// there (RFC 9218 §4, §8).
    pub(super) fn parse(value: &[u8]) -> Self {
        let mut priority = Self { urgency: 3, incremental: false };
        for member in value.split(|byte| *byte == b',') {
            match member.trim_ascii() {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }

    /// The same of what is of use in pieces.
    pub(super) fn in_pieces(self) -> Self {
        Self { incremental: true, ..self }
    }
}

/// The streams of which DATA can be sent.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: Vec<Waiting>,
    /// Counts the turns.
    turn: u64,
    /// When those of use only as a whole had theirs.
    whole: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    stream: StreamId,
    priority: Priority,
    /// When it had its turn.
    turn: u64,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A stream has something to send, if it had nothing.
    pub(super) fn add(&mut self, stream: StreamId, priority: Priority) {
        if !self.waiting.iter().any(|waiting| waiting.stream == stream) {
            // Behind who has waited, as if it had just had its turn.
            self.waiting.push(Waiting { stream, priority, turn: self.turn });
        }
    }

    /// The client has thought otherwise.
    pub(super) fn change(&mut self, stream: StreamId, priority: Priority) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.stream == stream) {
            waiting.priority = priority;
        }
    }

    /// A stream has nothing to send, or may not.
    pub(super) fn remove(&mut self, stream: StreamId) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.stream == stream) {
            self.waiting.swap_remove(at);
        }
    }

    /// Whose turn it is; it stays until it is removed.
    pub(super) fn next(&mut self) -> Option<StreamId> {
        let whole = self.whole;
        let next = self.waiting.iter_mut().min_by_key(|waiting| {
            let Priority { urgency, incremental } = waiting.priority;
            (urgency, if incremental { waiting.turn } else { whole }, waiting.stream)
        })?;
        self.turn += 1;
        if next.priority.incremental {
            next.turn = self.turn;
        } else {
            self.whole = self.turn;
        }
        Some(next.stream)
    }

    /// Gives memory back if nobody waits.
    pub(super) fn shrink(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(streams: &[(StreamId, &str)], count: usize) -> Vec<StreamId> {
        let mut turns = Turns::default();
        for (stream, priority) in streams {
            turns.add(*stream, Priority::parse(priority.as_bytes()));
        }
        (0..count).map(|_| turns.next().unwrap()).collect()
    }

    #[test]
    fn what_is_said_of_priority() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=2", 2, true),
            ("i=?1", 3, true),
            ("i, i=?0", 3, false),
            ("u=8", 3, false),
            ("u=-1, x=1", 3, false),
            ("u=11;q", 3, false),
            ("\u{0}\u{ff},,=", 3, false),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), Priority { urgency, incremental }, "{value:?}");
        }
    }

    #[test]
    fn urgency_orders_and_equals_take_turns() {
        assert_eq!(order(&[(1, "u=5"), (3, "u=1"), (5, "u=3, i")], 3), [3, 3, 3]);
        assert_eq!(order(&[(5, "i"), (1, "i"), (3, "i")], 6), [1, 3, 5, 1, 3, 5]);
        assert_eq!(order(&[(5, ""), (3, ""), (7, "u=4, i")], 3), [3, 3, 3]);
        assert_eq!(
            order(&[(1, ""), (3, ""), (5, "i"), (7, "i")], 6),
            [1, 5, 7, 1, 5, 7],
            "shared with whole ones"
        );
    }

    #[test]
    fn who_comes_later_waits_for_its_turn_and_who_changes_is_served_by_it() {
        let mut turns = Turns::default();
        for stream in [1, 3] {
            turns.add(stream, Priority::UNSAID);
        }
        assert_eq!(turns.next(), Some(1));
        turns.add(5, Priority::UNSAID);
        assert_eq!([turns.next(), turns.next(), turns.next()], [Some(3), Some(1), Some(5)]);
        turns.change(5, Priority::parse(b"u=0"));
        assert_eq!([turns.next(), turns.next()], [Some(5), Some(5)]);
        turns.remove(5);
        turns.remove(1);
        turns.add(3, Priority::UNSAID);
        assert_eq!([turns.next(), turns.next()], [Some(3), Some(3)]);
        turns.remove(3);
        assert_eq!((turns.next(), turns.is_empty()), (None, true));
    }
}
