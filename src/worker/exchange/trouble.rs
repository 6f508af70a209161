//! The part of an exchange that shows who develops an app why its code does not start (`reload_on_change`): to browsers on this
//! machine, and to nobody else. Whoever asks for no page, or has chosen the code from before, has that.

use super::Exchange;
use crate::config::{Handler, Site};
use crate::http::{Method, ResponseHead, Version};
use crate::worker::drive::Drive;
use crate::worker::handler::trouble::{self, Shown};
use crate::worker::troubles::Trouble;

/// The paths that are answered to them alone begin with it.
const OURS: &[u8] = b"/.hatchery/";

/// `/.hatchery/old/SERIAL/PATH?QUERY` leads to the same without what is before the path, for who goes on with the old code.
const OLD: &[u8] = b"/.hatchery/old/";

/// The trouble of which the browser was told, and goes on.
const COOKIE: &[u8] = b"hatchery_old=";

impl Exchange {
    /// Shows why the code of its app does not start, if that is for this client; whether it did.
    pub(super) fn shows_trouble(&mut self, app: usize, drive: &mut Drive<'_>) -> bool {
        let Some(watched) = drive.config.apps.get(app).filter(|app| app.reload_on_change) else {
            return false;
        };
        let Some((trouble, old)) = drive.cx.trouble(app) else { return false };
        let Some(request) = self.request.as_ref().filter(|_| self.is_developer(drive)) else { return false };
        let is_read = matches!(request.head.method(), Method::Get | Method::Head);
        if !trouble::wants_page(request.head.get("accept")) || (old && (!is_read || self.goes_on(&trouble))) {
            return false;
        }
        let target = String::from_utf8_lossy(request.head.target());
        let old = Some(format!("/.hatchery/old/{}{target}", trouble.serial))
            .filter(|_| old && target.starts_with('/'));
        let nonce = drive.cx.random();
        let live = watched.live_reload.then(|| format!("/.hatchery/reload.js?{}", drive.cx.edits.serial()));
        let shown = Shown {
            app: &watched.name,
            trouble: &trouble,
            old: old.as_deref(),
            live: live.as_deref(),
            nonce,
        };
        let (head, body) = trouble::page(&shown);
        self.error = Some("its code does not start");
        if !is_read {
            // Its body was not taken.
            drive.reply.last();
        }
        self.answer(&head, body, drive);
        true
    }

    /// As [`Self::shows_trouble`], for a request that no process of its app can take.
    pub(super) fn shows_trouble_instead(&mut self, drive: &mut Drive<'_>) -> bool {
        match self.handler.as_deref() {
            Some(Handler::App { app, .. }) => {
                let app = *app;
                self.shows_trouble(app, drive)
            }
            _ => false,
        }
    }

    /// Answers what is for who develops; whether it was.
    pub(super) fn answers_developer(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        let target = request.head.target();
        if !target.starts_with(OURS)
            || drive.config.apps.iter().all(|app| !app.reload_on_change)
            || !self.is_developer(drive)
        {
            return false;
        }
        let Some((serial, to)) = old_of(target) else {
            let target = target.to_vec();
            return self.answers_page(&target, drive);
        };
        let cookie = [COOKIE, serial, b"; Path=/; HttpOnly; SameSite=Lax"].concat();
        let head = ResponseHead::new(303)
            .with("Location", to)
            .with("Set-Cookie", cookie)
            .with("Cache-Control", "no-store");
        self.answer(&head, Vec::new(), drive);
        true
    }

    /// Whether the browser was told of it, and goes on.
    fn goes_on(&self, trouble: &Trouble) -> bool {
        let serial = trouble.serial.to_string();
        let cookies = self.request.iter().flat_map(|request| request.head.all("cookie"));
        let mut pairs = cookies.flat_map(|cookie| cookie.split(|byte| *byte == b';'));
        pairs.any(|pair| pair.trim_ascii().strip_prefix(COOKIE) == Some(serial.as_bytes()))
    }

    /// Whether the client is on this machine, speaks with us itself, and means us by a name that is ours. No browser speaks
    /// HTTP/1.0 any more; a proxy does that was told nothing but where we are, and its clients may be anybody.
    pub(super) fn is_developer(&self, drive: &Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        let near = self.peer.address.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let listener = drive.cx.listeners.get(usize::from(self.peer.listener));
        let direct = listener.is_some_and(|listener| !listener.front && listener.proxies.is_empty())
            && !request.origin.trusted
            && request.head.version() > Version::Http10;
        let site = request.site.and_then(|site| drive.config.sites.get(site));
        let named = trouble::is_local(&request.host.name)
            || site.is_some_and(|site| has_name(site, &request.host.name));
        near && direct && named && !trouble::is_forwarded(request.head.fields())
    }
}

fn has_name(site: &Site, name: &[u8]) -> bool {
    site.names.iter().any(|known| known.plain().is_some_and(|known| known.as_bytes() == name))
}

/// The serial and the place in a link to the old code. Nothing that leads to another server.
fn old_of(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = target.strip_prefix(OLD)?;
    let (serial, to) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'/')?)?;
    let digits = !serial.is_empty() && serial.len() <= 20 && serial.iter().all(u8::is_ascii_digit);
    let elsewhere = matches!(to.get(1), Some(b'/' | b'\\'));
    (digits && !elsewhere).then_some((serial, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_the_old_code_leads_to_no_other_server() {
        let found = |target: &'static str| old_of(target.as_bytes());
        assert_eq!(found("/.hatchery/old/17/cart/?a=1"), Some((&b"17"[..], &b"/cart/?a=1"[..])));
        assert_eq!(found("/.hatchery/old/17/"), Some((&b"17"[..], &b"/"[..])));
        for none in [
            "/.hatchery/old/17",
            "/.hatchery/old//x",
            "/.hatchery/old/17//evil.example/",
            "/.hatchery/old/17/\\evil.example/",
            "/.hatchery/old/1;x/",
            "/.hatchery/old/123456789012345678901/",
            "/old/17/",
        ] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
