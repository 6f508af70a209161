//! Purges. What is to go is written into a ring by the master, its only writer: a *ban*, by a number that rises by one. An
//! object carries the number that the last ban had when its fetch began, so a look at one word says for nearly all of them
//! that there is none to be compared with. A ban holds at once for all workers, also for what is being fetched.
//!
//! Who comes to an object that is older than all bans of the ring takes it for banned.

use super::layout::{self, BAN, BANS, WORD};
use super::view::View;
use std::sync::atomic::Ordering::SeqCst;

/// Bytes of the texts of a ban: more is cut off, and so bans more.
pub(super) const LONGEST: usize = (BAN - TEXT) * WORD;
/// Words before the texts: number, what and lengths, tag.
const TEXT: usize = 3;

/// Which part of the URL is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Url<'a> {
    /// None.
    Any,
    /// All of it.
    Is(&'a [u8]),
    /// Its beginning.
    Begins(&'a [u8]),
}

/// What is purged: what all of this is true of. A key is lines: the site, the URL, and what else is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban<'a> {
    /// `None`: of all sites.
    pub site: Option<&'a [u8]>,
    /// Which URLs.
    pub url: Url<'a>,
    /// One that the object has. `None`: whichever it has.
    pub tag: Option<u64>,
}

impl Ban<'_> {
    /// Everything.
    pub const ALL: Ban<'static> = Ban { site: None, url: Url::Any, tag: None };

    fn is_of(&self, key: &[u8], mut tags: impl Iterator<Item = u64>) -> bool {
        let mut lines = key.split(|byte| *byte == b'\n');
        let (site, url) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let of_url = match self.url {
            Url::Any => true,
            Url::Is(text) => url == text,
            Url::Begins(text) => url.starts_with(text),
        };
        of_url
            && self.site.is_none_or(|own| own == site)
            && self.tag.is_none_or(|tag| tags.any(|own| own == tag))
    }
}

impl View<'_> {
    /// The number of the last ban: what is fetched from now on is newer.
    #[must_use]
    pub fn last_ban(&self) -> u64 {
        self.read(layout::NEXT_BAN)
    }

    /// Up to which ban an object of that key, whose fetch began after the ban of number `since`, was not purged. `None`: it
    /// was.
    pub fn unbanned<T: Iterator<Item = u64>>(
        &self,
        key: &[u8],
        since: u64,
        tags: impl Fn() -> T,
    ) -> Option<u64> {
        let last = self.last_ban();
        if since == last {
            return Some(last);
        }
        // Also what comes from the future.
        if last.wrapping_sub(since) > BANS as u64 {
            return None;
        }
        let is_banned = |number| self.ban(number, |ban| ban.is_of(key, tags())).unwrap_or(true);
        (!(since..last).any(is_banned)).then_some(last)
    }

    /// Looks at a ban; `None`: it is not there any more.
    fn ban<T>(&self, number: u64, look: impl FnOnce(&Ban<'_>) -> T) -> Option<T> {
        let first = layout::ban(number);
        let (name, what, tag) = (self.read(first), self.read(first + 1), self.read(first + 2));
        let lengths = [what >> 16 & 0xffff, what >> 32 & 0xffff].map(|length| length as usize);
        let all = lengths.iter().sum::<usize>().min(LONGEST);
        let mut text = Vec::with_capacity(all.next_multiple_of(WORD));
        for at in 0..all.div_ceil(WORD) {
            text.extend_from_slice(&self.read(first + TEXT + at).to_le_bytes());
        }
        text.truncate(all);
        if name != number.wrapping_add(1) || self.read(first) != name {
            return None;
        }
        let (site, url) = text.split_at_checked(lengths[0])?;
        let url = match what >> 1 & 3 {
            0 => Url::Any,
            1 => Url::Is(url),
            _ => Url::Begins(url),
        };
        let ban =
            Ban { site: (what & 1 == 1).then_some(site), url, tag: (what >> 3 & 1 == 1).then_some(tag) };
        Some(look(&ban))
    }

    /// Writes a ban, by the master.
    pub(super) fn write_ban(&self, ban: &Ban<'_>) {
        let number = self.last_ban();
        let first = layout::ban(number);
        let set = |at: usize, value: u64| {
            if let Some(word) = self.all().get(at) {
                word.store(value, SeqCst);
            }
        };
        let site = ban.site.unwrap_or_default();
        let (kind, url) = match ban.url {
            Url::Any => (0, &[][..]),
            Url::Is(text) => (1, text),
            Url::Begins(text) => (2, text),
        };
        // A site that is too long is that of nobody, or of all; the beginning of a URL bans it, too.
        let (site, has_site) =
            if site.len() <= LONGEST / 2 { (site, ban.site.is_some()) } else { (&[][..], false) };
        let room = LONGEST - site.len();
        let (kind, url) =
            if url.len() <= room { (kind, url) } else { (2, url.get(..room).unwrap_or_default()) };
        set(first, 0);
        let lengths = (site.len() as u64) << 16 | (url.len() as u64) << 32;
        set(first + 1, u64::from(has_site) | kind << 1 | u64::from(ban.tag.is_some()) << 3 | lengths);
        set(first + 2, ban.tag.unwrap_or(0));
        let text = [site, url].concat();
        for (at, piece) in text.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word.iter_mut().zip(piece).for_each(|(place, byte)| *place = *byte);
            set(first + TEXT + at, u64::from_le_bytes(word));
        }
        set(first, number.wrapping_add(1));
        set(layout::NEXT_BAN, number.wrapping_add(1));
    }

    /// The words of all bans that are there, as bytes, for a file.
    pub(super) fn bans_as_bytes(&self) -> Vec<u8> {
        let last = self.last_ban();
        let mut bytes = last.to_le_bytes().to_vec();
        for number in last.saturating_sub(BANS as u64)..last {
            let words = layout::ban(number)..layout::ban(number) + BAN;
            words.for_each(|at| bytes.extend_from_slice(&self.read(at).to_le_bytes()));
        }
        bytes
    }

    /// Puts them back. What is not whole bans all that is older.
    pub(super) fn restore_bans(&self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(WORD).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        // A number near the end would come to an end.
        let last = words.next().unwrap_or(0).min(u64::MAX / 2);
        let set = |at: usize, value: u64| {
            if let Some(word) = self.all().get(at) {
                word.store(value, SeqCst);
            }
        };
        for number in last.saturating_sub(BANS as u64)..last {
            let first = layout::ban(number);
            (first..first + BAN).zip(words.by_ref()).for_each(|(at, word)| set(at, word));
        }
        set(layout::NEXT_BAN, last);
    }
}
