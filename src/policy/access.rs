//! Who may enter by the address of the client: networks that are let in and networks that are not. The most specific one that an
//! address is in decides, of two that are the same the denial. Who is in none is let in, unless some are let in by name.

use std::net::{IpAddr, Ipv6Addr};

/// Whom a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody.
    All,
    /// The peers of Unix listeners of whom nobody tells an address.
    Unix,
    /// A block of addresses.
    Block(Block),
    /// Those of the list at this index of the configuration.
    List(usize),
}

/// `base/bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// First address.
    pub base: IpAddr,
    /// Length of the prefix.
    pub bits: u8,
}

/// What is demanded of addresses in a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Who is let in.
    pub allow: Vec<Who>,
    /// Who is not.
    pub deny: Vec<Who>,
}

impl Access {
    /// Who is named, each with whether it is let in.
    fn each(&self) -> impl Iterator<Item = (&Who, bool)> {
        let allowed = self.allow.iter().map(|who| (who, true));
        allowed.chain(self.deny.iter().map(|who| (who, false)))
    }

    /// The lists that it names.
    pub fn lists(&self) -> impl Iterator<Item = usize> {
        self.each().filter_map(|(who, _)| match who {
            Who::List(list) => Some(*list),
            _ => None,
        })
    }
}

/// The same, so that an address is found by halves: of each kind of addresses who is let in from this one on, to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    v4: Vec<(u32, bool)>,
    v6: Vec<(u128, bool)>,
    unix: bool,
}

impl Table {
    /// Of what a place demands; `blocks` are those of a list of the configuration.
    #[must_use]
    pub fn of<'a>(access: &Access, blocks: impl Fn(usize) -> &'a [Block]) -> Self {
        let mut all: Vec<(Block, bool)> = Vec::new();
        // Who is in none, everybody, peers without an address: each said by who is more specific.
        let (mut everybody, mut unix) = (None, None);
        for (who, allowed) in access.each() {
            match who {
                Who::All => everybody = Some(everybody.unwrap_or(true) && allowed),
                Who::Unix => unix = Some(unix.unwrap_or(true) && allowed),
                Who::Block(block) => all.push((*block, allowed)),
                Who::List(list) => all.extend(blocks(*list).iter().map(|block| (*block, allowed))),
            }
        }
        let others = everybody.unwrap_or(access.allow.is_empty());
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (Block { base, bits }, allowed) in all {
            match base {
                IpAddr::V4(base) => v4.push((Part::of(u32::from(base).into(), 32, bits), allowed)),
                IpAddr::V6(base) => v6.push((Part::of(base.into(), 128, bits), allowed)),
            }
        }
        let v4 = steps(v4, others).into_iter();
        Self {
            v4: v4.filter_map(|(from, allowed)| Some((u32::try_from(from).ok()?, allowed))).collect(),
            v6: steps(v6, others),
            unix: unix.unwrap_or(others),
        }
    }

    /// Whether a client is let in.
    #[must_use]
    pub fn permits(&self, client: Option<IpAddr>) -> bool {
        match client {
            None => self.unix,
            Some(IpAddr::V4(address)) => at(&self.v4, u32::from(address)),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(mapped) => at(&self.v4, u32::from(mapped)),
                None => at(&self.v6, u128::from(address)),
            },
        }
    }
}

/// What holds at this number; the first step is at 0.
fn at<N: Ord + Copy>(steps: &[(N, bool)], number: N) -> bool {
    let behind = steps.partition_point(|(from, _)| *from <= number);
    behind.checked_sub(1).and_then(|at| steps.get(at)).is_some_and(|(_, allowed)| *allowed)
}

/// A block as numbers: the first and the last one. The order is that in which an address meets them, from the widest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: u128,
    last: u128,
}

impl Part {
    fn of(base: u128, width: u32, bits: u8) -> Self {
        let free = width.saturating_sub(u32::from(bits));
        let below = if free >= 128 { u128::MAX } else { (1 << free) - 1 };
        Self { first: base & !below, last: base | below }
    }
}

