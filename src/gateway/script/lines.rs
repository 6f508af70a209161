//! What a script says on its standard error, in lines.

/// Bytes of a line that are kept until it ends; a longer one is told in pieces.
const LONGEST: usize = 8 * 1024;

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes, and gives the lines that they complete, without their ends and those that are empty.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, more) = rest.split_at(end);
            rest = more.get(1..).unwrap_or_default();
            self.0.extend_from_slice(line);
            self.finish(&mut each);
        }
        for piece in rest.chunks(LONGEST) {
            self.0.extend_from_slice(piece);
            if self.0.len() >= LONGEST {
                self.finish(&mut each);
            }
        }
    }

    /// Gives what has come of a line without an end.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        for line in self.0.trim_ascii_end().chunks(LONGEST) {
            each(line);
        }
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line| all.push(line.to_vec()));
            assert!(lines.0.len() < LONGEST, "what is kept is bounded");
        }
        lines.finish(|line| all.push(line.to_vec()));
        all
    }

    #[test]
    fn lines_come_whole_whatever_they_are_cut_into() {
        let text = b"one\ntwo\r\n\n\nthree";
        assert_eq!(lines(&[text]), [&b"one"[..], b"two", b"three"]);
        assert_eq!(lines(&[text]), lines(&text.chunks(1).collect::<Vec<_>>()));
    }

    #[test]
    fn a_line_without_an_end_is_told_in_pieces() {
        let long = vec![b'x'; 3 * LONGEST + 5];
        for pieces in [vec![&long[..]], long.chunks(1000).collect()] {
            let all = lines(&pieces);
            assert!(all.len() > 3 && all.iter().all(|line| line.len() <= LONGEST));
            assert_eq!(all.concat(), long);
        }
    }
}
