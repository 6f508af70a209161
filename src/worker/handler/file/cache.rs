//! A bounded cache: names to values, at most so many entries and bytes. Pure.
//!
//! What has to go is found by a clock: entries stand in a ring, being asked for marks an entry, the hand takes the mark
//! off once and evicts at the second visit. An entry begins without a mark, so that names asked for only once (somebody
//! tries a list of them) push each other out and not what is asked for all the time.

use crate::slab::{Key, Slab};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub(super) struct Cache<T> {
    slots: Slab<Slot<T>>,
    names: HashMap<Box<[u8]>, Key>,
    /// Every living entry once; keys of removed ones are passed over.
    ring: VecDeque<Key>,
    bytes: usize,
    most_entries: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    value: Rc<T>,
    name: Box<[u8]>,
    bytes: usize,
    used: Cell<bool>,
}

impl<T> Cache<T> {
    /// Without entries it keeps nothing.
    pub(super) fn new(most_entries: usize, most_bytes: usize) -> Self {
        Self {
            slots: Slab::new(),
            names: HashMap::new(),
            ring: VecDeque::new(),
            bytes: 0,
            most_entries,
            most_bytes,
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<(Key, &Rc<T>)> {
        let key = *self.names.get(name)?;
        let slot = self.slots.get(key)?;
        slot.used.set(true);
        Some((key, &slot.value))
    }

    pub(super) fn is_live(&self, key: Key) -> bool {
        self.slots.get(key).is_some()
    }

    /// Whether a value of so many bytes is worth a place: one never takes more than an eighth.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.most_entries > 0 && bytes <= (self.most_bytes / 8) as u64
    }

    /// Puts a value in, in the place of one of that name; `None` if it is too large.
    pub(super) fn insert(&mut self, name: &[u8], value: Rc<T>, bytes: usize) -> Option<Key> {
        if let Some(old) = self.names.get(name) {
            self.remove(*old);
        }
        if !self.has_room_for(bytes as u64) {
            return None;
        }
        while self.slots.len() >= self.most_entries || self.bytes.saturating_add(bytes) > self.most_bytes {
            self.evict();
        }
        let name: Box<[u8]> = name.into();
        let slot = Slot { value, name: name.clone(), bytes, used: Cell::new(false) };
        let key = self.slots.insert(slot);
        self.names.insert(name, key);
        self.bytes += bytes;
        if self.ring.len() >= 2 * self.most_entries {
            let slots = &self.slots;
            self.ring.retain(|key| slots.get(*key).is_some());
        }
        self.ring.push_back(key);
        Some(key)
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(slot) = self.slots.remove(key) {
            self.names.remove(&slot.name);
            self.bytes -= slot.bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most_entries, self.most_bytes);
    }

    fn evict(&mut self) {
        while let Some(key) = self.ring.pop_front() {
            match self.slots.get(key) {
                Some(slot) if slot.used.replace(false) => self.ring.push_back(key),
                Some(_) => return self.remove(key),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes() {
        let mut cache = Cache::new(8, 80_000);
        for hot in [b"a", b"b"] {
            cache.insert(hot, Rc::new(1), 1000);
        }
        for number in 0..1000_u32 {
            cache.insert(&number.to_ne_bytes(), Rc::new(2), 1000);
            for hot in [b"a", b"b"] {
                assert!(cache.get(hot).is_some(), "{number}");
            }
            assert!(cache.slots.len() <= 8 && cache.ring.len() <= 16);
        }
        assert_eq!(cache.slots.len(), 8);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let mut cache = Cache::new(1000, 8000);
        for number in 0..100_u32 {
            cache.insert(&number.to_ne_bytes(), Rc::new(()), 500);
            assert!(cache.bytes <= 8000);
        }
        assert_eq!((cache.slots.len(), cache.bytes), (16, 8000));
        assert!(cache.insert(b"large", Rc::new(()), 1001).is_none());
        let (key, _) = cache.get(&99_u32.to_ne_bytes()).unwrap();
        cache.remove(key);
        cache.remove(key);
        assert!(!cache.is_live(key));
        assert_eq!((cache.slots.len(), cache.bytes), (15, 7500));
        cache.clear();
        assert_eq!((cache.slots.len(), cache.bytes, cache.names.len()), (0, 0, 0));
    }

    #[test]
    fn a_name_has_one_value() {
        let mut cache = Cache::new(4, 800);
        let old = cache.insert(b"a", Rc::new(1), 10).unwrap();
        let new = cache.insert(b"a", Rc::new(2), 20).unwrap();
        assert!(old != new && !cache.is_live(old));
        assert_eq!((**cache.get(b"a").unwrap().1, cache.bytes), (2, 20));
        assert!(Cache::new(0, 800).insert(b"a", Rc::new(1), 1).is_none());
    }

    #[test]
    fn churn_of_one_name_keeps_the_ring_short() {
        let mut cache = Cache::new(4, 800);
        for _ in 0..1000 {
            cache.insert(b"a", Rc::new(1), 10);
            assert!(cache.ring.len() <= 8);
        }
    }
}