/// Blocks lie within each other or apart, so that one sweep with a stack has what holds from where on.
fn steps(mut parts: Vec<(Part, bool)>, others: bool) -> Vec<(u128, bool)> {
    // The wider first; of two that are the same the denial last, which is the one that holds.
    parts.sort_by_key(|(part, allowed)| (part.first, std::cmp::Reverse(part.last), !allowed));
    let mut steps: Vec<(u128, bool)> = Vec::with_capacity(parts.len() / 2 + 1);
    let mut open: Vec<(u128, bool)> = Vec::new();
    let mut push = |from: u128, allowed: bool| match steps.last_mut() {
        // What would hold for no address.
        Some(last) if last.0 == from => last.1 = allowed,
        Some(last) if last.1 == allowed => {}
        _ => steps.push((from, allowed)),
    };
    push(0, others);
    for (part, allowed) in parts {
        close(&mut open, Some(part.first), others, &mut push);
        push(part.first, allowed);
        open.push((part.last, allowed));
    }
    close(&mut open, None, others, &mut push);
    steps.dedup_by_key(|(_, allowed)| *allowed);
    steps
}

/// Ends the blocks that are over before this number, or all.
fn close(
    open: &mut Vec<(u128, bool)>,
    before: Option<u128>,
    others: bool,
    push: &mut impl FnMut(u128, bool),
) {
    while let Some((last, _)) =
        open.last().copied().filter(|(last, _)| before.is_none_or(|next| *last < next))
    {
        open.pop();
        if let Some(after) = last.checked_add(1) {
            push(after, open.last().map_or(others, |(_, allowed)| *allowed));
        }
    }
}

