//! SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) with a result of 128 bits: a hash with a secret, so
//! that nobody outside can choose requests whose keys fall together.

/// The secret. Whoever made the store keeps it: another one finds nothing again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Secret(pub [u64; 2]);

/// Rounds for each word: what it costs.
const EACH: usize = 1;
/// Rounds at the end.
const LAST: usize = 3;

impl Secret {
    /// The hash of a text.
    #[must_use]
    pub fn hash(self, text: &[u8]) -> u128 {
        siphash::<EACH, LAST>(self.0, text)
    }
}

fn siphash<const EACH: usize, const LAST: usize>(secret: [u64; 2], text: &[u8]) -> u128 {
    let [low, high] = secret;
    let mut state = State([
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        state.take::<EACH>(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    last[7] = text.len() as u8;
    state.take::<EACH>(u64::from_le_bytes(last));
    state.0[2] ^= 0xee;
    let first = state.end::<LAST>();
    state.0[1] ^= 0xdd;
    let second = state.end::<LAST>();
    u128::from(second) << 64 | u128::from(first)
}

struct State([u64; 4]);

impl State {
    fn take<const ROUNDS: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        (0..ROUNDS).for_each(|_| self.round());
        self.0[0] ^= word;
    }

    fn end<const ROUNDS: usize>(&mut self) -> u64 {
        (0..ROUNDS).for_each(|_| self.round());
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that come with the reference implementation: the secret is 0, 1, 2…, and so is the text.
    #[test]
    fn it_is_siphash_of_128_bits() {
        let secret = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let hash = |text: &[u8]| siphash::<2, 4>(secret, text).to_le_bytes();
        let hex = |bytes: [u8; 16]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(hash(&[])), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(hash(&[0])), "da87c1d86b99af44347659119b22fc45");
    }

    #[test]
    fn secret_text_and_length_all_count() {
        let secret = Secret([1, 2]);
        let texts: Vec<Vec<u8>> = (0..40).map(|length| vec![0; length]).collect();
        let mut hashes: Vec<_> = texts.iter().map(|text| secret.hash(text)).collect();
        hashes.extend(texts.iter().map(|text| Secret([1, 3]).hash(text)));
        hashes.push(secret.hash(b"\x01"));
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }
}
