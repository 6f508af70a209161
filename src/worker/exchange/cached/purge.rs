//! `PURGE`: a request that takes responses out of the cache. Who may send it says the place; nobody, where it says nothing.
//!
//! One URL the worker takes out itself. What begins like one, and what has a tag, only the master can: it is told, and that
//! holds a moment later, for this site alone.

use super::super::Exchange;
use crate::cache::hash::Secret;
use crate::cache::key::{self, Key, Parts};
use crate::cache::settings::{Keyed, Query};
use crate::cache::tags;
use crate::config::CacheResponses;
use crate::control::worker::{Purge, ToMaster};
use crate::http::{Names, RequestHead, ResponseHead};
use crate::worker::drive::Drive;

const METHOD: &[u8] = b"PURGE";

/// By which other servers are told to purge more than one URL. Who is not heard is to be told so.
const ELSEWHERE: Names = Names::new(&["xkey", "xkey-purge", "x-purge", "x-purge-prefix"]);

/// What is wrong with one, and what to do.
const NOT_HERE: &str = "name tags in `Cache-Tag` (with commas) or `Surrogate-Key` (with spaces); a prefix is a path with `*` at its end\n";
const NO_TAG: &str =
    "`Cache-Tag` or `Surrogate-Key` names no tag: name one, or leave the field out to purge the URL\n";
const MANY_TAGS: &str = "more than 32 tags: spread them over several PURGE requests\n";
const NOT_TAGGED: &str =
    "this place keeps no tags (`tags: false`): purge by URL, or by a path with `*` at its end\n";
const BOTH: &str = "tags and a path with `*` at its end are two purges: send one PURGE for each\n";
const QUERY: &str = "a path with `*` at its end stands for all that begin like it: leave out the query\n";
const LONG: &str = "the URL is too long for a prefix (500 bytes): name a shorter one\n";
const ENCODED: &str = "percent-encode what is not ASCII in the path\n";

const _: () = assert!(Purge::MOST_TAGS == 32 && Purge::LONGEST_PREFIX == 500, "the texts say so");

/// Whether a request is one.
pub(super) fn is_asked(head: &RequestHead) -> bool {
    head.method_bytes() == METHOD
}

impl Exchange {
    /// Takes out what is asked for, if the client may.
    pub(super) fn purge(&mut self, how: &CacheResponses, drive: &mut Drive<'_>) {
        drive.reply.last();
        let Some(request) = &self.request else { return };
        let client = request.origin.client;
        if !how.purge.allow.iter().any(|network| network.contains(client)) {
            return self.answer_page(403, drive);
        }
        let secret = drive.cx.cache.secret;
        let Some(parts) = self.parts(drive.config) else { return self.answer_page(404, drive) };
        let (status, text) = match of_more(&request.head, &parts, how.settings.tags, secret) {
            Err(wrong) => (400, wrong),
            Ok(Some(what)) => {
                drive.cx.tell(&ToMaster::Purge { site: parts.site.to_owned(), what });
                (202, "it is purged in a moment\n")
            }
            Ok(None) => {
                if let Some(key) = Key::primary(&parts, &request.head, &how.settings.key, secret) {
                    drive.cx.cache.forget(&key);
                }
                (200, "purged\n")
            }
        };
        let head = ResponseHead::new(status).with("Content-Type", "text/plain; charset=utf-8");
        self.answer(&head, text.as_bytes().to_vec(), drive);
    }
}

/// What more than its URL a request is to take out. `None`: nothing.
///
/// # Errors
/// It does not say what, in words for who has sent it.
fn of_more(
    head: &RequestHead,
    parts: &Parts<'_>,
    has_tags: bool,
    secret: Secret,
) -> Result<Option<Purge>, &'static str> {
    if head.fields().any(|(name, _)| ELSEWHERE.has(name)) {
        return Err(NOT_HERE);
    }
    let names_tags = head.fields().any(|(name, _)| tags::FIELDS.has(name));
    match parts.path.strip_suffix(b"*") {
        Some(_) if names_tags => Err(BOTH),
        Some(_) if !parts.query.is_empty() => Err(QUERY),
        Some(path) => {
            let keyed = Keyed { query: Query::None, ..Keyed::default() };
            let start = key::url(&Parts { path, ..*parts }, &keyed);
            let start = String::from_utf8(start).map_err(|_| ENCODED)?;
            if start.len() > Purge::LONGEST_PREFIX { Err(LONG) } else { Ok(Some(Purge::Prefix(start))) }
        }
        None if !names_tags => Ok(None),
        None if !has_tags => Err(NOT_TAGGED),
        None => match tags::of(head.fields(), secret) {
            Some(tags) if tags.is_empty() => Err(NO_TAG),
            Some(tags) if tags.len() <= Purge::MOST_TAGS => Ok(Some(Purge::Tags(tags))),
            _ => Err(MANY_TAGS),
        },
    }
}
