//! A name server, played by a thread of the test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(super) const SERVFAIL: u8 = 2;
pub(super) const NXDOMAIN: u8 = 3;

const A: u16 = 1;
const SRV: u16 = 33;

/// Type, time to live and data.
pub(super) type Record = (u16, u32, Vec<u8>);

pub(super) fn a(ttl: u32, address: &str) -> Record {
    (A, ttl, address.parse::<Ipv4Addr>().unwrap().octets().to_vec())
}

pub(super) fn srv(ttl: u32, (priority, weight, port): (u16, u16, u16), target: &str) -> Record {
    let mut data = [priority, weight, port].map(u16::to_be_bytes).concat();
    for label in target.split('.') {
        data.push(label.len() as u8);
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    (SRV, ttl, data)
}

/// What it says to a name: records, or a code.
type Zone = BTreeMap<String, Result<Vec<Record>, u8>>;

/// On a port of its own, ended when dropped.
pub(super) struct Dns {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<String>>,
    silent: AtomicBool,
    ended: AtomicBool,
}

impl Dns {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns = Self { address: socket.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::clone(&dns.shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(answer) = shared.answer(&buffer[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        dns
    }

    pub(super) fn set(&self, name: &str, records: &[Record]) {
        self.shared.zone.lock().unwrap().insert(name.to_owned(), Ok(records.to_vec()));
    }

    pub(super) fn fail(&self, name: &str, code: u8) {
        self.shared.zone.lock().unwrap().insert(name.to_owned(), Err(code));
    }

    /// Questions come to nothing.
    pub(super) fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// What was asked for since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address)));
    }
}

impl Shared {
    /// RFC 1035 §4.1, with one question.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut at, mut labels) = (12, Vec::new());
        while let length @ 1.. = usize::from(*query.get(at)?) {
            labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
            at += 1 + length;
        }
        let end = at + 5;
        let kind = u16::from_be_bytes(query.get(at + 1..at + 3)?.try_into().ok()?);
        let name = labels.join(".");
        self.asked.lock().unwrap().push(name.clone());
        if self.silent.load(Ordering::SeqCst) {
            return None;
        }
        let known = self.zone.lock().unwrap().get(&name).cloned().unwrap_or(Err(NXDOMAIN));
        let code = known.as_ref().err().copied().unwrap_or(0);
        let records: Vec<Record> =
            known.unwrap_or_default().into_iter().filter(|record| record.0 == kind).collect();
        let mut answer = query.get(..2)?.to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend_from_slice(query.get(12..end)?);
        for (kind, ttl, data) in records {
            // The name of the question, by a pointer to it.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes().into_iter().chain([0, 1]).chain(ttl.to_be_bytes()));
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}
