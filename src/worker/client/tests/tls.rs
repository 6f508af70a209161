//! A client of TLS before a worker in memory: what the black box cannot time.

use super::*;
use crate::config::credentials::{Authorities, Certificate, Challenge, Credentials, TicketKey};
use crate::secret::Secret;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;

/// An authority and what it has signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Certificate and key.
    fn sign(
        &self,
        name: &str,
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> (CertificateDer<'static>, Vec<u8>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key.serialize_der())
    }

    fn for_site(
        &self,
        site: usize,
        name: &str,
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> Certificate {
        let (certificate, key) = self.sign(name, algorithm);
        Certificate { site, chain: vec![certificate.to_vec()], key: Secret(key), ocsp: None }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

const SITE: &str = r#"(names: ["shop.test"], listen: ["127.0.0.1:1"], locations: [
    (path: "/files/", to: Files(root: "files")), (path: "/", to: Respond(body: "hello"))])"#;

fn ticket_key(number: u8) -> TicketKey {
    TicketKey { name: [number; 16], key: Secret(vec![number; 32]) }
}

/// A worker with one site, and the client's side of its first connection.
struct Pair {
    bench: Bench,
    tls: ClientConnection,
    got: Vec<u8>,
    /// Reads that gave something.
    reads: u32,
    /// The server has said that nothing follows.
    closed: bool,
    /// What the library says of the server.
    failure: Option<rustls::Error>,
}

impl Pair {
    fn new(
        name: &str,
        sites: &str,
        credentials: &Credentials,
        client: &Arc<ClientConfig>,
        host: &str,
    ) -> Self {
        let mut bench = Bench::with(name, sites, Scheme::Https, &["large"]);
        bench.fill("large", &large());
        let config = Rc::clone(&bench.worker.cx.config);
        bench.worker.cx.keyring.renew(credentials, &config);
        let tls = connection(client, host);
        Self { bench, tls, got: Vec::new(), reads: 0, closed: false, failure: None }
    }

    fn connect_anew(&mut self, client: &Arc<ClientConfig>, host: &str) {
        self.bench.connect_anew();
        self.tls = connection(client, host);
        (self.got, self.closed, self.failure) = (Vec::new(), false, None);
    }

    /// Lets both sides talk until neither has anything to say; what the client writes goes in pieces of that size.
    fn talk(&mut self, piece: usize) {
        loop {
            let mut out = Vec::new();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut out).unwrap();
            }
            for piece in out.chunks(piece) {
                let _gone = self.bench.peer.write_all(piece);
                self.bench.drive();
            }
            self.bench.drive();
            let come = self.take();
            if out.is_empty() && !come {
                return;
            }
        }
    }

    /// What has come from the server; whether anything has.
    fn take(&mut self) -> bool {
        let mut any = false;
        while self.failure.is_none() && matches!(self.tls.read_tls(&mut self.bench.peer), Ok(1..)) {
            any = true;
            self.reads += 1;
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.closed |= state.peer_has_closed();
                    let before = self.got.len();
                    self.got.resize(before + state.plaintext_bytes_to_read(), 0);
                    self.tls.reader().read_exact(&mut self.got[before..]).unwrap();
                }
                Err(error) => self.failure = Some(error),
            }
        }
        any
    }

    fn ask(&mut self, path: &str, more: &str) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{more}\r\n");
        self.tls.writer().write_all(text.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.got).into_owned()
    }
}

fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number / 7) as u8).collect()
}

fn connection(client: &Arc<ClientConfig>, host: &str) -> ClientConnection {
    ClientConnection::new(Arc::clone(client), ServerName::try_from(host.to_owned()).unwrap()).unwrap()
}

fn credentials(certificates: Vec<Certificate>) -> Credentials {
    Credentials { serial: 1, certificates, tickets: vec![ticket_key(1)], ..Credentials::default() }
}

