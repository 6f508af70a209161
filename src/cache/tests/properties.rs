//! What holds of all heads, and of bytes that are none; with a generator of fixed seed.

use super::*;
use crate::cache::stored::Life;
use crate::cache::vary;
use crate::http::Status;

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Short ones and long ones.
    fn number(&mut self) -> u64 {
        let bits = self.below(64);
        self.below(1 << 62) >> bits
    }

    fn text(&mut self, most: u64, from: &[u8]) -> Vec<u8> {
        (0..self.below(most)).map(|_| from[self.below(from.len() as u64) as usize]).collect()
    }

    fn head(&mut self) -> Head {
        let mut fields = Fields::new();
        for _ in 0..self.below(12) {
            let name = [b"X".to_vec(), self.text(12, b"abcXYZ-_09")].concat();
            fields.add(name, self.text(40, b" abc\t,;=\"\xe9\xff"));
        }
        let mut tags: Vec<u64> = (0..self.below(5)).map(|_| self.number()).collect();
        tags.sort_unstable();
        let reason = self.text(9, b"OK Fine").into_boxed_slice();
        Head {
            status: Status(200 + self.below(800) as u16),
            reason: (self.below(2) == 0).then_some(reason),
            fields,
            life: self.life(),
            tags,
        }
    }

    fn life(&mut self) -> Life {
        let is = |random: &mut Self| random.below(2) == 0;
        Life {
            date: self.number() as i64 - 1000,
            received: self.number(),
            age: self.number(),
            lifetime: self.number(),
            while_revalidate: self.number(),
            if_error: self.number(),
            always_validate: is(self),
            never_stale: is(self),
            for_authorized: is(self),
        }
    }
}

#[test]
fn a_head_is_read_as_it_was_kept() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2000 {
        let head = random.head();
        assert_eq!(Head::decode(&head.encode()).as_ref(), Some(&head));
    }
}

#[test]
fn what_is_no_head_is_none_and_what_is_taken_for_one_can_be_sent() {
    let mut random = Random(77);
    for _ in 0..2000 {
        let mut bytes = random.head().encode();
        let length = bytes.len() as u64;
        match random.below(3) {
            0 => bytes.truncate(random.below(length) as usize),
            1 => bytes = random.text(300, &(0..=255).collect::<Vec<u8>>()),
            _ => bytes[random.below(length) as usize] = random.below(256) as u8,
        }
        let Some(head) = Head::decode(&bytes) else { continue };
        assert_eq!(Head::decode(&head.encode()).as_ref(), Some(&head));
        let can_be_sent =
            |(name, value)| crate::http::fields::is_name(name) && crate::http::fields::is_value(value);
        assert!(head.fields.iter().all(can_be_sent));
    }
    // No prefix of one is one.
    let whole = random.head().encode();
    assert!((0..whole.len()).all(|length| Head::decode(&whole[..length]).is_none()));
    assert!(Head::decode(&[whole, vec![0]].concat()).is_none());
}

#[test]
fn a_field_that_would_split_the_response_is_not_read() {
    let mut head = stored_head();
    head.fields.add("X-A", "b");
    let good = head.encode();
    for (from, to) in
        [("X-A: b\r\n", "X-A: \n\r\n"), ("X-A: b\r\n", "X A: b\r\n"), ("X-A: b\r\n", "X-A:\0b\r\n")]
    {
        let at = good.windows(from.len()).position(|here| here == from.as_bytes()).unwrap();
        let mut bad = good.clone();
        bad[at..at + from.len()].copy_from_slice(to.as_bytes());
        assert!(Head::decode(&good).is_some() && Head::decode(&bad).is_none(), "{to:?}");
    }
}

fn stored_head() -> Head {
    stored("200 | Cache-Control: max-age=60", "")
}

#[test]
fn a_marker_is_read_as_it_was_kept_and_what_is_none_is_not() {
    let names = vary::Names::of(&response_of("200 | Vary: Cookie, Accept").fields).unwrap();
    let marker = Marker::new(names, u64::MAX);
    let bytes = marker.encode();
    assert_eq!(Marker::decode(&bytes), Some(marker));
    assert!((0..bytes.len()).all(|length| {
        Marker::decode(&bytes[..length]).is_none_or(|less| length == 16 && less.seed() == u64::MAX)
    }));
    let mut random = Random(5);
    for _ in 0..2000 {
        let mut bytes = bytes.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.below(256) as u8;
        if let Some(marker) = Marker::decode(&bytes) {
            assert_eq!(Marker::decode(&marker.encode()), Some(marker));
        }
    }
}

/// What is not fresh does not become so by waiting, and what may not be sent stale does not either.
#[test]
fn nothing_gets_better_with_time() {
    fn rank(used: Use) -> u8 {
        match used {
            Use::Fresh => 0,
            Use::Stale { .. } => 1,
            Use::Forward(_) | Use::Refuse => 2,
        }
    }
    let mut random = Random(3);
    let requests = [
        "",
        "GET | Cache-Control: max-stale=1000",
        "GET | Cache-Control: max-age=500, min-fresh=5",
        "GET | Authorization: x",
    ];
    for _ in 0..5000 {
        let life = random.life();
        let request = request_of(requests[random.below(4) as usize]);
        let asked = asked(&request, BodyLength::None, &settings_of("client=honour").0).unwrap();
        let early = life.received.saturating_add(random.number());
        let late = early.saturating_add(random.number());
        let (before, after) = (judge(&asked, &life, early), judge(&asked, &life, late));
        assert!(rank(before) <= rank(after), "{life:?}: {before:?} at {early}, {after:?} at {late}");
        assert!(life.ttl(early) >= life.ttl(late) && life.age(early) <= life.age(late), "{life:?}");
        if late > life.end() {
            let asked = Default::default();
            assert_eq!(rank(judge(&asked, &life, late)), 2, "{life:?} at {late}");
            assert!(!crate::cache::reuse::on_error(&asked, &life, None, late), "{life:?} at {late}");
        }
    }
}

#[test]
fn a_clock_that_was_put_back_makes_nothing_young() {
    let life = stored_head().life;
    let asked = Default::default();
    assert_eq!(judge(&asked, &life, life.received - 1500), Use::Fresh, "by as little as clocks differ");
    let back = life.received - 3600 * SECOND;
    assert_eq!(judge(&asked, &life, back), Use::Forward(Forward::Stale));
    assert!(!crate::cache::reuse::on_error(&asked, &life, None, back));
}
