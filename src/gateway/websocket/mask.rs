//! The mask over what a client sends (RFC 6455 §5.3).

/// Four bytes, from the one on that belongs to the next byte of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask(pub(super) [u8; 4]);

impl Mask {
    /// Takes it off the next bytes of the payload, eight at once.
    pub(super) fn take_off(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(mask.to_ne_bytes()) {
            *byte ^= mask;
        }
        self.0.rotate_left(bytes.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_goes_on_wherever_a_part_ended() {
        let payload: Vec<u8> = (0..=255).cycle().take(300).collect();
        let masked: Vec<u8> =
            payload.iter().zip([1, 2, 4, 0x80].into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for length in 1..40 {
            let mut mask = Mask([1, 2, 4, 0x80]);
            let mut bytes = masked.clone();
            bytes.chunks_mut(length).for_each(|part| mask.take_off(part));
            assert_eq!(bytes, payload, "in parts of {length}");
        }
    }
}
