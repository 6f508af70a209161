//! The part of an exchange that the cache has to do with: whether what is kept answers it, whether it waits for another one that
//! fetches the same, and what it asks the app or upstream otherwise (RFC 9111; the decisions are those of [`crate::cache`]).
//!
//! It begins where a handler would begin, after all policies: only who may have it gets it.
//!
//! | what is kept | what is done |
//! |---|---|
//! | nothing, and nobody fetches it | it fetches it, for all who wait: [`fetched`] |
//! | nothing, and somebody fetches it | it waits, [`super::Step::Awaiting`] |
//! | a fresh response | that is the answer: [`given`] |
//! | a stale one that may be given | the same, and an exchange of our own fetches it anew |
//! | a stale one | as if there was nothing, but it asks whether that one is still right |
//! | nothing, and what came the last time could not be kept | it goes on as if there was no cache |

mod fetched;
mod given;
mod named;
mod purge;
mod refresh;

use super::{Exchange, Step};
use crate::cache::asked::{self, Asked};
use crate::cache::key::Key;
use crate::cache::reuse::{self, Use};
use crate::cache::status::{Forward, Note};
use crate::cache::store::{Fetch, Filed};
use crate::cache::vary::Marker;
use crate::cache::{self, Millis, fetch};
use crate::config::{CacheResponses, Config, Location};
use crate::http::{BodyLength, RequestHead};
use crate::timer::Time;
use crate::worker::cache::{Cache, Claim, Claimed, Found, Kept, Read};
use crate::worker::drive::Drive;
use crate::worker::reader::{Outcome, Whom};
use std::rc::Rc;
use std::time::Duration;

/// What an exchange has to do with the cache.
pub(super) struct Cached {
    how: Rc<CacheResponses>,
    asked: Asked,
    /// `None`: it is not asked for such requests.
    key: Option<Keys>,
    note: Note,
    /// What the access log says.
    word: &'static str,
    /// The request of the client, where another one is sent on.
    first: Option<RequestHead>,
    /// How the store was when it was asked for, and the right to fetch it.
    fetch: Option<Fetch>,
    claim: Option<Claim>,
    /// What is kept, where that may be still right, or better than nothing.
    stale: Option<Rc<Kept>>,
    /// When it was sent on.
    requested: Millis,
    /// It has waited for another one that has fetched the same.
    waited: bool,
}

/// Under which keys it is kept.
struct Keys {
    primary: Key,
    /// What stands under that, if there is more to the key.
    marker: Option<Marker>,
    /// What is looked for, and fetched: one variant, or the primary key.
    at: Key,
}

/// It waits for another one.
pub(super) struct Awaiting {
    /// The request as it came, for when it goes on.
    body: BodyLength,
    pub(super) until: Time,
    what: What,
}

/// What it waits for.
enum What {
    /// The fetch of another one, by the hash of the key.
    Fetch(u128),
    /// A file.
    File(Filed),
    /// It is there, or not any more.
    Came(Filed, Option<Box<Read>>),
}

impl Awaiting {
    /// A thread has read a file.
    pub(super) fn note(&mut self, outcome: Outcome) {
        if let (What::File(filed), Outcome::Kept(read)) = (&self.what, outcome) {
            self.what = What::Came(*filed, read);
        }
    }
}

/// So long a file may take.
const DISK: Duration = Duration::from_secs(10);

/// What came of a look.
enum Looked {
    /// It is answered, or waits.
    Done,
    /// It goes on to the app or upstream.
    On,
}

impl Exchange {
    /// Has the cache answer, if it is asked in this place; whether it does, or has it wait. Otherwise the handler is to
    /// begin.
    #[inline]
    pub(super) fn is_answered_by_cache(&mut self, body: BodyLength, drive: &mut Drive<'_>) -> bool {
        let Some(how) = self.caching(drive.config) else { return false };
        if self.cached.is_some() || self.is_led() || self.asks_tunnel() {
            return false;
        }
        let how = Rc::clone(how);
        self.enter_cache(how, body, drive)
    }