#[test]
fn requests_are_answered_whatever_pieces_they_come_in() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        for piece in [1, 7, usize::MAX] {
            let credentials =
                credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
            let client = Arc::new(authority.client(&[version]));
            let mut pair = Pair::new("tls-pieces", SITE, &credentials, &client, "shop.test");
            pair.ask("/", "");
            pair.talk(piece);
            pair.ask("/", "Connection: close\r\n");
            pair.talk(piece);
            let text = pair.text();
            assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{version:?} {piece}: {text}");
            assert!(text.ends_with("hello") && pair.closed, "{version:?} {piece}: {text}");
            pair.bench.worker.cx.report.flush();
            let log = fs::read_to_string(pair.bench.directory.join("access.log")).unwrap();
            assert_eq!(log.matches("\"tls\":\"TLSv1.").count(), 2, "{log}");
        }
    }
}

/// The socket takes a part at a time, and what waits is not logged before it was taken.
#[test]
fn a_large_file_arrives_whole_and_counts_when_it_has_left() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-large", SITE, &credentials, &client, "shop.test");
    pair.ask("/files/none", "");
    pair.talk(usize::MAX);
    let opened = pair.bench.brought();
    pair.bench.tell(opened);
    pair.talk(usize::MAX);
    pair.got.clear();
    let log = pair.bench.directory.join("access.log");
    pair.bench.worker.cx.report.flush();
    let before = fs::read_to_string(&log).unwrap();
    pair.ask("/files/large", "");
    let (mut out, large) = (Vec::new(), large());
    pair.tls.write_tls(&mut out).unwrap();
    pair.bench.peer.write_all(&out).unwrap();
    pair.bench.drive();
    while pair.got.len() < large.len() {
        pair.bench.worker.cx.report.flush();
        let is_logged = fs::read_to_string(&log).unwrap() != before;
        assert_eq!(is_logged, pair.bench.client().http1().conn.is_idle(), "logged when it has left");
        assert!(pair.take(), "{} of {}", pair.got.len(), large.len());
        pair.bench.drive();
    }
    assert!(pair.got.ends_with(&large));
    pair.bench.worker.cx.report.flush();
    let line = fs::read_to_string(&log).unwrap().split_off(before.len());
    assert!(line.contains(&format!("\"bytes\":{}", large.len())), "{line}");
    assert!(pair.bench.client().http1().conn.is_kept());
}

#[test]
fn a_name_that_no_site_has_is_told_by_an_alert() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS12, &TLS13]));
    let mut pair = Pair::new("tls-unknown", SITE, &credentials, &client, "other.test");
    pair.talk(usize::MAX);
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName);
    assert_eq!(pair.failure, Some(alert));
    // Without a name it is the only one.
    pair.connect_anew(&client, "127.0.0.1");
    pair.talk(usize::MAX);
    assert!(pair.failure.is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_))));
}

#[test]
fn a_site_has_several_certificates_for_names_and_for_what_clients_can_read() {
    let authority = Authority::new();
    let sites = r#"(names: ["shop.test", "*.shop.test"], listen: ["127.0.0.1:1"], locations: [(path: "/", to: Respond(body: "a"))]),
        (names: ["blog.test"], listen: ["127.0.0.1:1"], locations: [(path: "/", to: Respond(body: "b"))])"#;
    let certificates = vec![
        authority.for_site(0, "shop.test", &rcgen::PKCS_ED25519),
        authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256),
        authority.for_site(0, "*.shop.test", &rcgen::PKCS_ECDSA_P384_SHA384),
        authority.for_site(1, "blog.test", &rcgen::PKCS_ECDSA_P256_SHA256),
    ];
    let chain = |number: usize| certificates[number].chain[0].clone();
    let expected = [("shop.test", chain(0)), ("www.shop.test", chain(2)), ("blog.test", chain(3))];
    let credentials = credentials(certificates.clone());
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-choice", sites, &credentials, &client, "shop.test");
    for (host, certificate) in expected {
        pair.connect_anew(&client, host);
        pair.talk(usize::MAX);
        assert_eq!(
            pair.tls.peer_certificates().unwrap()[0].to_vec(),
            certificate,
            "{host} {:?}",
            pair.failure
        );
    }
    // One that cannot read Ed25519.
    let mut provider = rustls::crypto::ring::default_provider();
    let all = provider.signature_verification_algorithms;
    provider.signature_verification_algorithms = rustls::crypto::WebPkiSupportedAlgorithms {
        all: all.all,
        mapping: Vec::leak(
            all.mapping
                .iter()
                .copied()
                .filter(|(scheme, _)| *scheme != rustls::SignatureScheme::ED25519)
                .collect(),
        ),
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let poor =
        ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[&TLS13]).unwrap();
    let poor = Arc::new(poor.with_root_certificates(roots).with_no_client_auth());
    pair.connect_anew(&poor, "shop.test");
    pair.talk(usize::MAX);
    assert_eq!(pair.tls.peer_certificates().unwrap()[0].to_vec(), chain(1));
}

