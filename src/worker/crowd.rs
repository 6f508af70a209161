//! How many connections each client address has open in this worker, for `limits.connections_per_client`. Pure.
//!
//! What is too much is answered with 429 and closed. The connections on which that answer is on its way are counted
//! apart, and bounded in the same way: beyond them connections are closed without a word.

use std::collections::HashMap;
use std::net::IpAddr;

/// See the module. Addresses without connections take no room.
pub(super) struct Crowd {
    /// 0: nothing is counted.
    limit: u32,
    addresses: HashMap<u64, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    served: u32,
    refused: u32,
}

/// As what a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// Not at all.
    Uncounted,
    /// One of those the limit allows.
    Served,
    /// It gets a 429.
    Refused,
}

impl Crowd {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, addresses: HashMap::new() }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// A connection has come; `None`: close it at once.
    pub(super) fn enter(&mut self, address: IpAddr) -> Option<Seat> {
        let count = self.addresses.entry(key(address)).or_default();
        let (seat, place) = if count.served < self.limit {
            (Seat::Served, &mut count.served)
        } else if count.refused < self.limit {
            (Seat::Refused, &mut count.refused)
        } else {
            return None;
        };
        *place += 1;
        Some(seat)
    }

    /// A connection that had this seat is closed.
    pub(super) fn leave(&mut self, address: IpAddr, seat: Seat) {
        let Some(count) = self.addresses.get_mut(&key(address)) else { return };
        match seat {
            Seat::Uncounted => {}
            Seat::Served => count.served = count.served.saturating_sub(1),
            Seat::Refused => count.refused = count.refused.saturating_sub(1),
        }
        if (count.served, count.refused) == (0, 0) {
            self.addresses.remove(&key(address));
        }
    }
}

/// An IPv4 address; of an IPv6 address the /64 that one customer gets.
fn key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places() {
        let mut crowd = Crowd::new(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let seats: Vec<_> = (0..5).map(|_| crowd.enter(one)).collect();
        let (served, refused) = (Some(Seat::Served), Some(Seat::Refused));
        assert_eq!(seats, [served, served, refused, refused, None]);
        assert_eq!(crowd.enter("::ffff:192.0.2.1".parse().unwrap()), None, "the same in IPv6 clothes");
        assert_eq!(crowd.enter(other), served);
        // One that was refused leaves: the places of the served stay taken.
        crowd.leave(one, Seat::Refused);
        assert_eq!(crowd.enter(one), refused);
        crowd.leave(one, Seat::Served);
        assert_eq!(crowd.enter(one), served);
        for seat in [Seat::Served, Seat::Served, Seat::Refused, Seat::Refused, Seat::Refused] {
            crowd.leave(one, seat);
        }
        crowd.leave(other, Seat::Served);
        assert!(crowd.addresses.is_empty());
    }

    #[test]
    fn an_ipv6_customer_is_one_client() {
        let mut crowd = Crowd::new(1);
        assert_eq!(crowd.enter("2001:db8::1".parse().unwrap()), Some(Seat::Served));
        assert_eq!(crowd.enter("2001:db8::ffff:2".parse().unwrap()), Some(Seat::Refused));
        assert_eq!(crowd.enter("2001:db8:0:1::1".parse().unwrap()), Some(Seat::Served));
    }
}