    fn caching<'a>(&self, config: &'a Config) -> Option<&'a Rc<CacheResponses>> {
        self.place(config).and_then(|(_, Location { caching, .. })| caching.on())
    }

    fn enter_cache(&mut self, how: Rc<CacheResponses>, body: BodyLength, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        if purge::is_asked(&request.head) {
            self.purge(&how, drive);
            return true;
        }
        let mut cached = Cached::new(how);
        if cached.how.bypass.is_some_and(|when| when.holds(&request.facts(drive.config))) {
            cached.passes(Forward::Bypass);
            self.cached = Some(Box::new(cached));
            return false;
        }
        match asked::asked(&request.head, body, &cached.how.settings) {
            Ok(asked) => {
                cached.asked = Asked { authorized: asked.authorized || self.knows_who_asks(), ..asked };
            }
            Err(why) => {
                // What it changes is looked for once it has.
                cached.passes(why);
                self.cached = Some(Box::new(cached));
                return false;
            }
        }
        let parts = self.parts(drive.config);
        let secret = drive.cx.cache.secret;
        let primary =
            parts.and_then(|parts| Key::primary(&parts, &request.head, &cached.how.settings.key, secret));
        match primary {
            Some(primary) => cached.key = Some(Keys { at: primary.clone(), primary, marker: None }),
            None => cached.passes(Forward::Bypass),
        }
        self.cached = Some(Box::new(cached));
        matches!(self.look_in_cache(body, drive), Looked::Done)
    }

    /// Looks what is kept, and does what follows from it.
    fn look_in_cache(&mut self, body: BodyLength, drive: &mut Drive<'_>) -> Looked {
        let (Some(request), Some(cached)) = (&self.request, self.cached.as_deref_mut()) else {
            return Looked::On;
        };
        let Some(keys) = &mut cached.key else { return Looked::On };
        let found = keys.look(&request.head, &mut drive.cx.cache, drive.cx.now);
        self.use_or_read(found, body, drive)
    }

    /// The same of what was found, once it is read if it is a file.
    fn use_or_read(&mut self, found: Found, body: BodyLength, drive: &mut Drive<'_>) -> Looked {
        let Some(keys) = self.cached.as_deref().and_then(|cached| cached.key.as_ref()) else {
            return Looked::On;
        };
        if let Found::Filed(filed) = found {
            if drive.cx.read_kept(drive.owner, &keys.at, filed) {
                let until = drive.cx.now.after(DISK);
                self.step = Step::Awaiting(Box::new(Awaiting { body, until, what: What::File(filed) }));
                return Looked::Done;
            }
            return self.use_found(Found::Nothing, body, drive);
        }
        self.use_found(found, body, drive)
    }

    /// Does what follows from what is kept.
    fn use_found(&mut self, found: Found, body: BodyLength, drive: &mut Drive<'_>) -> Looked {
        let Some(cached) = self.cached.as_deref_mut() else { return Looked::On };
        let Some(keys) = &mut cached.key else { return Looked::On };
        if let Some(claim) = drive.cx.cache.entrusted(keys.at.hash(), self.aside) {
            // It is asked for by nobody but us.
            return self.fetch_anew(found, claim, drive);
        }
        let now = cache::millis(drive.cx.wall);
        let used = match &found {
            Found::Response(kept) => reuse::judge(&cached.asked, &kept.head.life, now),
            Found::Nothing | Found::Declined | Found::Filed(_) | Found::Marker(_) => {
                reuse::missing(&cached.asked, keys.missing())
            }
        };
        match (used, found) {
            (Use::Refuse, _) => {
                cached.note.detail = Some("only-if-cached");
                self.answer_page(504, drive);
                Looked::Done
            }
            (Use::Fresh, Found::Response(kept)) => {
                cached.word = "HIT";
                self.give(&kept, drive);
                Looked::Done
            }
            (Use::Stale { refresh }, Found::Response(kept)) => {
                cached.word = "STALE";
                if refresh {
                    self.refresh(drive);
                }
                self.give(&kept, drive);
                Looked::Done
            }
            (Use::Forward(why), found) => self.forward(why, found, body, drive),
            (Use::Fresh | Use::Stale { .. }, _) => Looked::On,
        }
    }

    /// Has the app or upstream be asked: by this exchange, if no other one does.
    fn forward(&mut self, why: Forward, found: Found, body: BodyLength, drive: &mut Drive<'_>) -> Looked {
        let Some(cached) = self.cached.as_deref_mut() else { return Looked::On };
        let Some(keys) = &cached.key else { return Looked::On };
        cached.note = Note { forward: Some(why), ..Note::default() };
        cached.word = if why == Forward::Stale { "EXPIRED" } else { "MISS" };
        cached.fetch = Some(drive.cx.cache.fetch(&keys.primary));
        let serves_authorized = matches!(&found, Found::Response(kept) if kept.head.life.for_authorized);
        cached.stale = match found {
            Found::Declined => {
                // As it came: what it answers is for this one, and is not kept.
                cached.fetch = None;
                cached.requested = cache::millis(drive.cx.wall);
                return Looked::On;
            }
            Found::Response(kept) => Some(kept),
            Found::Nothing | Found::Filed(_) | Found::Marker(_) => None,
        };
        if cached.asked.authorized && !serves_authorized {
            // What it brings is for this one, unless it says otherwise: nobody waits for it.
            cached.stale = None;
            self.ask_instead(drive);
            return Looked::On;
        }
        match drive.cx.cache.claim(&keys.at, drive.cx.now) {
            Claimed::Mine(claim) => {
                cached.claim = Some(claim);
                self.ask_instead(drive);
                Looked::On
            }
            Claimed::Crowded => {
                self.ask_instead(drive);
                Looked::On
            }
            Claimed::Theirs => {
                let hash = keys.at.hash();
                drive.cx.cache.join(hash, drive.owner);
                let until = self.arrived.after(cached.how.lock_timeout).max(drive.cx.now);
                cached.waited = true;
                self.step = Step::Awaiting(Box::new(Awaiting { body, until, what: What::Fetch(hash) }));
                Looked::Done
            }
        }
    }

    /// It fetches anew what others are given meanwhile.
    fn fetch_anew(&mut self, found: Found, claim: Claim, drive: &mut Drive<'_>) -> Looked {
        if let Some(cached) = self.cached.as_deref_mut() {
            cached.fetch = cached.key.as_ref().map(|keys| drive.cx.cache.fetch(&keys.primary));
            cached.claim = Some(claim);
            cached.stale = match found {
                Found::Response(kept) => Some(kept),
                Found::Nothing | Found::Declined | Found::Filed(_) | Found::Marker(_) => None,
            };
            self.ask_instead(drive);
        }
        Looked::On
    }

    /// The request that is sent on in the place of the client's.
    fn ask_instead(&mut self, drive: &Drive<'_>) {
        drive.cx.cache.count(false);
        let (Some(request), Some(cached)) = (&mut self.request, self.cached.as_deref_mut()) else { return };
        let stale = cached.stale.as_ref().filter(|kept| kept.head.has_validator());
        let instead = fetch::request(&request.head, stale.map(|kept| &kept.head));
        cached.first = Some(std::mem::replace(&mut request.head, instead));
        cached.requested = cache::millis(drive.cx.wall);
    }

    /// Looks again, if there is something new, or goes its own way if it has waited long enough; whether it did.
    pub(super) fn advance_awaiting(&mut self, drive: &mut Drive<'_>) -> bool {
        let Step::Awaiting(awaiting) = &self.step else { return false };
        let (body, is_late) = (awaiting.body, drive.cx.now >= awaiting.until);
        let waits = match &awaiting.what {
            What::Fetch(hash) => drive.cx.cache.is_waiting(*hash, drive.owner),
            What::File(_) => true,
            What::Came(..) => false,
        };
        if waits && !is_late {
            return false;
        }
        let Step::Awaiting(awaiting) = std::mem::replace(&mut self.step, Step::Sent) else { return false };
        let mut goes_alone = false;
        let looked = match awaiting.what {
            What::Fetch(hash) => {
                drive.cx.cache.leave(hash, drive.owner);
                goes_alone = is_late;
                if is_late { Looked::On } else { self.look_in_cache(body, drive) }
            }
            What::File(_) => {
                drive.cx.forget_read(Whom::Exchange(drive.owner));
                self.use_found(Found::Nothing, body, drive)
            }
            What::Came(filed, read) => {
                let found = self.brought(&filed, read, drive);
                self.use_or_read(found, body, drive)
            }
        };
        if matches!(looked, Looked::Done) {
            return true;
        }
        if goes_alone {
            // Nobody waits for this one; what it brings is kept as well.
            self.ask_instead(drive);
        }
        self.start_or_fall_back(body, drive);
        true
    }

    /// What was read of a file; of what more the key depends on, what that leads to.
    fn brought(&mut self, filed: &Filed, read: Option<Box<Read>>, drive: &mut Drive<'_>) -> Found {
        let keys = self.cached.as_deref_mut().and_then(|cached| cached.key.as_mut());
        let (Some(request), Some(keys), Some(read)) = (&self.request, keys, read) else {
            return Found::Nothing;
        };
        let (cache, now) = (&mut drive.cx.cache, drive.cx.now);
        match cache.brought(&keys.at, filed, *read, now) {
            Found::Marker(marker) if keys.marker.is_none() => keys.follow(marker, &request.head, cache, now),
            Found::Marker(_) => Found::Nothing,
            found => found,
        }
    }

    /// It waits for nobody any more, and fetches nothing.
    pub(super) fn leave_cache(&mut self, drive: &mut Drive<'_>) {
        if let Step::Awaiting(awaiting) = &self.step {
            match &awaiting.what {
                What::Fetch(hash) => drive.cx.cache.leave(*hash, drive.owner),
                What::File(_) | What::Came(..) => drive.cx.forget_read(Whom::Exchange(drive.owner)),
            }
        }
        if let Some(cached) = self.cached.as_deref_mut() {
            cached.claim = None;
        }
    }

    /// What the access log says of the cache.
    pub(super) fn cache_word(&self) -> Option<&'static str> {
        self.cached.as_ref().map(|cached| cached.word)
    }

    /// The request as the client has sent it, where another one is sent on for it.
    pub(super) fn head_before_cache(&self) -> Option<&RequestHead> {
        self.cached.as_ref()?.first.as_ref()
    }
}

