//! UTF-8 that comes in parts, which may end within a character.

use std::str;

/// Judges a text part by part: a part that no character can begin or go on with is found at once, though more is to come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character, of which the rest is to come.
    begun: [u8; 4],
    /// How many bytes of it are there.
    len: u8,
}

impl Utf8 {
    /// Takes the next part; whether the text can still be one.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let Some((first, rest)) = bytes.split_first() else { return true };
            let Some(place) = self.begun.get_mut(usize::from(self.len)) else { return false };
            *place = *first;
            self.len += 1;
            bytes = rest;
            match str::from_utf8(self.begun.get(..self.len.into()).unwrap_or_default()) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = str::from_utf8(bytes) else { return true };
        let begun = bytes.get(error.valid_up_to()..).unwrap_or_default();
        self.begun.iter_mut().zip(begun).for_each(|(place, byte)| *place = *byte);
        // What has no end yet is shorter than a character.
        self.len = u8::try_from(begun.len()).unwrap_or(u8::MAX);
        error.error_len().is_none()
    }

    /// Whether the text may end here; another begins.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(&mut self.len) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(bytes: &[u8], part: usize) -> bool {
        let mut text = Utf8::default();
        bytes.chunks(part).all(|part| text.feed(part)) && text.end()
    }

    #[test]
    fn a_text_is_one_wherever_its_parts_end() {
        for text in
            ["", "a", "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}", "κόσμε"]
        {
            (1..6).for_each(|part| assert!(judge(text.as_bytes(), part), "{text:?} in parts of {part}"));
        }
        let wrong: [&[u8]; 11] = [
            b"\x80",
            b"a\xc3",
            b"\xc0\x80",
            b"\xc3(",
            b"\xed\xa0\x80",
            b"\xe0\x80\x80",
            b"\xf4\x90\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf0\x9f\x98",
            b"\xff",
            b"\xf8\x88\x80\x80\x80",
        ];
        for bytes in wrong {
            (1..6).for_each(|part| assert!(!judge(bytes, part), "{bytes:x?} in parts of {part}"));
        }
    }

    #[test]
    fn what_cannot_go_on_is_found_at_once() {
        let mut text = Utf8::default();
        assert!(text.feed(b"\xed"));
        assert!(!text.feed(b"\xa0"), "the beginning of a surrogate");
    }

    #[test]
    fn a_text_after_one_that_broke_off_begins_anew() {
        let mut text = Utf8::default();
        assert!(text.feed(b"\xc3") && !text.end());
        assert!(text.feed(b"a") && text.end());
    }
}
