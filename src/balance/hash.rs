//! Requests with something in common go to one server, and few move when servers come and go: of all servers the one whose
//! draw for that key is the best (rendezvous hashing; with weights as by Schindelhauer and Schomaker, 2005). A server that
//! goes loses its own requests to all others alike; one that comes takes its share from all alike. The same on every worker
//! and machine.

/// A number for a key, by FNV-1a and a finisher that spreads its bits.
#[must_use]
pub(crate) fn of(key: &[u8]) -> u64 {
    mixed(key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The finisher of SplitMix64.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The server with the best draw for a key, of those with a number of their own and a share.
pub(super) fn highest(key: u64, servers: impl Iterator<Item = (usize, u64, u32)>) -> Option<usize> {
    let draw = |id: u64, share: u32| {
        let drawn = mixed(key ^ mixed(id.wrapping_add(1)));
        // From 0 to 1, never 0 or 1.
        let drawn = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(share) / -drawn.ln()
    };
    let drawn = servers.map(|(index, id, share)| (index, draw(id, share)));
    drawn.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(shares: &[(usize, u32)]) -> Vec<usize> {
        let keys = (0..9_000_u32).map(|key| of(&key.to_be_bytes()));
        keys.map(|key| highest(key, shares.iter().map(|(at, share)| (*at, *at as u64, *share))).unwrap())
            .collect()
    }

    fn counts(of: &[usize], servers: usize) -> Vec<usize> {
        (0..servers).map(|server| of.iter().filter(|index| **index == server).count()).collect()
    }

    #[test]
    fn keys_spread_by_weight() {
        let equal = counts(&spread(&[(0, 1), (1, 1), (2, 1)]), 3);
        assert!(equal.iter().all(|count| (2_800..3_200).contains(count)), "{equal:?}");
        let weighted = counts(&spread(&[(0, 1), (1, 2), (2, 6)]), 3);
        assert!((850..1_150).contains(&weighted[0]) && (5_750..6_250).contains(&weighted[2]), "{weighted:?}");
    }

    #[test]
    fn who_goes_moves_only_its_own_and_who_comes_takes_its_share() {
        let three = spread(&[(0, 1), (1, 1), (2, 1)]);
        let two = spread(&[(0, 1), (2, 1)]);
        assert!(three.iter().zip(&two).all(|(before, after)| *before == 1 || before == after));
        let four = spread(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert!(three.iter().zip(&four).all(|(before, after)| *after == 3 || before == after));
        assert!((2_050..2_450).contains(&counts(&four, 4)[3]));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(highest(1, std::iter::empty()), None);
        assert_ne!(of(b"a"), of(b"b"));
    }
}
