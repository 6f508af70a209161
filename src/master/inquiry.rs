//! The ready request to a new process of an app (`gateway::ready`), asked over the process's own socket. Nothing here
//! waits: nothing blocks, and the answer has a deadline.
//!
//! The answer comes over a pipe that goes along with the question, as the master reads no socket over which an app could
//! pass it a descriptor (`sys::rights`).

use super::{Master, Token};
use crate::config::Ready;
use crate::gateway::ready::{self, Answer};
use crate::supervisor::{ChildId, Input};
use crate::sys::poll::{Interest, Set};
use crate::sys::socket::{self, Expect};
use crate::sys::{channel, transfer};
use crate::timer::Time;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// How much is read in one turn: an endless answer must not hold up the others.
const TURN: usize = 64 * 1024;

/// A ready request on its way.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// Where it is asked: the process takes the end of it for the end of who asks.
    stream: OwnedFd,
    asked: Vec<u8>,
    /// What goes along with the first byte: where the answer is to be written.
    attach: Option<OwnedFd>,
    /// `None` once the process closed it without an answer: its exit tells more, the deadline is the last word.
    heard: Option<File>,
    answer: Answer,
    deadline: Time,
    /// `GET /healthz`.
    what: String,
    within: std::time::Duration,
}

impl Inquiry {
    /// Asks the process that listens on `socket`.
    ///
    /// # Errors
    /// It cannot be connected to.
    fn begin(socket: &Path, shared: bool, ready: &Ready, now: Time) -> io::Result<Self> {
        let stream = socket::connect_unix(socket, Expect::Nothing)?;
        let (heard, attach) = channel::from_child()?;
        let mut asked = Vec::new();
        ready::ask(&ready.question, shared, &mut asked);
        let mut inquiry = Self {
            stream,
            asked,
            attach: Some(attach),
            heard: Some(heard.into()),
            answer: Answer::to(ready.question.status),
            deadline: now.after(ready.timeout),
            what: format!("GET {}", ready.question.path),
            within: ready.timeout,
        };
        inquiry.send();
        Ok(inquiry)
    }

    /// Waits for the answer.
    pub(super) fn watch<'a>(&'a self, token: Token, set: &mut Set<'a, Token>) {
        if let Some(heard) = &self.heard {
            set.add(heard.as_fd(), token, Interest::READ);
            if !self.asked.is_empty() {
                set.add(self.stream.as_fd(), token, Interest::WRITE);
            }
        }
    }

    fn send(&mut self) {
        while !self.asked.is_empty() {
            let attach = self.attach.as_ref().map(OwnedFd::as_fd);
            match transfer::send_with_descriptor(self.stream.as_fd(), &self.asked, attach) {
                Ok(length) => {
                    self.asked.drain(..length);
                    // Its end is the end of what the process holds of it.
                    self.attach = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.asked.clear();
                    self.heard = None;
                }
            }
        }
    }

    /// Whether the process is ready, once that is known.
    fn hear(&mut self) -> Option<Result<(), String>> {
        self.send();
        let mut buffer = [0; 8 * 1024];
        let mut left = TURN;
        while let Some(heard) = &mut self.heard
            && left > 0
        {
            match heard.read(&mut buffer) {
                Ok(0) => self.heard = None,
                Ok(length) => {
                    left = left.saturating_sub(length);
                    self.answer.feed(buffer.get(..length).unwrap_or_default());
                    if let Some(verdict) = self.answer.poll() {
                        return Some(verdict.map_err(|why| format!("{} {why}", self.what)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.heard = None,
            }
        }
        None
    }

    fn too_late(&self) -> String {
        match self.heard {
            Some(_) => format!("{} got no answer within {:?}", self.what, self.within),
            None => format!("{} got no answer", self.what),
        }
    }
}

impl Master {
    /// A process of an app says that it serves: it does if it need not show it.
    pub(super) fn ask_ready(&mut self, id: ChildId, now: Time) {
        let Some(app) = self.children.app_mut(id) else { return };
        let Some(ready) = &app.ready else { return self.supervisor.on(Input::Ready { child: id }, now) };
        match Inquiry::begin(&app.socket, app.shared, ready, now) {
            Ok(inquiry) => (app.inquiry, app.inquired) = (Some(inquiry), true),
            Err(error) => {
                let reason = format!("the ready request cannot be sent: {error}");
                self.supervisor.on(Input::Unready { child: id, reason }, now);
            }
        }
    }

    /// After an upgrade: what processes of apps, those that are just being forked too, are asked before they serve, as
    /// the current configuration says. Comes before anything that they say is taken in.
    pub(super) fn find_ready_requests(&mut self) {
        let born = self.children.apps_mut().map(|(_, app)| app);
        for app in born.chain(self.nursery.unborn_apps()) {
            let settings = self.current.config.apps.iter().find(|settings| settings.name == app.name);
            app.ready = settings.and_then(|settings| settings.ready.clone());
        }
    }

    /// Processes whose ready request was cut off by an upgrade are asked again.
    pub(super) fn ask_ready_again(&mut self, now: Time) {
        let asked =
            self.children.apps_mut().filter_map(|(id, app)| std::mem::take(&mut app.inquired).then_some(id));
        let asked: Vec<ChildId> = asked.collect();
        asked.into_iter().for_each(|id| self.ask_ready(id, now));
    }

    /// Something came of the answer.
    pub(super) fn hear_inquiry(&mut self, pid: u32, now: Time) {
        let Some(id) = self.children.get(&pid).and_then(|child| child.id.in_pool()) else { return };
        let Some(app) = self.children.app_mut(id) else { return };
        let Some(verdict) = app.inquiry.as_mut().and_then(Inquiry::hear) else { return };
        (app.inquiry, app.inquired) = (None, false);
        match verdict {
            Ok(()) => self.supervisor.on(Input::Ready { child: id }, now),
            Err(reason) => {
                let reason = format!("not ready: {reason}");
                self.supervisor.on(Input::Unready { child: id, reason }, now);
            }
        }
    }

    /// The earliest deadline of an answer.
    pub(super) fn inquiry_deadline(&self) -> Option<Time> {
        self.children.apps().filter_map(|(_, app)| app.inquiry.as_ref()).map(|inquiry| inquiry.deadline).min()
    }

    /// Processes that did not answer in time are not ready.
    pub(super) fn expire_inquiries(&mut self, now: Time) {
        let mut late = Vec::new();
        for (id, app) in self.children.apps_mut() {
            if let Some(inquiry) = app.inquiry.take_if(|inquiry| inquiry.deadline <= now) {
                app.inquired = false;
                late.push((id, format!("not ready: {}", inquiry.too_late())));
            }
        }
        for (child, reason) in late {
            self.supervisor.on(Input::Unready { child, reason }, now);
        }
    }
}
