//! Servers behind the proxy, played by threads of the test.

use super::Connection;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request as the upstream received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Number of the connection it came on, counted from 0.
    pub(crate) connection: usize,
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What followed it.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Received {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let wanted = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.as_str()).collect()
    }
}

/// A server on a port of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// Connections that are being served, by number.
    open: Arc<Mutex<BTreeMap<usize, TcpStream>>>,
    ended: Arc<AtomicBool>,
}

impl Upstream {
    /// For each request, `answer` writes the response and says whether the connection stays open.
    pub(crate) fn start(answer: impl Fn(&Received, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let received = Arc::new(Mutex::default());
        let into = Arc::clone(&received);
        let mut upstream = Self::raw(move |connection, stream| serve(connection, stream, &into, &answer));
        upstream.received = received;
        upstream
    }

    /// Does this with each connection, of that number.
    pub(crate) fn raw(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Self {
        Self::bound(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    /// The same, where this listens.
    pub(crate) fn bound(
        listener: TcpListener,
        serve: impl Fn(usize, TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            open: Arc::default(),
            ended: Arc::default(),
        };
        let (open, ended) = (upstream.open.clone(), upstream.ended.clone());
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                open.lock().unwrap().insert(connection, stream.try_clone().unwrap());
                let (serve, open) = (serve.clone(), open.clone());
                std::thread::spawn(move || {
                    serve(connection, stream);
                    open.lock().unwrap().remove(&connection);
                });
            }
        });
        upstream
    }

    /// Answers every request with 200 and these bytes, and keeps connections open.
    pub(crate) fn fixed(body: &'static str) -> Self {
        Self::start(move |_, stream| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).is_ok()
        })
    }

    /// Everything received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The same, and forgets it.
    pub(crate) fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// Connections that are open, as it sees it.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap().len()
    }

    #[track_caller]
    pub(crate) fn last(&self) -> Received {
        self.received.lock().unwrap().last().cloned().expect("a request")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().values() {
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    connection: usize,
    mut stream: TcpStream,
    received: &Mutex<Vec<Received>>,
    answer: &dyn Fn(&Received, &mut TcpStream) -> bool,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(connection, &mut reader) {
        received.lock().unwrap().push(request.clone());
        if !answer(&request, &mut stream) {
            drop(stream.shutdown(Shutdown::Both));
            return;
        }
    }
}

fn read(connection: usize, reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let line = read_line(reader)?;
    let (fields, body, trailers) = (read_fields(reader)?, Vec::new(), Vec::new());
    let mut request = Received { connection, line, fields, body, trailers };
    if let Some(length) = request.all("content-length").first() {
        request.body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut request.body).ok()?;
    } else if request.all("transfer-encoding") == ["chunked"] {
        loop {
            let mut chunk = vec![0; usize::from_str_radix(&read_line(reader)?, 16).ok()?];
            if chunk.is_empty() {
                request.trailers = read_fields(reader)?;
                break;
            }
            reader.read_exact(&mut chunk).ok()?;
            read_line(reader)?;
            request.body.extend_from_slice(&chunk);
        }
    }
    Some(request)
}

fn read_fields(reader: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let field = read_line(reader)?;
        if field.is_empty() {
            return Some(fields);
        }
        let (name, value) = field.split_once(": ")?;
        fields.push((name.to_owned(), value.to_owned()));
    }
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    // One character a byte: what clients write need not be UTF-8.
    Some(line.strip_suffix(b"\r\n")?.iter().copied().map(char::from).collect())
}

/// How many of so many requests, over one connection, each server has answered that says its name.
pub(crate) fn shares(address: SocketAddr, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut client = Connection::open(address).unwrap();
    for _ in 0..requests {
        let reply = client.get("/").unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        *counts.entry(reply.text()).or_default() += 1;
    }
    counts
}

/// To compare them with.
pub(crate) fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}