impl Cached {
    fn new(how: Rc<CacheResponses>) -> Self {
        Self {
            how,
            asked: Asked::default(),
            key: None,
            note: Note::default(),
            word: "",
            first: None,
            fetch: None,
            claim: None,
            stale: None,
            requested: 0,
            waited: false,
        }
    }

    /// The cache has nothing to do with it.
    fn passes(&mut self, why: Forward) {
        (self.key, self.word) = (None, "BYPASS");
        self.note.forward = Some(why);
    }
}

impl Keys {
    /// What is kept for such a request.
    fn look(&mut self, head: &RequestHead, cache: &mut Cache, now: Time) -> Found {
        let found = cache.find(&self.primary, now);
        let Found::Marker(marker) = found else {
            (self.marker, self.at) = (None, self.primary.clone());
            return found;
        };
        self.follow(marker, head, cache, now)
    }

    /// What is kept for it where the key depends on more.
    fn follow(&mut self, marker: Marker, head: &RequestHead, cache: &mut Cache, now: Time) -> Found {
        let variant = self.primary.variant(&marker, head, cache.secret);
        self.marker = Some(marker);
        let Some(variant) = variant else { return Found::Declined };
        self.at = variant;
        match cache.find(&self.at, now) {
            // A variant has no more to its key.
            Found::Marker(_) => Found::Nothing,
            found => found,
        }
    }

    /// Why there is nothing.
    fn missing(&self) -> Forward {
        if self.marker.is_some() { Forward::VaryMiss } else { Forward::UriMiss }
    }
}
