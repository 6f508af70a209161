//! The part of an exchange that asks an app or upstream whether its request is let in: by a request of our own, a GET with the
//! fields of the client's and without its body.

use super::{Exchange, Given};
use crate::config::{Handler, Proxy};
use crate::http::{Method, Names, target, written};
use crate::policy::auth::{Auth, Inquiry, Permission, Whom};
use crate::worker::drive::Drive;
use crate::worker::own::Ask;
use std::rc::Rc;

/// Fields of the client's that mean the request itself, or by which it could speak for us.
const KEPT_BACK: Names = Names::new(&[
    "accept-encoding",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "range",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
]);

impl Exchange {
    /// Has somebody be asked whether the request is let in; if nobody can be, what comes of that.
    pub(super) fn inquire(&mut self, drive: &mut Drive<'_>) -> Option<Permission> {
        const FAILED: Option<Permission> = Some(Permission::Failed("nobody can be asked about logins"));
        let Some(inquiry) = self.inquiry(drive) else { return FAILED };
        let Some(request) = self.request.as_ref() else { return FAILED };
        let Ok(target) = target::parse(Method::Get, inquiry.path.as_bytes()) else { return FAILED };
        let handler = match inquiry.to {
            Whom::App(app) => Handler::App { app, mount: String::new() },
            Whom::Upstream(upstream) => Handler::Proxy(Proxy { upstream, ..Proxy::default() }),
        };
        let uri = written::as_understood(&request.target, request.head.target());
        let url = [request.origin.scheme.as_str().as_bytes(), b"://", request.authority(), &*uri].concat();
        let method = request.head.method_bytes();
        let added = [
            (&b"X-Original-Method"[..], method),
            (b"X-Original-URI", &*uri),
            (b"X-Original-URL", &url),
            (b"X-Forwarded-Method", method),
            (b"X-Forwarded-Uri", &*uri),
        ];
        // As those that take `_` for `-` would read it.
        let passes = |name: &[u8]| !name.contains(&b'_') && !KEPT_BACK.has(name);
        let head = request.head.as_get(passes, added.into_iter()).led_to(inquiry.path.as_bytes());
        let given = Given {
            head,
            target,
            host: request.host.clone(),
            origin: request.origin,
            peer: self.peer.clone(),
            user: None,
            // It leads to no place of the site, whose policies it would be asked about.
            site: None,
            place: None,
            handler: Rc::new(handler),
        };
        let until = drive.cx.now.after(inquiry.timeout);
        drive.cx.ask_own(Ask { whom: Some(drive.owner), given, until, claim: None });
        None
    }

    /// What has come of it; `None`: nothing yet.
    pub(super) fn take_permission(&self, drive: &mut Drive<'_>) -> Option<Permission> {
        let answer = drive.cx.take_own(drive.owner)?;
        let Some(head) = answer else {
            return Some(Permission::Failed("who is asked about logins did not answer in time"));
        };
        Some(match self.inquiry(drive) {
            Some(inquiry) => inquiry.judge(&head),
            None => Permission::Failed("nobody can be asked about logins"),
        })
    }

    /// What is asked at the place of the request, and of whom.
    fn inquiry<'a>(&self, drive: &Drive<'a>) -> Option<&'a Inquiry> {
        match self.policies(drive.config)?.auth.get() {
            Some(Auth::Request(inquiry)) => Some(inquiry),
            _ => None,
        }
    }
}
