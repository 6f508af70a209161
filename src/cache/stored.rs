//! The head of a response as it is kept: what is sent again, and what is asked about it. [`Head::decode`] takes bytes of
//! whoever could write where they are kept, so it believes nothing: what it gives is a head that can be sent, or none.

use super::fresh::{seconds, single_date};
use super::{Millis, SECOND, status};
use crate::http::fields::{is_name, is_value};
use crate::http::{Fields, Span, Status};

/// What is kept of a response beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: Status,
    /// A reason phrase other than the registered one.
    pub reason: Option<Box<[u8]>>,
    /// The fields that are sent again; `Age`, `Date` and our `Cache-Status` are not among them.
    pub fields: Fields,
    /// How long it is good for what.
    pub life: Life,
    /// Hashes of its tags, sorted.
    pub tags: Vec<u64>,
}

/// How long a response is good for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it was made, in seconds since the epoch: its `Date`, or else when it was received.
    pub date: i64,
    /// When it was received, or was last found to be right.
    pub received: Millis,
    /// How old it was then.
    pub age: Millis,
    /// How long it is fresh, counted from when it was made.
    pub lifetime: Millis,
    /// How long after that it may answer while it is fetched anew.
    pub while_revalidate: Millis,
    /// How long after that it may answer in the place of an error.
    pub if_error: Millis,
    /// It answers nobody before the app or upstream was asked (`no-cache`).
    pub always_validate: bool,
    /// It answers nobody after its time, whoever wants it (`must-revalidate`, `proxy-revalidate`, `s-maxage`).
    pub never_stale: bool,
    /// It may answer who comes with `Authorization` (RFC 9111 §3.5).
    pub for_authorized: bool,
}

/// A clock that was put back may be so far behind what it said before.
const STEP: Millis = 2 * SECOND;

impl Life {
    /// How old the response is (RFC 9111 §4.2.3). If the clock stands before the time at which it came, nobody knows; it counts
    /// as too old for anything.
    #[must_use]
    pub fn age(&self, now: Millis) -> Millis {
        if now.saturating_add(STEP) < self.received {
            return Millis::MAX;
        }
        self.age.saturating_add(now.saturating_sub(self.received))
    }

    /// Whether its time is not over.
    #[must_use]
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.lifetime > self.age(now)
    }

    /// How long its time has been over.
    #[must_use]
    pub fn staleness(&self, now: Millis) -> Millis {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Seconds until its time is over; negative: since then.
    #[must_use]
    pub fn ttl(&self, now: Millis) -> i64 {
        status::ttl(self.lifetime, self.age(now))
    }

    /// When it is of no use any more unless it is validated: later than that nobody is answered with it, whatever happens.
    #[must_use]
    pub fn end(&self) -> Millis {
        let left = self.lifetime.saturating_sub(self.age);
        self.received.saturating_add(left).saturating_add(self.while_revalidate.max(self.if_error))
    }
}

impl Head {
    /// Its entity tag.
    #[must_use]
    pub fn etag(&self) -> Option<&[u8]> {
        self.fields.get("etag")
    }

    /// `Last-Modified`, in seconds since the epoch.
    #[must_use]
    pub fn modified(&self) -> Option<i64> {
        single_date(&self.fields, "last-modified", seconds(self.life.received))
    }

    /// Whether it can be asked for if it is still right.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        self.etag().is_some() || self.modified().is_some()
    }

    /// Whether it has this tag, by its hash.
    #[must_use]
    pub fn is_tagged(&self, tag: u64) -> bool {
        self.tags.binary_search(&tag).is_ok()
    }

    /// As it is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(512);
        self.fields.write(&mut lines, |_| true);
        let reason = self.reason.as_deref().unwrap_or_default();
        let count = self.fields.iter().count();
        let mut out = Vec::with_capacity(FIXED + lines.len() + reason.len() + 8 * (self.tags.len() + count));
        let Life { always_validate, never_stale, for_authorized, .. } = self.life;
        let flags = u8::from(always_validate)
            | u8::from(never_stale) << 1
            | u8::from(for_authorized) << 2
            | u8::from(self.reason.is_some()) << 3;
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&self.status.0.to_le_bytes());
        for count in [count, self.tags.len(), reason.len()] {
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(&self.life.date.to_le_bytes());
        let Life { received, age, lifetime, while_revalidate, if_error, .. } = self.life;
        for number in [received, age, lifetime, while_revalidate, if_error] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (name, value) in self.fields.iter() {
            for length in [name.len(), value.len()] {
                out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        self.tags.iter().for_each(|tag| out.extend_from_slice(&tag.to_le_bytes()));
        out.extend_from_slice(reason);
        out.extend_from_slice(&lines);
        out
    }

    /// Reads one; `None`: it is none, or of another version of this program.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [version, flags] = reader.take()?;
        if version != VERSION || flags >> 4 != 0 {
            return None;
        }
        let status = Status(u16::from_le_bytes(reader.take()?));
        let (count, tags, reason) = (reader.length()?, reader.length()?, reader.length()?);
        let life = Life {
            date: i64::from_le_bytes(reader.take()?),
            received: reader.number()?,
            age: reader.number()?,
            lifetime: reader.number()?,
            while_revalidate: reader.number()?,
            if_error: reader.number()?,
            always_validate: flags & 1 != 0,
            never_stale: flags & 2 != 0,
            for_authorized: flags & 4 != 0,
        };
        let table = reader.bytes(count.checked_mul(8)?)?;
        let tags = reader.bytes(tags.checked_mul(8)?)?.as_chunks().0.iter();
        let tags: Vec<u64> = tags.map(|tag| u64::from_le_bytes(*tag)).collect();
        let reason = reader.bytes(reason)?;
        let has_reason = flags & 8 != 0;
        let is_good = (200..=999).contains(&status.0)
            && tags.is_sorted()
            && is_value(reason)
            && (has_reason || reason.is_empty());
        let fields = fields(table, reader.0).filter(|_| is_good)?;
        Some(Self { status, reason: has_reason.then(|| reason.into()), fields, life, tags })
    }
}

const VERSION: u8 = 1;
/// Bytes before the first that there may be any number of.
const FIXED: usize = 2 + 2 + 3 * 4 + 6 * 8;
/// More fields than a response has.
const MOST_FIELDS: usize = 4096;

/// The fields in these lines, if the table says right where they are and each can be sent.
fn fields(table: &[u8], lines: &[u8]) -> Option<Fields> {
    let (entries, _) = table.as_chunks::<8>();
    if entries.len() > MOST_FIELDS || u32::try_from(lines.len()).is_err() {
        return None;
    }
    let mut reader = Reader(lines);
    let mut index = Vec::with_capacity(entries.len() + 4);
    for entry in entries {
        let mut entry = Reader(entry);
        let (name, value) = (entry.length()?, entry.length()?);
        let start = lines.len() - reader.0.len();
        let is_good = is_name(reader.bytes(name)?)
            && reader.bytes(2)? == b": "
            && is_value(reader.bytes(value)?)
            && reader.bytes(2)? == b"\r\n";
        let span = |start: usize, length: usize| Span { start: start as u32, end: (start + length) as u32 };
        is_good.then(|| index.push((span(start, name), span(start + name + 2, value))))?;
    }
    reader.0.is_empty().then(|| Fields::of_head(lines, index))
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take()?)).ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
