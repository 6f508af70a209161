//! What requests and checks find out about servers, and what the log says of it.

use super::places::Wanted;
use crate::balance::{Cause, Change, State, sticky};
use crate::config::{Stick, Upstream};
use crate::http::Fields;
use crate::http::fault;
use crate::worker::context::Context;

impl Context {
    /// A request failed at the server before a response began; `code` as [`fault::cause`] has it.
    pub(super) fn note_failure(&mut self, upstream: usize, index: usize, code: u16) {
        let Self { config, servers, roster, now, .. } = self;
        let (Some(group), Some(settings)) = (servers.group(upstream), config.upstream(upstream)) else {
            return;
        };
        group.look(settings, *roster, *now);
        let is_last = !group.has_other(|other| other == index);
        let number = group.number(index);
        let is_checked = settings.health.is_some();
        let change = roster.failed(number, Cause(code), *now, settings.passive, is_last, is_checked);
        self.tell_change(upstream, index, change);
    }

    /// A response of the server began.
    pub(super) fn note_success(&mut self, upstream: usize, index: usize) {
        let Some(number) = self.servers.group(upstream).map(|group| group.number(index)) else { return };
        let change = self.roster.succeeded(number, self.now);
        self.tell_change(upstream, index, change);
    }

    /// A request left the server before a response began.
    pub(super) fn note_nothing(&mut self, upstream: usize, index: usize) {
        if let Some(number) = self.servers.group(upstream).map(|group| group.number(index)) {
            self.roster.unanswered(number, self.now);
        }
    }

    /// A request came for the upstream.
    pub(super) fn request_came(&mut self, upstream: usize) {
        if let Some(group) = self.servers.group(upstream) {
            group.budget.earn();
        }
    }

    /// Whether another server is up than those that a request has tried.
    pub(super) fn has_another(&mut self, upstream: usize, index: usize, wanted: &Wanted) -> bool {
        let Self { config, servers, roster, now, .. } = self;
        let (Some(group), Some(settings)) = (servers.group(upstream), config.upstream(upstream)) else {
            return false;
        };
        group.look(settings, *roster, *now);
        group.has_other(|other| other == index || wanted.tried.contains(&other))
    }

    /// Whether a request may be sent once more that a server may have begun.
    pub(super) fn may_repeat(&mut self, upstream: usize) -> bool {
        self.servers.group(upstream).is_some_and(|group| group.budget.spend())
    }

    /// Says so where a server has changed: whoever made the change does, so that it is said once.
    pub(super) fn tell_change(&mut self, upstream: usize, index: usize, change: Option<Change>) {
        let Some(Change { before, now, cause }) = change else { return };
        if now != State::Up
            && let Some(group) = self.servers.group(upstream)
        {
            group.chooser.forget(index);
        }
        let who = self.server_name(upstream, index);
        let Some(settings) = self.config.upstream(upstream) else { return };
        let why = fault::cause(cause.0);
        match (before, now) {
            (State::Up, State::Resting) => {
                log::warn!("{who} is given up for {} s: {why}", settings.passive.fail_timeout.as_secs());
            }
            (_, State::Resting) => log::info!("{who} is still down: {why}"),
            (_, State::Failed) => log::warn!("{who} is given up until its checks pass: {why}"),
            (_, State::Up) => log::info!("{who} is back"),
            (_, State::Trial) => {}
        }
    }

    /// The server that has the session of a request, by its cookies.
    pub(super) fn session_of<'a>(
        &mut self,
        upstream: usize,
        cookies: impl Iterator<Item = &'a [u8]>,
    ) -> Option<usize> {
        let Self { config, servers, .. } = self;
        let sticky = config.upstream(upstream)?.sticky.as_ref()?;
        let value = sticky::cookie(cookies, sticky.cookie.as_str())?;
        let tag = match sticky.mode {
            Stick::Insert => value,
            Stick::Prefix => sticky::split(value)?.0,
        };
        // The place of a name that leads to nowhere has none.
        let tag = Some(tag).filter(|tag| !tag.is_empty())?;
        servers.group(upstream)?.spots.iter().position(|spot| spot.tag.as_bytes() == tag)
    }

    /// The cookies of a request as the app is to see them; `None`: as they came.
    pub(in crate::worker) fn cookies_for<'a>(
        &mut self,
        upstream: usize,
        cookies: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Vec<u8>> {
        let sticky = self.config.upstream(upstream)?.sticky.as_ref()?;
        if sticky.mode == Stick::Insert {
            return None;
        }
        // One of before a change of servers is as little the app's.
        let is_tag = |tag: &[u8]| tag.len() == 2 * sticky::TAG && tag.iter().all(u8::is_ascii_hexdigit);
        sticky::without_tags(cookies, sticky.cookie.as_str(), is_tag)
    }

    /// Has the client come back to the server that has answered, unless it has come to it by its session.
    pub(super) fn bind_session(
        &mut self,
        (upstream, index): (usize, usize),
        session: Option<usize>,
        is_https: bool,
        fields: &mut Fields,
    ) {
        let Self { config, servers, .. } = self;
        let sticky = config.upstream(upstream).and_then(|upstream: &Upstream| upstream.sticky.as_ref());
        let tag = servers.spot(upstream, index).map(|spot| spot.tag.as_str()).filter(|tag| !tag.is_empty());
        let (Some(sticky), Some(tag)) = (sticky, tag) else { return };
        let name = sticky.cookie.as_str();
        match sticky.mode {
            Stick::Insert if session == Some(index) => {}
            Stick::Insert => fields.add("Set-Cookie", sticky::set(name, tag, is_https, sticky.max_age)),
            Stick::Prefix => {
                let is_set = |field: &[u8]| field.eq_ignore_ascii_case(b"set-cookie");
                let tagged = |field: &[u8], value: &[u8]| {
                    if is_set(field) { sticky::with_tag(value, name, tag) } else { None }
                };
                fields.replace(tagged);
            }
        }
    }
}
