//! Names that an app gives to what its responses show, so that all that show it can be purged at once: `Cache-Tag: a, b` and
//! `Surrogate-Key: a b`. Case counts. They are kept as hashes.

use super::hash::Secret;
use crate::http::Names;

/// A response with more of them is not kept: one that did not know all of them could not be purged by the others.
const MOST: usize = 256;

/// The fields.
pub(crate) const FIELDS: Names = Names::new(&["cache-tag", "surrogate-key"]);

/// The hash of a tag.
#[must_use]
pub fn hash(tag: &[u8], secret: Secret) -> u64 {
    // Keys of requests are hashed with the same secret, but none is told from a tag by its hash alone.
    secret.hash(tag) as u64
}

/// The hashes of the tags that these fields name, sorted; `None`: they are too many.
#[must_use]
pub fn of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, secret: Secret) -> Option<Vec<u64>> {
    let mut tags = Vec::new();
    for (name, value) in fields.filter(|(name, _)| FIELDS.has(name)) {
        let is_listed = name.len() == "cache-tag".len();
        let ends = |byte: &u8| if is_listed { *byte == b',' } else { byte.is_ascii_whitespace() };
        let words = value.split(ends).map(<[u8]>::trim_ascii).filter(|word| !word.is_empty());
        tags.extend(words.take(MOST + 1).map(|word| hash(word, secret)));
        if tags.len() > MOST {
            return None;
        }
    }
    tags.sort_unstable();
    tags.dedup();
    Some(tags)
}
