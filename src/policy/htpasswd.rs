//! Who may log in, as `htpasswd` writes it: a line `user:hash` for each.

use super::password::{Hash, Unfit};
use std::collections::HashMap;
use std::sync::Arc;

/// The users of a file.
#[derive(Debug, Default)]
pub struct Users {
    /// By name: which of the hashes.
    names: HashMap<Box<[u8]>, usize>,
    hashes: Vec<Arc<Hash>>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has no colon, or no name before it.
    NoUser,
    /// The user is in a line before, too.
    Twice(String),
    /// It is no text.
    NoText,
    /// The hash of this user is of no use.
    Unfit(String, Unfit),
}

impl Users {
    /// Those in this text.
    ///
    /// # Errors
    /// The number of a line, from 1, and what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, (usize, Wrong)> {
        let mut users = Self::default();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.trim_ascii().is_empty() && !line.starts_with(b"#") {
                users.add(line).map_err(|wrong| (number + 1, wrong))?;
            }
        }
        Ok(users)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let line = std::str::from_utf8(line).map_err(|_| Wrong::NoText)?;
        let (name, rest) = line.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(Wrong::NoUser)?;
        // What follows the hash is a remark.
        let text = rest.split(':').next().unwrap_or_default().trim_ascii();
        let hash = Hash::parse(text).map_err(|unfit| Wrong::Unfit(name.to_owned(), unfit))?;
        if self.names.insert(name.as_bytes().into(), self.hashes.len()).is_some() {
            return Err(Wrong::Twice(name.to_owned()));
        }
        self.hashes.push(Arc::new(hash));
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash to compare the password of this user with; second: whether it counts. For somebody who is not there it is that
    /// of another, chosen by `random`, so that it takes as long.
    #[must_use]
    pub fn hash_of(&self, name: &[u8], random: u64) -> Option<(Arc<Hash>, bool)> {
        let known = self.names.get(name).copied();
        let count = u64::try_from(self.hashes.len()).ok().filter(|count| *count > 0)?;
        let at = known.or_else(|| usize::try_from(random % count).ok())?;
        Some((Arc::clone(self.hashes.get(at)?), known.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "alice:$2y$05$SUB6tEkW57tm2w3UOtoAQeW1FQP/P2J5pC8A3A/PkpNU5Al2mdWN2";
    const BOB: &str = "b\u{f6}b x:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.";

    #[test]
    fn each_line_is_a_user_and_who_is_not_there_has_the_hash_of_another() {
        let text = format!("# ours\n\n{ALICE}:a remark\r\n  \n{BOB}\n");
        let users = Users::parse(text.as_bytes()).unwrap();
        assert!(users.len() == 2 && !users.is_empty());
        let (hash, counts) = users.hash_of("b\u{f6}b x".as_bytes(), 0).unwrap();
        assert!(counts && hash.is_of(b"secret"));
        for random in 0..4 {
            let (hash, counts) = users.hash_of(b"carol", random).unwrap();
            assert!(!counts && hash.is_of(b"secret"));
        }
        let (first, second) = (users.hash_of(b"carol", 0).unwrap().0, users.hash_of(b"carol", 1).unwrap().0);
        assert!(!Arc::ptr_eq(&first, &second), "each kind of the file is seen");
        assert!(users.hash_of(b"Alice", 2).is_some_and(|(_, counts)| !counts), "case counts");
        assert!(Users::default().hash_of(b"alice", 0).is_none());
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (line, wrong) in [
            ("alice".as_bytes(), Wrong::NoUser),
            (b":$5$", Wrong::NoUser),
            (ALICE.as_bytes(), Wrong::Twice("alice".to_owned())),
            (b"x\xff:y", Wrong::NoText),
            (b"bob:secret", Wrong::Unfit("bob".to_owned(), Unfit::Plain)),
            (b"bob:", Wrong::Unfit("bob".to_owned(), Unfit::Plain)),
        ] {
            let text = [ALICE.as_bytes(), b"\n# x\n", line].concat();
            assert_eq!(Users::parse(&text).err(), Some((3, wrong)));
        }
    }
}