impl Block {
    /// The address alone.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        Self { base: address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// In 17 bytes, as it goes from the master to workers.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        let (base, bits) = match self.base {
            // Where IPv4 addresses are among those of IPv6 (RFC 4291 §2.5.5.2).
            IpAddr::V4(base) => (base.to_ipv6_mapped(), self.bits.saturating_add(96)),
            IpAddr::V6(base) => (base, self.bits),
        };
        if let Some((last, all)) = bytes.split_last_mut() {
            all.copy_from_slice(&base.octets());
            *last = bits;
        }
        bytes
    }

    /// The same back; `None`: it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 17]) -> Option<Self> {
        let (bits, base) = bytes.split_last()?;
        let base = Ipv6Addr::from(<[u8; 16]>::try_from(base).ok()?);
        match base.to_ipv4_mapped() {
            Some(mapped) if *bits >= 96 => Some(Self {
                base: IpAddr::V4(mapped),
                bits: bits.checked_sub(96).filter(|bits| *bits <= 32)?,
            }),
            _ => (*bits <= 128).then_some(Self { base: IpAddr::V6(base), bits: *bits }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        let (base, bits) = text.split_once('/').unwrap();
        Block { base: base.parse().unwrap(), bits: bits.parse().unwrap() }
    }

    fn who(text: &str) -> Who {
        match text {
            "all" => Who::All,
            "unix:" => Who::Unix,
            "@0" => Who::List(0),
            other => Who::Block(block(other)),
        }
    }

    fn table(allow: &[&str], deny: &[&str], list: &[&str]) -> Table {
        let all = |texts: &[&str]| texts.iter().map(|text| who(text)).collect();
        let list: Vec<Block> = list.iter().map(|text| block(text)).collect();
        Table::of(&Access { allow: all(allow), deny: all(deny) }, |_| &list)
    }

    fn lets_in(table: &Table, client: &str) -> bool {
        table.permits((client != "unix").then(|| client.parse().unwrap()))
    }

    #[test]
    fn the_most_specific_network_decides_and_of_the_same_the_denial() {
        let office: (&[&str], &[&str]) = (&["192.0.2.0/24"], &["all"]);
        let exceptions: (&[&str], &[&str]) =
            (&["all", "10.1.2.0/24", "2001:db8:1::/48"], &["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"]);
        let bad: (&[&str], &[&str]) = (&[], &["203.0.113.0/24", "unix:"]);
        let both: (&[&str], &[&str]) = (&["10.0.0.0/8"], &["10.0.0.0/8"]);
        let no_unix: (&[&str], &[&str]) = (&["unix:"], &["all"]);
        for ((allow, deny), client, allowed) in [
            (office, "192.0.2.0", true),
            (office, "192.0.2.255", true),
            (office, "192.0.3.0", false),
            (office, "192.0.1.255", false),
            (office, "::ffff:192.0.2.1", true),
            (office, "2001:db8::1", false),
            (office, "unix", false),
            // Some are let in by name: the others are not.
            ((&["192.0.2.0/24"], &[]), "192.0.3.1", false),
            ((&["192.0.2.0/24"], &[]), "::1", false),
            ((&["192.0.2.0/24"], &[]), "unix", false),
            (exceptions, "10.0.0.1", false),
            (exceptions, "10.1.2.2", true),
            (exceptions, "10.1.2.3", false),
            (exceptions, "10.1.2.4", true),
            (exceptions, "10.1.3.0", false),
            (exceptions, "11.0.0.0", true),
            (exceptions, "9.255.255.255", true),
            (exceptions, "2001:db8:1::5", true),
            (exceptions, "2001:db8:2::5", false),
            (exceptions, "2001:db9::", true),
            (bad, "203.0.113.7", false),
            (bad, "203.0.114.0", true),
            (bad, "unix", false),
            (bad, "::", true),
            (both, "10.0.0.1", false),
            (no_unix, "unix", true),
            (no_unix, "127.0.0.1", false),
            ((&["all"], &["all"]), "127.0.0.1", false),
            ((&[], &["0.0.0.0/0"]), "255.255.255.255", false),
            ((&[], &["0.0.0.0/0"]), "::", true),
            ((&["255.255.255.255/32"], &["::/0"]), "255.255.255.255", true),
            ((&["ffff::/16"], &["all"]), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ] {
            assert_eq!(lets_in(&table(allow, deny, &[]), client), allowed, "{allow:?} {deny:?} {client}");
        }
    }

    #[test]
    fn a_list_stands_for_its_networks() {
        let listed = table(&["@0"], &["all"], &["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32"]);
        assert!(
            lets_in(&listed, "192.0.2.200") && lets_in(&listed, "2001:db8::1") && !lets_in(&listed, "::")
        );
        let empty = table(&["@0"], &[], &[]);
        assert!(!lets_in(&empty, "192.0.2.200"), "an empty list lets nobody in");
        let bad = table(&[], &["@0"], &[]);
        assert!(lets_in(&bad, "192.0.2.200"), "and denies nobody");
    }

    /// What the table says is what a look through all networks says.
    #[test]
    fn it_is_as_a_look_through_all_of_them() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut access = Access::default();
            for _ in 0..random(12) {
                // Close to each other, so that they are within each other.
                let bits = 24 + random(9) as u8;
                let base = 0xC000_0200 | (random(256) as u32) & !(((1u64 << (32 - bits)) - 1) as u32);
                let block = Who::Block(Block { base: IpAddr::V4(base.into()), bits });
                if random(2) == 0 { access.allow.push(block) } else { access.deny.push(block) }
            }
            let table = Table::of(&access, |_| &[]);
            for address in 0xC000_01F0_u32..0xC000_0310 {
                let inside = access.each().filter_map(|(who, allowed)| match who {
                    Who::Block(Block { base: IpAddr::V4(base), bits }) => {
                        let free = 32 - u32::from(*bits);
                        (u64::from(address) >> free == u64::from(u32::from(*base)) >> free)
                            .then_some((*bits, !allowed))
                    }
                    _ => None,
                });
                let wanted = inside.max().map_or(access.allow.is_empty(), |(_, denied)| !denied);
                let client = IpAddr::V4(address.into());
                assert_eq!(table.permits(Some(client)), wanted, "{access:?} {client}");
            }
        }
    }

    #[test]
    fn blocks_go_from_process_to_process() {
        for text in ["0.0.0.0/0", "192.0.2.7/32", "10.0.0.0/8", "::/0", "2001:db8::/32", "::1/128", "::/96"] {
            assert_eq!(Block::from_bytes(&block(text).to_bytes()), Some(block(text)), "{text}");
        }
        assert_eq!(Block::from_bytes(&[255; 17]), None);
    }
}