#[test]
fn sessions_are_taken_up_again_by_other_workers_and_not_without_the_key() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    for version in [&TLS12, &TLS13] {
        let mut client = authority.client(&[version]);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let mut newer = credentials.clone();
        (newer.serial, newer.tickets) = (2, vec![ticket_key(2), ticket_key(1)]);
        let mut later = newer.clone();
        later.tickets.remove(1);
        later.tickets[0] = ticket_key(3);
        for (credentials, kind) in [
            (&credentials, HandshakeKind::Full),
            (&credentials, HandshakeKind::Resumed),
            (&newer, HandshakeKind::Resumed),
            (&later, HandshakeKind::Full),
        ] {
            let mut pair = Pair::new("tls-tickets", SITE, credentials, &client, "shop.test");
            pair.ask("/", "Connection: close\r\n");
            pair.talk(usize::MAX);
            assert!(pair.text().ends_with("hello"), "{:?}", pair.failure);
            assert_eq!(pair.tls.handshake_kind(), Some(kind), "{version:?} {:?}", credentials.tickets);
        }
    }
}

#[test]
fn tickets_leave_with_the_first_answer_if_one_follows_and_the_end_with_the_last() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-writes", SITE, &credentials, &client, "shop.test");
    let keep = "";
    let close = "Connection: close\r\n";
    // The first write of each connection is the server's part of the handshake.
    for (requests, writes) in
        [(&[][..], 2), (&[keep], 2), (&[close], 2), (&[keep, keep], 3), (&[keep, close], 3)]
    {
        pair.connect_anew(&client, "shop.test");
        pair.bench.connect_by_messages();
        pair.reads = 0;
        for more in requests {
            pair.ask("/", more);
            pair.talk(usize::MAX);
        }
        pair.talk(usize::MAX);
        assert_eq!((pair.reads, pair.tls.tls13_tickets_received()), (writes, 2), "{requests:?}");
        assert_eq!(pair.text().matches("HTTP/1.1 200 OK").count(), requests.len());
        assert_eq!(pair.closed, requests.ends_with(&[close]), "{requests:?}");
    }
    // Whoever leaves at once has them, too.
    pair.connect_anew(&client, "shop.test");
    pair.bench.connect_by_messages();
    pair.reads = 0;
    let mut flight = Vec::new();
    pair.tls.write_tls(&mut flight).unwrap();
    pair.bench.peer.write_all(&flight).unwrap();
    pair.bench.drive();
    pair.take();
    pair.tls.send_close_notify();
    pair.talk(usize::MAX);
    assert_eq!((pair.reads, pair.tls.tls13_tickets_received(), pair.closed), (2, 2, true));
}

#[test]
fn what_is_no_tls_gets_an_alert_and_plain_http_is_shown_the_way() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-garbage", SITE, &credentials, &client, "shop.test");
    let plain = b"GET /a?b=c HTTP/1.1\r\nHost: Shop.test\r\n\r\n";
    for piece in [1, plain.len()] {
        pair.bench.connect_anew();
        for piece in plain.chunks(piece) {
            pair.bench.peer.write_all(piece).unwrap();
            pair.bench.drive();
        }
        let text = pair.bench.answered();
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("Connection: close\r\n"), "{text}");
        assert!(text.contains("This port speaks HTTPS. Ask for https://shop.test/a?b=c\n"), "{text}");
    }
    for garbage in [
        &b"\x16\x03\x01\xff\xff\x00\x00"[..],
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        &[0; 70],
        &[0x16; 20_000],
    ] {
        pair.bench.connect_anew();
        pair.bench.peer.write_all(garbage).unwrap();
        pair.bench.drive();
        let mut bytes = [0; 100];
        let read = pair.bench.peer.read(&mut bytes);
        assert!(matches!(read, Ok(7)) && bytes[0] == 21, "{read:?} {garbage:?}");
        assert_eq!(pair.bench.client().wire.phase, Phase::Lingering, "{garbage:?}");
        assert_eq!(pair.bench.peer.read(&mut bytes).unwrap(), 0, "nothing follows");
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection_with_an_alert() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(authority.client(&[version]));
        let mut pair = Pair::new("tls-changed", SITE, &credentials, &client, "shop.test");
        pair.talk(usize::MAX);
        pair.ask("/", "");
        let mut out = Vec::new();
        pair.tls.write_tls(&mut out).unwrap();
        *out.last_mut().unwrap() ^= 1;
        pair.bench.peer.write_all(&out).unwrap();
        pair.bench.drive();
        pair.take();
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(pair.failure, Some(alert), "{version:?}");
        assert_eq!(pair.bench.client().wire.phase, Phase::Closed);
    }
}

