//! The part in which the app or upstream has answered, or failed: what of that is kept, and what the client gets.

use super::super::{Exchange, Step};
use super::Cached;
use crate::cache::admit::{self, Admitted};
use crate::cache::key::Key;
use crate::cache::serve::{self, Plan};
use crate::cache::status::Note;
use crate::cache::stored::{Head, Life};
use crate::cache::vary::Marker;
use crate::cache::{self, Millis, fetch, fresh, invalidate, reuse, update};
use crate::http::{BodyLength, RequestHead, ResponseHead};
use crate::worker::cache::{Keep, Kept, Tap, Window};
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use std::rc::Rc;

impl Exchange {
    /// The head of the response of an app or upstream, as the client would see it: keeps it if that may be, and makes of it
    /// what the client has asked for. `None`: something else was the answer.
    pub(in super::super) fn pass_cache(
        &mut self,
        mut head: ResponseHead,
        body: BodyLength,
        drive: &mut Drive<'_>,
    ) -> Option<(ResponseHead, BodyLength)> {
        let asks_cache = self.cached.as_deref().filter(|_| !self.is_led());
        let Some(cached) = asks_cache else { return Some((head, body)) };
        if cached.key.is_none() {
            self.invalidate(&head, drive);
            let Some(cached) = self.cached.as_deref() else { return Some((head, body)) };
            admit::strip(&mut head.fields, &cached.how.settings);
            cached.note.add(&mut head.fields);
            return Some((head, body));
        }
        let asked_about = cached.stale.as_ref().filter(|_| head.status.0 == 304 && cached.first.is_some());
        if let Some(stale) = asked_about {
            if update::is_about(&stale.head, &head) {
                self.take_not_modified(&head, drive);
            } else {
                self.ask_again(drive);
            }
            return None;
        }
        Some(self.keep_response(head, body, drive))
    }

    /// Whether what is kept is better than an error of the app or upstream (`None`: it gives no answer at all), which is given
    /// then.
    pub(in super::super) fn is_better_kept(&mut self, status: Option<u16>, drive: &mut Drive<'_>) -> bool {
        let Some(cached) = self.cached.as_deref_mut() else { return false };
        let Some(stale) = cached.stale.clone().filter(|_| !drive.reply.has_begun()) else { return false };
        let now = cache::millis(drive.cx.wall);
        if !reuse::on_error(&cached.asked, &stale.head.life, status, now) {
            return false;
        }
        cached.word = "STALE";
        cached.note.forward_status = status;
        cached.note.detail = Some("error");
        // Those who wait are to see that it fails, too.
        self.note_failed_fetch(drive);
        self.end_run(drive);
        self.give(&stale, drive);
        true
    }

    /// Somebody else answers (`head` says so): that is for this client, whatever the app has gone by, and kept for nobody. It is
    /// asked what the client has asked, and who waits for a response to the same goes on.
    pub(in super::super) fn leave_cache_to_another(&mut self, head: &ResponseHead, drive: &mut Drive<'_>) {
        let Some(cached) = self.cached.as_deref_mut() else { return };
        if cached.key.is_none() {
            return self.invalidate(head, drive);
        }
        cached.decline(drive);
        cached.key = None;
        if let (Some(first), Some(request)) = (cached.first.take(), &mut self.request) {
            request.head = first;
        }
        (cached.claim, cached.stale, cached.fetch) = (None, None, None);
        cached.word = "BYPASS";
    }

    /// Nothing comes of what it has asked for: nobody need wait for it, nor see the same after it.
    pub(in super::super) fn note_failed_fetch(&mut self, drive: &mut Drive<'_>) {
        let Some(cached) = self.cached.as_deref_mut().filter(|cached| cached.first.is_some()) else { return };
        if let Some(keys) = &cached.key {
            drive.cx.cache.note_failed(&keys.at, drive.cx.now);
        }
        cached.claim = None;
    }

