//! What is typed, as terminals send it (ECMA-48, xterm).

/// What a key means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// An ordinary character.
    Char(char),
}

/// Keys of which a part has come.
#[derive(Debug, Default)]
pub(super) struct Keys {
    rest: Vec<u8>,
}

impl Keys {
    /// Takes what was read; those that are whole now.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((length, key)) = first(&self.rest) {
            keys.extend(key);
            self.rest.drain(..length);
        }
        keys
    }
}

/// The first key and its length; `None` if the end of it is still to come.
fn first(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let (introducer, rest) = match bytes {
        [] | [0x1b] => return None,
        [0x1b, introducer @ (b'[' | b'O'), rest @ ..] => (*introducer, rest),
        // A lone escape, or with Alt.
        [0x1b, ..] => return Some((1, None)),
        [byte, ..] => return Some((1, byte.is_ascii().then_some(Key::Char(char::from(*byte))))),
    };
    let is_final = |byte: &u8| !(0x20..0x40).contains(byte);
    let end = if introducer == b'O' { 0 } else { rest.iter().position(is_final)? };
    let key = match (rest.get(..end)?, rest.get(end)?) {
        ([], b'A') => Some(Key::Up),
        ([], b'B') => Some(Key::Down),
        ([], b'H') | ([b'1' | b'7'], b'~') => Some(Key::Home),
        ([], b'F') | ([b'4' | b'8'], b'~') => Some(Key::End),
        ([b'5'], b'~') => Some(Key::PageUp),
        ([b'6'], b'~') => Some(Key::PageDown),
        _ => None,
    };
    Some((2 + end + 1, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_depend_on_how_they_arrive() {
        let typed = b"q\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[1;5C\x1bx\xc3\xa9\x1b[200~j\x1b";
        let expected = [
            Key::Char('q'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::PageDown,
            Key::Home,
            Key::End,
            Key::Char('x'),
            Key::Char('j'),
        ];
        for piece in [typed.len(), 1, 2, 3] {
            let mut keys = Keys::default();
            let typed: Vec<Key> = typed.chunks(piece).flat_map(|bytes| keys.feed(bytes)).collect();
            assert_eq!(typed, expected, "{piece}");
            assert_eq!(keys.rest, b"\x1b");
        }
    }
}