#[test]
fn handshakes_of_one_turn_are_bounded_and_the_newest_is_first() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-many", SITE, &credentials, &client, "shop.test");
    let mut hello = Vec::new();
    pair.tls.write_tls(&mut hello).unwrap();
    let mut peers = Vec::new();
    for _ in 0..40 {
        let (key, mut peer, server) = connect(&mut pair.bench.worker);
        peer.write_all(&hello).unwrap();
        pair.bench.worker.cx.run_soon(key);
        peers.push((peer, server));
    }
    // One of them has gone, and is not answered.
    let (gone, server) = peers.remove(0);
    gone.shutdown(std::net::Shutdown::Both).unwrap();
    let key = pair.bench.worker.clients.keys()[1];
    let left = Readiness { read: true, read_closed: true, ..Readiness::default() };
    pair.bench.worker.clients.get_mut(key).unwrap().note(left);
    let mut answered = Vec::new();
    let mut is_first = None;
    while pair.bench.worker.cx.has_work() {
        pair.bench.worker.run_clients();
        let heard: Vec<bool> =
            peers.iter_mut().map(|(peer, _)| (&*peer).read(&mut [0; 4096]).is_ok()).collect();
        is_first.get_or_insert(heard[38]);
        answered.push(heard.into_iter().filter(|heard| *heard).count());
    }
    assert_eq!((answered, is_first), (vec![8, 8, 8, 8, 7], Some(true)));
    drop(server);
    assert_eq!(pair.bench.worker.closed, [key]);
}

/// Counted in turns of the loop, whose length is bounded by the handshakes in it.
#[test]
fn a_visitor_among_handshakes_without_end_is_served_within_a_few_turns() {
    let authority = Authority::new();
    let credentials = credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut pair = Pair::new("tls-burst", SITE, &credentials, &client, "shop.test");
    let mut hello = Vec::new();
    pair.tls.write_tls(&mut hello).unwrap();
    let begin = |pair: &mut Pair, hello: &[u8]| {
        let (key, mut peer, _) = connect(&mut pair.bench.worker);
        peer.write_all(hello).unwrap();
        pair.bench.worker.cx.run_soon(key);
        peer
    };
    let mut burst: Vec<UnixStream> = (0..2000).map(|_| begin(&mut pair, &hello)).collect();
    let halves: Vec<UnixStream> = (0..2000).map(|_| begin(&mut pair, &hello[..hello.len() / 2])).collect();
    pair.bench.worker.run_clients();
    pair.connect_anew(&client, "shop.test");
    pair.ask("/", "");
    let mut turns = 0;
    while !pair.text().ends_with("hello") {
        let mut out = Vec::new();
        while pair.tls.wants_write() {
            pair.tls.write_tls(&mut out).unwrap();
        }
        pair.bench.peer.write_all(&out).unwrap();
        let key = pair.bench.key;
        pair.bench.client().note(Readiness { read: true, write: true, ..Readiness::default() });
        pair.bench.worker.cx.run_soon(key);
        pair.bench.worker.run_clients();
        pair.take();
        // Others come all the time.
        burst.extend((0..8).map(|_| begin(&mut pair, &hello)));
        turns += 1;
        assert!(turns <= 6, "{} bytes after {turns} turns", pair.got.len());
    }
    let answered =
        |peers: &[UnixStream]| peers.iter().filter(|peer| (&**peer).read(&mut [0]).is_ok()).count();
    assert!(answered(&burst) <= 8 * (turns + 1), "{} in {turns} turns", answered(&burst));
    assert_eq!(answered(&halves), 0);
}