    /// What ran for the request is given up.
    fn end_run(&mut self, drive: &mut Drive<'_>) {
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::App(mut run) => run.cancel(drive.cx),
            Step::Shared(run) => run.cancel(drive.cx),
            Step::Proxy(mut run) => run.discard(drive.cx),
            step => self.step = step,
        }
    }

    /// What is kept is still right: it is fresh again, with what the 304 says, and the answer.
    fn take_not_modified(&mut self, head: &ResponseHead, drive: &mut Drive<'_>) {
        self.answered = Some(drive.cx.now);
        self.end_run(drive);
        let (Some(request), Some(cached)) = (&self.request, self.cached.as_deref_mut()) else { return };
        let Some(stale) = cached.stale.take() else { return };
        let times = fresh::Times { requested: cached.requested, received: cache::millis(drive.cx.wall) };
        let authorized = cached.asked.authorized;
        let exchange = admit::Exchange { request: &request.head, response: head, times, authorized };
        (cached.word, cached.note.forward_status) = ("REVALIDATED", Some(304));
        let secret = drive.cx.cache.secret;
        let kept = match update::freshened(&stale.head, &exchange, &cached.how.settings, secret) {
            Ok(admitted) => {
                // It may depend on more than before.
                let place = cached.where_to(&admitted, &request.head, drive.cx).map(|(key, _)| key);
                let kept = Rc::new(Kept::new(admitted.head, stale.body.clone()));
                if let (Some(keys), Some(fetch)) = (&cached.key, &cached.fetch) {
                    cached.note.stored = place.as_ref() == Some(&keys.at);
                    if !cached.note.stored {
                        drive.cx.cache.forget(&keys.primary);
                    } else if let Some((what, of)) =
                        drive.cx.cache.renew(&keys.at, fetch, &kept, drive.cx.now)
                    {
                        drive.cx.write_kept_again(what, of);
                    }
                }
                kept
            }
            Err(why) => {
                if let Some(keys) = cached.key.as_ref().filter(|_| !why.is_of_request()) {
                    drive.cx.cache.forget(&keys.primary);
                }
                let ResponseHead { status, reason, fields } = update::merged(&stale.head, head);
                Rc::new(Kept::new(Head { status, reason, fields, ..stale.head.clone() }, stale.body.clone()))
            }
        };
        cached.claim = None;
        self.give(&kept, drive);
    }

    /// What it says is right is not what it was asked about: nobody knows any more what is, and it is asked for all of it.
    fn ask_again(&mut self, drive: &mut Drive<'_>) {
        self.end_run(drive);
        (self.unreached, self.returned, self.died) = (0, false, None);
        if let (Some(request), Some(cached)) = (&mut self.request, self.cached.as_deref_mut()) {
            cached.stale = None;
            if let Some(first) = &cached.first {
                request.head = fetch::request(first, None);
            }
            cached.requested = cache::millis(drive.cx.wall);
        }
        self.start_or_fall_back(BodyLength::None, drive);
    }

    /// Has a copy of the response be taken on its way, if it may be kept.
    fn keep_response(
        &mut self,
        head: ResponseHead,
        body: BodyLength,
        drive: &mut Drive<'_>,
    ) -> (ResponseHead, BodyLength) {
        let (Some(request), Some(cached)) = (&self.request, self.cached.as_deref_mut()) else {
            return (head, body);
        };
        let times = fresh::Times { requested: cached.requested, received: cache::millis(drive.cx.wall) };
        let authorized = cached.asked.authorized;
        let exchange = admit::Exchange { request: &request.head, response: &head, times, authorized };
        let admitted = admit::admit(&exchange, &cached.how.settings, drive.cx.cache.secret);
        let most = drive.config.cache.max_object;
        let is_too_large = matches!(body, BodyLength::Known(length) if length > most);
        let claim = cached.claim.take();
        let keep = match (admitted, claim) {
            (Ok(_), _) if is_too_large => {
                cached.note.detail = Some("max-object");
                let tells = cached.first.is_some() && !cached.asked.authorized;
                if let Some(keys) = cached.key.as_ref().filter(|_| tells) {
                    // Those who wait go on as they came, with the range that they want.
                    drive.cx.cache.decline_large(&keys.at, drive.cx.now);
                }
                None
            }
            (Ok(admitted), claim) => {
                let (key, marker) = cached.where_to(&admitted, &request.head, drive.cx).unzip();
                let at = cached.key.as_ref().map(|keys| keys.at.clone());
                key.zip(at).zip(cached.fetch).map(|((key, at), fetch)| Keep {
                    key,
                    at,
                    marker: marker.flatten(),
                    head: admitted.head,
                    fetch,
                    claim,
                    most,
                    body: Vec::new(),
                    share: drive.cx.store.budget.share(),
                    given_up: drive.cx.cache.given_up(),
                })
            }
            (Err(why), claim) => {
                cached.note.detail = Some(why.word());
                if !why.is_of_request() {
                    cached.decline(drive);
                }
                drop(claim);
                None
            }
        };
        cached.note.stored = keep.is_some();
        cached.note.forward_status = None;
        let plan = cached.first.as_ref().and_then(|first| cached.plan(first, &head, body, drive.cx));
        let (mut head, body, window) = cut(head, body, plan, &cached.note, times.received);
        admit::strip(&mut head.fields, &cached.how.settings);
        if keep.is_some() || window.is_some() {
            let announced = body.1;
            drive.reply.tap(Tap::new(announced, window, keep));
        }
        (head, body.0)
    }

    /// A request that has changed something: what is kept of it, and of what its response names, is of no use any more.
    fn invalidate(&mut self, head: &ResponseHead, drive: &mut Drive<'_>) {
        let Some(request) = &self.request else { return };
        if !invalidate::invalidates(&request.head, head.status.0) {
            return;
        }
        let Some(parts) = self.parts(drive.config) else { return };
        let authority = String::from_utf8_lossy(request.authority()).into_owned();
        let origin = format!("{}://{authority}", parts.scheme.as_str());
        let mark: &[u8] = if parts.query.is_empty() { b"" } else { b"?" };
        let mut targets = vec![[parts.path, mark, parts.query].concat()];
        targets.extend(invalidate::others(head, origin.as_bytes(), parts.path));
        let keys: Vec<Key> = targets.iter().filter_map(|target| self.key_of(target, drive)).collect();
        keys.iter().for_each(|key| drive.cx.cache.forget(key));
    }
}

