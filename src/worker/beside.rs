//! How many requests may run beside another one of their connection, as HTTP/2 has them. Pure.
//!
//! Each may take what a connection takes: descriptors and memory. So there is room for half as many as a worker may have
//! connections, and for no more than leaves most of its descriptors to others. Of what is free of it a client address may
//! have taken half: who asks for as much as he gets, by however many connections, leaves as much to whoever comes next.

use crate::policy::limit::key;
use std::collections::HashMap;
use std::net::IpAddr;

/// Room that there is with few connections, too.
const FEW: usize = 512;

/// One of these takes two descriptors, for what answers it and for what of the answer waits: together a quarter of them.
const DESCRIPTORS: u64 = 8;

/// What is free is so many times what an address may have taken.
const PART: usize = 2;

/// See the module.
pub(super) struct Beside {
    room: usize,
    taken: usize,
    /// What each address has taken. Addresses that have nothing are not here.
    addresses: HashMap<u64, usize>,
}

/// What one connection has taken.
pub(super) struct Share {
    /// The address on whose account; `None`: many may be behind it, and each connection is looked at alone.
    whose: Option<u64>,
    taken: usize,
}

impl Share {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        Self { whose: address.map(key::number), taken: 0 }
    }
}

impl Beside {
    /// Of a worker that may have so many connections and descriptors.
    pub(super) fn new(connections: u32, descriptors: u64) -> Self {
        let few = usize::try_from(descriptors / DESCRIPTORS).unwrap_or(usize::MAX);
        Self { room: (connections as usize / 2).max(FEW).min(few), taken: 0, addresses: HashMap::new() }
    }

    /// All that is taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// So many requests run on a connection now.
    pub(super) fn set(&mut self, share: &mut Share, running: usize) {
        let now = running.saturating_sub(1);
        let before = std::mem::replace(&mut share.taken, now);
        if now == before {
            return;
        }
        self.taken = (self.taken + now).saturating_sub(before);
        if let Some(address) = share.whose {
            let taken = self.addresses.entry(address).or_default();
            *taken = (*taken + now).saturating_sub(before);
            if *taken == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// How many requests may run on a connection.
    pub(super) fn allowed(&self, share: &Share) -> usize {
        let free = self.room.saturating_sub(self.taken);
        let taken = share.whose.and_then(|address| self.addresses.get(&address)).copied();
        let taken = taken.unwrap_or(share.taken);
        // With each of these less is free.
        1 + share.taken + free.saturating_sub(PART * taken) / (PART + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Share {
        Share::of(Some(address.parse().unwrap()))
    }

    /// Opens as many as it may, one after the other; how many.
    fn fill(beside: &mut Beside, share: &mut Share) -> usize {
        let mut running = 0;
        while running < beside.allowed(share) {
            running += 1;
            beside.set(share, running);
        }
        running
    }

    #[test]
    fn room_goes_by_connections_and_leaves_most_descriptors_to_others() {
        for (connections, descriptors, room) in
            [(10_000, 1 << 20, 5000), (10, 1 << 20, FEW), (10_000, 20_000, 2500), (10_000, 1024, 128)]
        {
            assert_eq!(Beside::new(connections, descriptors).room, room, "{connections}, {descriptors}");
        }
    }

    #[test]
    fn who_takes_all_he_gets_leaves_as_much_to_the_next() {
        let mut beside = Beside::new(6000, 1 << 20);
        let mut one = of("192.0.2.1");
        assert_eq!(fill(&mut beside, &mut one), 1 + 1000);
        // Another connection of the same address has only its one request, as an address of the same network of IPv6.
        let mut again = of("::ffff:192.0.2.1");
        assert_eq!(fill(&mut beside, &mut again), 1);
        assert_eq!(fill(&mut beside, &mut of("192.0.2.2")), 1 + 666);
        assert_eq!(fill(&mut beside, &mut of("192.0.2.3")), 1 + 444);
        // Of a proxy each connection is looked at alone.
        assert_eq!(fill(&mut beside, &mut Share::of(None)), 1 + 296);
        assert_eq!(fill(&mut beside, &mut Share::of(None)), 1 + 198);
        beside.set(&mut one, 0);
        assert!(beside.allowed(&again) > 128);
    }

    #[test]
    fn what_is_given_back_leaves_nothing() {
        let mut beside = Beside::new(100, 1 << 20);
        let (mut one, mut other) = (of("2001:db8::1"), of("2001:db8::2"));
        for (first, second) in [(5, 9), (1, 9), (7, 0), (0, 1)] {
            beside.set(&mut one, first);
            beside.set(&mut other, second);
        }
        assert_eq!((beside.taken, beside.addresses.len()), (0, 0));
    }
}