#[test]
fn clients_show_certificates_where_a_site_asks_for_them() {
    let authority = Authority::new();
    let strangers = Authority::new();
    let mut credentials =
        credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    credentials.authorities = vec![Authorities { site: 0, certificates: vec![authority.der().to_vec()] }];
    let with = |signer: &Authority| {
        let (certificate, key) = signer.sign("alice", &rcgen::PKCS_ECDSA_P256_SHA256);
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key).into();
        let client = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(client.with_client_auth_cert(vec![certificate], key).unwrap())
    };
    let none = Arc::new(authority.client(&[&TLS13]));
    for (client, alert) in [
        (with(&authority), None),
        (none, Some(rustls::AlertDescription::CertificateRequired)),
        (with(&strangers), Some(rustls::AlertDescription::DecryptError)),
    ] {
        let sites = r#"(names: ["shop.test"], tls: (listen: ["127.0.0.1:1"], certificates: SelfSigned,
            clients: (ca: "ca.pem", required: true)), locations: [(path: "/", to: Respond(body: "hello"))])"#;
        let mut pair = Pair::new("tls-clients", sites, &credentials, &client, "shop.test");
        pair.ask("/", "Connection: close\r\n");
        pair.talk(usize::MAX);
        match alert {
            None => {
                assert!(pair.text().ends_with("hello"), "{:?}", pair.failure);
                let session = pair.bench.client().wire.peer.session.clone().unwrap();
                let shown = session.secure.client.as_ref().unwrap();
                assert_eq!(shown.subject, "CN=alice");
                assert_eq!((shown.fingerprint.len(), shown.serial.is_empty()), (64, false));
                // It may have ended when it is wanted again.
                pair.connect_anew(&client, "shop.test");
                pair.talk(usize::MAX);
                assert_eq!(pair.tls.handshake_kind(), Some(HandshakeKind::Full));
            }
            Some(alert) => {
                assert!(pair.got.is_empty());
                assert!(
                    matches!(&pair.failure, Some(rustls::Error::AlertReceived(_))),
                    "{alert:?} {:?}",
                    pair.failure
                );
            }
        }
    }
}

#[test]
fn a_challenge_is_answered_to_whoever_asks_for_it_by_its_protocol_and_nothing_else() {
    let authority = Authority::new();
    let mut credentials =
        credentials(vec![authority.for_site(0, "shop.test", &rcgen::PKCS_ECDSA_P256_SHA256)]);
    let (certificate, key) = authority.sign("shop.test", &rcgen::PKCS_ECDSA_P256_SHA256);
    credentials.challenges = vec![Challenge::Alpn {
        name: "shop.test".to_owned(),
        certificate: certificate.to_vec(),
        key: Secret(key),
    }];
    let mut client = authority.client(&[&TLS13]);
    client.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let client = Arc::new(client);
    let mut pair = Pair::new("tls-challenge", SITE, &credentials, &client, "shop.test");
    pair.ask("/", "");
    pair.talk(usize::MAX);
    assert_eq!(pair.tls.peer_certificates().unwrap()[0], certificate);
    assert!(pair.closed && pair.got.is_empty(), "{}", pair.text());
    assert_eq!(pair.bench.client().wire.phase, Phase::Closed);
    // Once it is no longer open, the protocol is none that is spoken here, whatever comes late.
    credentials.challenges.push(Challenge::Http {
        name: "shop.test".to_owned(),
        token: "token".to_owned(),
        authorization: "answer".to_owned(),
    });
    let late = credentials.clone();
    credentials.challenges.clear();
    credentials.serial += 1;
    pair.bench.worker.cx.renew(&credentials);
    pair.bench.worker.cx.renew(&late);
    let path = b"/.well-known/acme-challenge/token";
    assert_eq!(pair.bench.worker.cx.challenges.answer(b"shop.test", path), None);
    pair.connect_anew(&client, "shop.test");
    pair.talk(usize::MAX);
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
    assert_eq!(pair.failure, Some(alert));
}
