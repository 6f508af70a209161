//! The part of an exchange that waits for what a rule has to know (`policy::chain`): it has it found out, and asks that rule
//! again. Meanwhile nothing more of the request is read, and a client that leaves is not waited for.

use super::{Exchange, Step};
use crate::gateway::Login as Shown;
use crate::http::BodyLength;
use crate::http::fault::Fault;
use crate::policy::auth::{Auth, Granted, Login, Permission};
use crate::policy::chain::{At, Came, Checked, Wait};
use crate::timer::Time;
use crate::worker::drive::Drive;
use std::time::Duration;

/// What takes longer is a fault of this machine; what is asked of others has a bound of its own.
const LONGEST: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct Waiting {
    what: Wait,
    /// Which rule waits.
    at: At,
    /// What the request brings.
    body: BodyLength,
    pub(super) until: Time,
}

impl Waiting {
    pub(super) fn what(&self) -> Wait {
        self.what
    }
}

/// Who has logged in.
#[derive(Clone)]
pub(in crate::worker) struct User {
    known: Granted,
    /// How it was found out (AUTH_TYPE).
    kind: &'static str,
}

impl Exchange {
    /// Has a rule be asked again once it is known what it wants to know.
    pub(super) fn wait(&mut self, what: Wait, at: At, body: BodyLength, drive: &mut Drive<'_>) {
        let known = match what {
            Wait::Password => self.check_password(drive).map(Came::Password),
            Wait::Permission => self.inquire(drive).map(Came::Permission),
        };
        match known {
            Some(came) => self.go_on(at, &came, body, drive),
            None => {
                let until = drive.cx.now.after(LONGEST);
                self.step = Step::Waiting(Box::new(Waiting { what, at, body, until }));
            }
        }
    }

    /// Asks the rule again if what it waits for is there; whether it was, or there is no more time.
    pub(super) fn advance_waiting(&mut self, drive: &mut Drive<'_>) -> bool {
        let Step::Waiting(waiting) = &self.step else { return false };
        let Waiting { what, at, body, until } = **waiting;
        let came = match what {
            Wait::Password => drive.cx.take_checked(drive.owner).map(Came::Password),
            Wait::Permission => self.take_permission(drive).map(Came::Permission),
        };
        match came {
            Some(came) => {
                self.step = Step::Sent;
                self.go_on(at, &came, body, drive);
            }
            None if until <= drive.cx.now => {
                self.stop_waiting(what, drive);
                self.step = Step::Sent;
                self.fail(Fault::Busy, drive);
            }
            None => return false,
        }
        true
    }

    fn go_on(&mut self, at: At, came: &Came, body: BodyLength, drive: &mut Drive<'_>) {
        match came {
            Came::Password(Checked::Right) => {
                let login = self.request.as_ref().and_then(|request| Login::of(&request.head));
                let user = login.map(|login| login.user().to_vec());
                let known = Granted { user, fields: Vec::new() };
                self.user = Some(Box::new(User { known, kind: "Basic" }));
            }
            Came::Permission(Permission::Granted(known)) => {
                self.user = Some(Box::new(User { known: known.clone(), kind: "" }));
            }
            Came::Password(Checked::Wrong) => self.error = Some("wrong user or password"),
            Came::Password(Checked::Busy) => self.error = Some("too many passwords are being checked"),
            Came::Password(Checked::Unknown) => self.error = Some("the file of users is not there"),
            Came::Permission(Permission::Denied(_)) => {}
            Came::Permission(Permission::Failed(why)) => self.tell_failed(why, drive),
        }
        self.admit_from(at, Some(came), body, drive);
    }

    /// It is a fault of this machine, or of who was asked, and every request meets it.
    fn tell_failed(&mut self, why: &'static str, drive: &mut Drive<'_>) {
        self.error = Some(why);
        let (line, id) = (self.request_line(), self.id_text());
        drive.cx.note_fault(log::Level::Error, why, format_args!("auth: {line}: {why} ({id})"));
    }

    /// Nobody waits for it any more.
    pub(super) fn stop_waiting(&mut self, what: Wait, drive: &mut Drive<'_>) {
        match what {
            Wait::Password => drive.cx.forget_password(drive.owner),
            Wait::Permission => drive.cx.forget_own(drive.owner),
        }
    }

    /// Has the password of the request be checked; `None`: it is not known yet.
    fn check_password(&mut self, drive: &mut Drive<'_>) -> Option<Checked> {
        let policies = self.policies(drive.config);
        let Some(Auth::Basic(basic)) = policies.and_then(|policies| policies.auth.get()) else {
            return Some(Checked::Wrong);
        };
        let login = self.request.as_ref().and_then(|request| Login::of(&request.head));
        let Some(login) = login else { return Some(Checked::Wrong) };
        drive.cx.check_password(drive.owner, &basic.users, &login)
    }

    /// Who has logged in, for the log.
    pub(super) fn user(&self) -> Option<&[u8]> {
        self.user.as_ref()?.known.user.as_deref()
    }

    /// What whoever answers is told of logins.
    pub(super) fn login<'a>(&'a self, auth: Option<&'a Auth>) -> Shown<'a> {
        let mut shown = Shown { is_demanded: auth.is_some(), ..Shown::default() };
        if let Some(user) = self.user.as_deref() {
            (shown.user, shown.kind, shown.fields) = (self.user(), user.kind, &user.known.fields);
        }
        match auth {
            Some(Auth::Basic(basic)) => {
                shown.hides_authorization = !basic.pass_authorization;
                shown.header = basic.user_header.as_deref();
            }
            Some(Auth::Request(inquiry)) => shown.names = &inquiry.pass,
            None => {}
        }
        shown
    }
}
