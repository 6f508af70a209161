//! A stream of a worker to a unit: its requests, one after the other, in a thread of their own. The claim of the unit on the
//! board sees to it that only one stream has one.

use super::run::Run;
use super::{Host, start};
use crate::control::frame::{self, Frame, Header, Kind, Reader};
use crate::gateway::app::INLINE;
use crate::sys::file::{Nature, nature};
use crate::sys::poll::{Interest, Set};
use crate::sys::{clock, process, rights, transfer};
use crate::timer::Time;
use std::collections::VecDeque;
use std::io::{self, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Read at a time.
const PIECE: usize = 64 * 1024;
/// Bytes of a thread's stack.
const STACK: usize = 256 * 1024;

/// The worker has gone, or does not speak as one.
#[derive(Debug)]
pub(super) struct Gone;

/// See the module.
pub(super) struct Stream {
    pub(super) host: Arc<Host>,
    socket: Arc<OwnedFd>,
    row: u16,
    unit: u16,
    reader: Reader,
    frames: VecDeque<Frame>,
    descriptors: Vec<OwnedFd>,
    buffer: Vec<u8>,
    /// For what scripts write, while none runs.
    pub(super) spare: Vec<u8>,
}

impl Stream {
    pub(super) fn new(host: Arc<Host>, socket: Arc<OwnedFd>, row: u16, unit: u16) -> Self {
        Self {
            host,
            socket,
            row,
            unit,
            reader: Reader::of_host(),
            frames: VecDeque::new(),
            descriptors: Vec::new(),
            buffer: vec![0; PIECE],
            spare: vec![0; PIECE],
        }
    }

    /// Serves it in a thread, until the worker closes it.
    ///
    /// # Errors
    /// EAGAIN: there may be no more threads.
    pub(super) fn spawn(mut self) -> io::Result<()> {
        let name = format!("unit-{}", self.unit);
        let run = move || {
            while self.serve().is_ok() {}
            let Self { host, socket, row, unit, .. } = self;
            drop(socket);
            host.free(row, unit);
        };
        std::thread::Builder::new().name(name).stack_size(STACK).spawn(run).map(drop)
    }

    /// One request.
    fn serve(&mut self) -> Result<(), Gone> {
        let Frame { header, payload } = self.next()?;
        match header.kind {
            Kind::Request => {}
            // Of a request that is over.
            Kind::Cancel => return Ok(()),
            _ => return Err(Gone),
        }
        self.host.begins(self.row, self.unit);
        let answered = self.answer(header, &payload);
        self.host.is_over(self.row, self.unit);
        answered
    }

    fn answer(&mut self, header: Header, payload: &[u8]) -> Result<(), Gone> {
        let body = self.body(header)?;
        let began = clock::now();
        let mut out = Vec::new();
        let host = Arc::clone(&self.host);
        match start::start(&host, payload, body) {
            Ok(started) => Run::new(started, header.stream, began, self).finish(&mut out)?,
            Err(status) => {
                frame::push(&mut out, Kind::End, frame::ABORT, header.stream, &status.to_le_bytes());
            }
        }
        let took = u32::try_from(clock::now().since(began).as_micros()).unwrap_or(u32::MAX);
        frame::push(&mut out, Kind::Free, 0, header.stream, &took.to_le_bytes());
        while !out.is_empty() {
            self.send(&mut out)?;
            if !out.is_empty() {
                self.wait(Interest::WRITE, None)?;
            }
        }
        Ok(())
    }

    /// The body of a request: a file from its beginning on. In frames come no more than [`INLINE`] bytes.
    fn body(&mut self, header: Header) -> Result<Option<OwnedFd>, Gone> {
        if header.flags & frame::FD != 0 {
            let file =
                self.descriptors.pop().filter(|file| nature(file.as_fd()) != Nature::Other).ok_or(Gone)?;
            let mut file = std::fs::File::from(file);
            file.rewind().map_err(|_| Gone)?;
            return Ok(Some(file.into()));
        }
        if header.flags & frame::END != 0 {
            return Ok(None);
        }
        let mut body = Vec::new();
        loop {
            let Frame { header, payload } = self.next()?;
            match header.kind {
                Kind::Body if body.len() + payload.len() > INLINE as usize => return Err(Gone),
                Kind::Body => body.extend_from_slice(&payload),
                Kind::End => break,
                _ => return Err(Gone),
            }
        }
        let mut file = std::fs::File::from(process::sealed_file(&body).map_err(|_| Gone)?);
        file.rewind().map_err(|_| Gone)?;
        Ok(Some(file.into()))
    }

    /// The next frame, as soon as it has come.
    fn next(&mut self) -> Result<Frame, Gone> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            self.wait(Interest::READ, None)?;
            self.fill()?;
        }
    }

    fn wait(&self, interest: Interest, until: Option<Time>) -> Result<(), Gone> {
        let mut set = Set::new();
        set.add(self.socket.as_fd(), (), interest);
        set.wait(clock::now(), until).map(drop).map_err(|_| Gone)
    }

    /// Takes what has come.
    fn fill(&mut self) -> Result<(), Gone> {
        let mut came = Vec::new();
        match rights::receive(self.socket.as_fd(), &mut self.buffer, &mut came) {
            Ok(received) if received.bytes == 0 || received.lost => return Err(Gone),
            Ok(received) => self.reader.feed(self.buffer.get(..received.bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Gone),
        }
        self.descriptors.append(&mut came);
        if self.descriptors.len() > 1 {
            return Err(Gone);
        }
        while let Some(frame) = self.reader.poll().map_err(|_| Gone)? {
            self.frames.push_back(frame);
        }
        Ok(())
    }

    /// Where it is waited for.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the worker has said by now that nobody waits for the answer to that request.
    ///
    /// # Errors
    /// It has gone, or says something else.
    pub(super) fn is_cancelled(&mut self, number: u32) -> Result<bool, Gone> {
        self.fill()?;
        let mut is_cancelled = false;
        while let Some(Frame { header, .. }) = self.frames.pop_front() {
            if header.kind != Kind::Cancel {
                return Err(Gone);
            }
            is_cancelled |= header.stream == number;
        }
        Ok(is_cancelled)
    }

    /// Sends as much of this as there is room for, and takes it out.
    pub(super) fn send(&self, out: &mut Vec<u8>) -> Result<(), Gone> {
        match transfer::write(self.socket.as_fd(), out) {
            Ok(count) if count == out.len() => out.clear(),
            Ok(count) => drop(out.drain(..count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => return Err(Gone),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::cgi;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// The body of a request that comes in frames of these lengths.
    fn body(lengths: &[usize]) -> Result<Vec<u8>, Gone> {
        let scripts = cgi::Scripts {
            root: "/".into(),
            links: cgi::Links::Refuse,
            interpreters: Vec::new(),
            timeout: Duration::from_secs(1),
            pass_authorization: false,
            units: 1,
        };
        let tell = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let host = Arc::new(super::super::host_of(scripts, tell).unwrap());
        let (mut worker, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = Stream::new(host, Arc::new(socket.into()), 0, 0);
        let mut out = Vec::new();
        lengths.iter().for_each(|length| frame::push(&mut out, Kind::Body, 0, 1, &vec![b'x'; *length]));
        frame::push(&mut out, Kind::End, 0, 1, b"");
        // More than a socket may hold at once.
        let writer = std::thread::spawn(move || drop(worker.write_all(&out)));
        let header = Header { length: 0, kind: Kind::Request, flags: 0, stream: 1 };
        let body = stream.body(header).map(|file| {
            let mut bytes = Vec::new();
            let mut file = std::fs::File::from(file.unwrap());
            file.read_to_end(&mut bytes).unwrap();
            assert!(file.write_all(b"more").is_err(), "a script cannot change it");
            bytes
        });
        drop(stream);
        writer.join().unwrap();
        body
    }

    #[test]
    fn a_body_in_frames_is_as_long_as_workers_make_it_at_most() {
        let most = INLINE as usize;
        assert_eq!(body(&[5]).unwrap(), b"xxxxx");
        assert_eq!(body(&[most / 2, most / 2]).unwrap().len(), most);
        assert!(body(&[most / 2, most / 2, 1]).is_err());
        assert!(body(&[64 * most]).is_err());
    }
}
