//! What comes of one request to an ASGI process.
//!
//! | stage | HEAD | BODY, FILE, TRAILERS | ACCEPT | TEXT, BINARY, CREDIT | CLOSE | END | FREE |
//! |---|---|---|---|---|---|---|---|
//! | Head | Head → Body; 1xx: Interim | lost | Accept → Open, of a WebSocket, else lost | lost | lost | Broken(Failed) → Over, without ABORT Broken(Malformed) → Over | lost |
//! | Body | lost | Body, File, Trailers | lost | lost | lost | End or Broken(Truncated) → Over | lost |
//! | Open | lost | lost | lost | Message | Close | End → Over | lost |
//! | Over | dropped after what was refused, else lost | the same | the same | the same | the same | the same; told | Free |
//!
//! *lost*: it is not the protocol, and the stream of all is of no more use. What comes of a request that was cancelled comes
//! in the same order; whoever has cancelled it drops it.

use super::super::app::{file, head};
use super::Asked;
use crate::control::frame::{self, Frame, Kind};
use crate::http::fault::{Fault, Flaw};
use crate::http::{BodyLength, Fields, ResponseHead};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    /// Of its body; `true` if bytes of it are passed on.
    Body(bool),
    /// The WebSocket is open.
    Open,
    Over,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    /// An interim response.
    Interim(ResponseHead),
    /// The head, and what it says of the body.
    Head(ResponseHead, BodyLength),
    /// The next bytes of the body, never empty.
    Body(Vec<u8>),
    /// The next part of the body: so many bytes of the file that came along, from there.
    File { offset: u64, len: u64 },
    /// What follows the body.
    Trailers(Fields),
    /// The WebSocket is accepted, with this subprotocol, if it is not empty, and these fields.
    Accept(Vec<u8>, Fields),
    /// A message to the client, or a part of one.
    Message { is_text: bool, more: bool, bytes: Vec<u8> },
    /// So many bytes more of messages may be sent.
    Credit(u32),
    /// The app ends the WebSocket.
    Close(u16, String),
    /// The answer is complete.
    End,
    /// The answer cannot be completed, for this reason, for the log.
    Broken(Fault, Option<String>),
    /// The task has ended: the unit is free. Nothing follows.
    Free,
}

/// Where the answer to a request stands.
#[derive(Debug)]
pub(crate) struct Answer {
    asked: Asked,
    stage: Stage,
    /// What came was refused: the rest up to FREE is dropped.
    refused: bool,
    /// The host has said END.
    ended: bool,
}

impl Answer {
    /// To a request of that kind.
    pub(super) fn to(asked: Asked) -> Self {
        Self { asked, stage: Stage::Head, refused: false, ended: false }
    }

    /// Whether the host has said END: it gives nothing more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What a frame is; `None`: nothing for anybody.
    ///
    /// # Errors
    /// It is not the protocol.
    pub(super) fn on_frame(&mut self, frame: Frame) -> Result<Option<Part>, String> {
        let Frame { header, payload } = frame;
        let aborts = header.flags & frame::ABORT != 0;
        let more = header.flags & frame::MORE != 0;
        self.ended |= header.kind == Kind::End;
        Ok(match (self.stage, header.kind) {
            (Stage::Head, Kind::Head) => Some(self.on_head(&payload)),
            (Stage::Head, Kind::Accept) if self.asked == Asked::WebSocket => Some(self.on_accept(&payload)),
            (Stage::Head, Kind::End) => {
                self.stage = Stage::Over;
                let malformed = (Fault::Malformed(Flaw::Frame), Some("no response head".to_owned()));
                let (fault, why) = if aborts { (Fault::Failed, None) } else { malformed };
                Some(Part::Broken(fault, why))
            }
            (Stage::Body(passes), Kind::Body) => {
                (passes && !payload.is_empty()).then_some(Part::Body(payload))
            }
            (Stage::Body(passes), Kind::File) => {
                let (offset, len) = file(&payload).ok_or("a FILE frame of the wrong length")?;
                Some(Part::File { offset, len: if passes { len } else { 0 } })
            }
            (Stage::Body(_), Kind::Trailers) => Some(match trailers(&payload) {
                Ok(fields) => Part::Trailers(fields),
                Err(why) => self.refuse(Fault::Truncated, why),
            }),
            (Stage::Body(_), Kind::End) if aborts => {
                self.stage = Stage::Over;
                let why = "the app failed in the middle of the response";
                Some(Part::Broken(Fault::Truncated, Some(why.to_owned())))
            }
            (Stage::Open, Kind::Text | Kind::Binary) => {
                Some(Part::Message { is_text: header.kind == Kind::Text, more, bytes: payload })
            }
            (Stage::Open, Kind::Close) => Some(close(&payload)?),
            // It may come late: what it makes room for is over.
            (Stage::Open | Stage::Over, Kind::Credit) => Some(credit(&payload)?),
            (Stage::Body(_) | Stage::Open, Kind::End) => {
                self.stage = Stage::Over;
                Some(Part::End)
            }
            (Stage::Over, Kind::Free) => Some(Part::Free),
            (Stage::Over, Kind::File) if self.refused => Some(Part::File { offset: 0, len: 0 }),
            (Stage::Over, Kind::End) if self.refused => Some(Part::End),
            (Stage::Over, Kind::Head | Kind::Body | Kind::Trailers) if self.refused => None,
            (Stage::Over, Kind::Text | Kind::Binary | Kind::Close) if self.refused => None,
            (_, kind) => return Err(format!("an unexpected {kind:?} frame")),
        })
    }

    fn on_head(&mut self, payload: &[u8]) -> Part {
        match head(payload) {
            Ok((head, _)) if head.status.0 < 200 => Part::Interim(head),
            Ok((head, body)) => {
                self.stage = Stage::Body(!head.status.forbids_body());
                Part::Head(head, body)
            }
            Err(why) => self.refuse(Fault::Malformed(Flaw::Frame), why),
        }
    }

    /// A subprotocol, then fields as those of a head.
    fn on_accept(&mut self, payload: &[u8]) -> Part {
        let (protocol, fields) = payload.split_at(payload.iter().position(|byte| *byte == 0).unwrap_or(0));
        match head(&[b"200", fields].concat()) {
            Ok((head, _)) => {
                self.stage = Stage::Open;
                Part::Accept(protocol.to_vec(), head.fields)
            }
            Err(why) => self.refuse(Fault::Malformed(Flaw::Frame), why),
        }
    }

    fn refuse(&mut self, fault: Fault, why: String) -> Part {
        (self.stage, self.refused) = (Stage::Over, true);
        Part::Broken(fault, Some(why))
    }
}

fn trailers(payload: &[u8]) -> Result<Fields, String> {
    head(&[b"200\0", payload].concat()).map(|(head, _)| head.fields)
}

fn credit(payload: &[u8]) -> Result<Part, String> {
    let bytes = payload.try_into().map_err(|_| "a CREDIT frame of the wrong length")?;
    Ok(Part::Credit(u32::from_le_bytes(bytes)))
}

fn close(payload: &[u8]) -> Result<Part, String> {
    let (code, reason) = payload.split_first_chunk().ok_or("a CLOSE frame without a code")?;
    Ok(Part::Close(u16::from_le_bytes(*code), String::from_utf8_lossy(reason).into_owned()))
}
