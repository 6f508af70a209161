//! Which handshakes of TLS go on in a turn. A message of one costs up to half a millisecond, so that a few are answered
//! each turn, after all that open connections have to do. Pure.
//!
//! Those that wait stand in queues by the address of their client. The queues take turns, and the newest of each goes on:
//! whoever comes from elsewhere waits behind one handshake for each queue, however many have come before, and whoever
//! comes from the address of a burst waits behind those only that came later still. Those that begin a handshake
//! and those that go on with it have turns of their own.

use crate::policy::limit::key;
use crate::slab::Key;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

/// So many of each kind go on in one turn.
const TURN: usize = 8;

const QUEUES: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Handshakes {
    first: Line,
    further: Line,
    seed: RandomState,
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// That its first message is answered.
    First,
    /// A later one.
    Further,
}

#[derive(Default)]
struct Line {
    /// The oldest first.
    queues: Vec<VecDeque<Key>>,
    /// The queue that had its turn last.
    last: usize,
    /// In all of them.
    waiting: usize,
}

impl Handshakes {
    /// A client waits for its turn, once.
    pub(super) fn wait(&mut self, key: Key, address: Option<IpAddr>, message: Message) {
        let queue = address.map_or(0, |address| self.seed.hash_one(key::number(address)));
        let line = match message {
            Message::First => &mut self.first,
            Message::Further => &mut self.further,
        };
        line.push(key, queue as usize % QUEUES);
    }

    /// Whether any waits.
    pub(super) fn any_waits(&self) -> bool {
        self.first.waiting + self.further.waiting > 0
    }

    /// Those whose turn it is, of those that are not closed by now.
    pub(super) fn turn(&mut self, lives: impl Fn(Key) -> bool) -> Vec<Key> {
        let mut keys = Vec::new();
        for line in [&mut self.further, &mut self.first] {
            keys.extend(std::iter::from_fn(|| line.pop(&lives)).take(TURN));
        }
        keys
    }
}

impl Line {
    fn push(&mut self, key: Key, queue: usize) {
        self.queues.resize_with(QUEUES, VecDeque::new);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.push_back(key);
            self.waiting += 1;
        }
    }

    /// The next one that is not closed. The oldest of a queue are closed first: they go on the way.
    fn pop(&mut self, lives: impl Fn(Key) -> bool) -> Option<Key> {
        while self.waiting > 0 {
            self.last = (self.last + 1) % QUEUES;
            let queue = self.queues.get_mut(self.last)?;
            while queue.front().is_some_and(|key| !lives(*key)) {
                queue.pop_front();
                self.waiting -= 1;
            }
            if let Some(key) = queue.pop_back() {
                self.waiting -= 1;
                if lives(key) {
                    return Some(key);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    /// Some of this many clients wait, of these addresses in turn; the slab that holds them.
    fn waiting(handshakes: &mut Handshakes, count: usize, addresses: &[IpAddr]) -> (Slab<()>, Vec<Key>) {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..count).map(|_| slab.insert(())).collect();
        for (key, address) in keys.iter().zip(addresses.iter().cycle()) {
            handshakes.wait(*key, Some(*address), Message::First);
        }
        (slab, keys)
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b9)).into()
    }

    #[test]
    fn who_comes_last_waits_behind_none_of_its_address_and_one_of_each_other() {
        let mut handshakes = Handshakes::default();
        let (_slab, keys) = waiting(&mut handshakes, 5000, &[address(1)]);
        assert_eq!(handshakes.turn(|_| true), keys.iter().rev().take(TURN).copied().collect::<Vec<_>>());
        // From anywhere else, and even if it has come before them.
        for addresses in [1, 40, 5000] {
            let mut handshakes = Handshakes::default();
            let visitor = keys[0];
            handshakes.wait(visitor, Some(address(0)), Message::First);
            let addresses: Vec<IpAddr> = (1..=addresses).map(address).collect();
            waiting(&mut handshakes, 4000, &addresses);
            handshakes.wait(keys[1], Some(address(0)), Message::First);
            let before = (0..).find(|_| handshakes.turn(|_| true).contains(&keys[1])).unwrap();
            assert!(before <= QUEUES / TURN, "{before} turns");
        }
    }

    #[test]
    fn who_goes_on_does_not_wait_for_those_who_begin_nor_they_for_it() {
        let mut handshakes = Handshakes::default();
        let (mut slab, _) = waiting(&mut handshakes, 5000, &[address(1), address(2)]);
        let further: Vec<Key> = (0..20).map(|_| slab.insert(())).collect();
        further.iter().for_each(|key| handshakes.wait(*key, Some(address(1)), Message::Further));
        let turn = handshakes.turn(|_| true);
        assert_eq!((turn.len(), turn.iter().filter(|key| further.contains(key)).count()), (2 * TURN, TURN));
    }

    #[test]
    fn who_is_closed_takes_no_turn_and_no_room() {
        let mut handshakes = Handshakes::default();
        let (mut slab, keys) = waiting(&mut handshakes, 5000, &[address(1)]);
        keys[..4990].iter().for_each(|key| assert!(slab.remove(*key).is_some()));
        let turn = handshakes.turn(|key| slab.get(key).is_some());
        assert_eq!((turn.len(), handshakes.first.waiting), (TURN, 2));
        keys[4990..].iter().for_each(|key| assert!(slab.remove(*key).is_some()));
        assert!(handshakes.turn(|key| slab.get(key).is_some()).is_empty() && !handshakes.any_waits());
    }
}