impl Cached {
    /// What was fetched is kept for nobody: those who wait go on at once, each for itself. What came to one who is known, or to the
    /// question of a client as it was, tells nothing of what others would get.
    fn decline(&self, drive: &mut Drive<'_>) {
        if let Some(keys) = self.key.as_ref().filter(|_| self.first.is_some() && !self.asked.authorized) {
            drive.cx.cache.decline(&keys.at, drive.cx.now);
        }
    }

    /// Under which key a response is kept, and what stands under that of the URL then, if it is another one.
    fn where_to(
        &self,
        admitted: &Admitted,
        sent: &RequestHead,
        cx: &mut Context,
    ) -> Option<(Key, Option<(Key, Marker)>)> {
        let keys = self.key.as_ref()?;
        if admitted.vary.is_empty() {
            return Some((keys.primary.clone(), None));
        }
        let seed = cx.random();
        let new = match &keys.marker {
            Some(marker) => marker.with(&admitted.vary, seed),
            None => Some(Marker::new(admitted.vary.clone(), seed)),
        };
        let marker = new.as_ref().or(keys.marker.as_ref())?;
        let head = self.first.as_ref().unwrap_or(sent);
        let key = keys.primary.variant(marker, head, cx.cache.secret)?;
        Some((key, new.map(|marker| (keys.primary.clone(), marker))))
    }

    /// What the client has asked for of a response that was fetched whole.
    fn plan(
        &self,
        first: &RequestHead,
        head: &ResponseHead,
        body: BodyLength,
        cx: &Context,
    ) -> Option<(Plan, u64)> {
        let length = match body {
            BodyLength::Known(length) => length,
            BodyLength::None => 0,
            BodyLength::Unknown => u64::MAX,
        };
        // Nobody has said when it was made; what has no date of its own is new.
        let life = Life { date: i64::MAX, ..Life::default() };
        let ResponseHead { status, reason, fields } = head.clone();
        let judged = Head { status, reason, fields, life, tags: Vec::new() };
        let plan = serve::plan(first, &judged, length, cx.wall);
        match plan {
            Plan::Whole | Plan::Parts(_) => None,
            Plan::Part(_) | Plan::Unsatisfiable if length == u64::MAX => None,
            plan => Some((plan, length)),
        }
    }
}

/// The response as the client wants it; what is announced to it, and what comes; and which part of that is for it.
fn cut(
    head: ResponseHead,
    body: BodyLength,
    plan: Option<(Plan, u64)>,
    note: &Note,
    now: Millis,
) -> (ResponseHead, (BodyLength, BodyLength), Option<Window>) {
    let Some((plan, length)) = plan else {
        let mut head = head;
        note.add(&mut head.fields);
        return (head, (body, body), None);
    };
    let ResponseHead { status, reason, fields } = head;
    let age = fields.get("age").map(<[u8]>::to_vec);
    let life = Life { received: now, ..Life::default() };
    let whole = Head { status, reason, fields, life, tags: Vec::new() };
    let (announced, window) = match &plan {
        Plan::Part(part) => (BodyLength::Known(part.len()), Window { first: part.first, length: part.len() }),
        Plan::Unsatisfiable => (BodyLength::Known(0), Window { first: 0, length: 0 }),
        Plan::NotModified | Plan::Whole | Plan::Parts(_) => {
            (BodyLength::None, Window { first: 0, length: 0 })
        }
    };
    let mut head = serve::response(whole, &plan, length, note, now);
    // It comes from where it was made.
    head.fields.remove("age");
    if let Some(age) = age {
        head.fields.add("Age", age);
    }
    (head, (announced, body), Some(window))
}
