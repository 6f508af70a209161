//! How many connections each client address has open in this worker, for `limits.connections_per_client`. Pure.
//!
//! A connection above the limit is answered with 429 and closed. The connections on which a 429 is on its way are counted
//! apart, and bounded by the same limit: those beyond it are closed without a word.

use std::collections::HashMap;
use std::net::IpAddr;

/// The connections of each client address. Addresses without connections take no room.
pub(super) struct ClientQuota {
    /// 0: nothing is counted.
    limit: u32,
    addresses: HashMap<u64, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    served: u32,
    refused: u32,
}

/// As what a connection is counted against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Not at all.
    Not,
    /// As one of those the limit allows.
    Served,
    /// As one of those that get a 429.
    Refused,
}

impl ClientQuota {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, addresses: HashMap::new() }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// A connection has come; `None`: close it at once.
    pub(super) fn enter(&mut self, address: IpAddr) -> Option<Counted> {
        let count = self.addresses.entry(key(address)).or_default();
        let (counted, place) = if count.served < self.limit {
            (Counted::Served, &mut count.served)
        } else if count.refused < self.limit {
            (Counted::Refused, &mut count.refused)
        } else {
            return None;
        };
        *place += 1;
        Some(counted)
    }

    /// A connection that was counted so is closed.
    pub(super) fn leave(&mut self, address: IpAddr, counted: Counted) {
        let Some(count) = self.addresses.get_mut(&key(address)) else { return };
        match counted {
            Counted::Not => {}
            Counted::Served => count.served = count.served.saturating_sub(1),
            Counted::Refused => count.refused = count.refused.saturating_sub(1),
        }
        if (count.served, count.refused) == (0, 0) {
            self.addresses.remove(&key(address));
        }
    }
}

/// An IPv4 address; of an IPv6 address the /64 that one customer gets.
pub(super) fn key(address: IpAddr) -> u64 {
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
        let mut quota = ClientQuota::new(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let counted: Vec<_> = (0..5).map(|_| quota.enter(one)).collect();
        let (served, refused) = (Some(Counted::Served), Some(Counted::Refused));
        assert_eq!(counted, [served, served, refused, refused, None]);
        assert_eq!(quota.enter("::ffff:192.0.2.1".parse().unwrap()), None, "the same in IPv6 clothes");
        assert_eq!(quota.enter(other), served);
        // One that was refused leaves: the places of the served stay taken.
        quota.leave(one, Counted::Refused);
        assert_eq!(quota.enter(one), refused);
        quota.leave(one, Counted::Served);
        assert_eq!(quota.enter(one), served);
        for counted in
            [Counted::Served, Counted::Served, Counted::Refused, Counted::Refused, Counted::Refused]
        {
            quota.leave(one, counted);
        }
        quota.leave(other, Counted::Served);
        assert!(quota.addresses.is_empty());
    }

    #[test]
    fn an_ipv6_customer_is_one_client() {
        let mut quota = ClientQuota::new(1);
        assert_eq!(quota.enter("2001:db8::1".parse().unwrap()), Some(Counted::Served));
        assert_eq!(quota.enter("2001:db8::ffff:2".parse().unwrap()), Some(Counted::Refused));
        assert_eq!(quota.enter("2001:db8:0:1::1".parse().unwrap()), Some(Counted::Served));
    }
}
