//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): nobody without the key finds two inputs with
//! the same number, whatever he sends.

/// Of a number and some bytes.
#[must_use]
pub(crate) fn of(key: [u64; 2], first: u64, bytes: &[u8]) -> u64 {
    let [k0, k1] = key;
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    absorb(&mut state, first);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let length = (bytes.len() as u64).wrapping_add(8);
    absorb(&mut state, u64::from_le_bytes(last) | length << 56);
    let [.., third, _] = &mut state;
    *third ^= 0xff;
    (0..3).for_each(|_| round(&mut state));
    state.into_iter().fold(0, |all, part| all ^ part)
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    let [.., last] = state;
    *last ^= word;
    round(state);
    let [first, ..] = state;
    *first ^= word;
}

#[inline(always)]
fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v3);
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.wrapping_add(*v3);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.wrapping_add(*v1);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher as _};

    #[test]
    fn it_is_the_function_of_the_standard_library_with_a_key() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let mut known = DefaultHasher::new();
            known.write(&77_u64.to_le_bytes());
            known.write(&bytes);
            assert_eq!(of([0, 0], 77, &bytes), known.finish(), "{length}");
        }
    }

    #[test]
    fn each_bit_of_key_and_input_matters() {
        let base = of([1, 2], 3, b"192.0.2.1");
        for other in [
            of([0, 2], 3, b"192.0.2.1"),
            of([1, 3], 3, b"192.0.2.1"),
            of([1, 2], 2, b"192.0.2.1"),
            of([1, 2], 3, b"192.0.2.2"),
            of([1, 2], 3, b"192.0.2."),
            of([1, 2], 3, b"192.0.2.1\0"),
            of([1, 2], 3, b""),
        ] {
            assert_ne!(other, base);
            assert!((16..48).contains(&(other ^ base).count_ones()), "{other:x} {base:x}");
        }
    }
}
