//! A slab: values in reusable places, named by keys that go stale when their value is removed. A stale
//! key gets `None`, so an event for a closed connection can never reach the connection that took its place.

/// Names one value for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The place.
    pub(crate) index: u32,
    /// How often the place has been reused; 28 bits are significant, so that a key fits an event token.
    pub(crate) reuse: u32,
}

const REUSE_MASK: u32 = 0x0fff_ffff;
const NO_FREE: u32 = u32::MAX;

/// Values of type `T`, each under a [`Key`].
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    first_free: u32,
    length: usize,
}

#[derive(Debug)]
struct Entry<T> {
    reuse: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Used(T),
    Free { next: u32 },
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), first_free: NO_FREE, length: 0 }
    }
}

impl<T> Slab<T> {
    /// An empty slab; allocates nothing.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How many values it holds.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Stores a value and returns its key.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Stores the value that `make` builds from its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.length += 1;
        let index = self.first_free;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            let key = Key { index, reuse: entry.reuse };
            if let State::Free { next } = entry.state {
                self.first_free = next;
            }
            entry.state = State::Used(make(key));
            return key;
        }
        let key = Key { index: self.entries.len() as u32, reuse: 0 };
        self.entries.push(Entry { reuse: 0, state: State::Used(make(key)) });
        key
    }

    /// The value, unless the key is stale.
    #[must_use]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(Entry { reuse, state: State::Used(value) }) if *reuse == key.reuse => Some(value),
            _ => None,
        }
    }

    /// The value to change, unless the key is stale.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some(Entry { reuse, state: State::Used(value) }) if *reuse == key.reuse => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; every copy of its key is stale from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let entry = self.entries.get_mut(key.index as usize)?;
        entry.reuse = (entry.reuse + 1) & REUSE_MASK;
        let state = std::mem::replace(&mut entry.state, State::Free { next: self.first_free });
        self.first_free = key.index;
        self.length -= 1;
        match state {
            State::Used(value) => Some(value),
            State::Free { .. } => None,
        }
    }

    /// Every value with its key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.state {
            State::Used(value) => Some((Key { index: index as u32, reuse: entry.reuse }, value)),
            State::Free { .. } => None,
        })
    }

    /// The keys of all values, to walk while changing the slab.
    #[must_use]
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_gets_none_even_after_its_place_was_reused() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn places_are_reused_before_the_slab_grows() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..100).map(|value| slab.insert(value)).collect();
        keys.iter().step_by(2).for_each(|key| assert!(slab.remove(*key).is_some()));
        (0..50).for_each(|value| assert!(slab.insert(value).index < 100));
        assert_eq!((slab.len(), slab.iter().count()), (100, 100));
    }
}
