//! An authority for tests: Debian's pebble, a name server of ours for it that knows every name at 127.0.0.1, and in front of
//! it a server of ours that passes on what it is asked, counts, and may answer otherwise.

use crate::harness::{Directory, SOON, holds, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// What came, and what goes out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// First line without `HTTP/1.1`: `GET /dir`, `200 OK`.
    pub(crate) line: String,
    /// Each with its end of line.
    pub(crate) fields: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(line: &str, fields: &str, body: &str) -> Self {
        Self { line: line.to_owned(), fields: fields.to_owned(), body: body.into() }
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::new("200 OK", "Content-Type: application/json\r\n", body)
    }

    /// A problem of that kind (RFC 8555 §6.7).
    pub(crate) fn problem(status: &str, kind: &str, fields: &str) -> Self {
        let body = format!(
            "{{\"type\": \"urn:ietf:params:acme:error:{kind}\", \"detail\": \"says the test\", \"status\": 400}}"
        );
        Self::new(
            status,
            &format!("Content-Type: application/problem+json\r\nReplay-Nonce: x\r\n{fields}"),
            &body,
        )
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Answers a request, given a way to pass it on; `None`: it is passed on.
type Hook = Box<dyn Fn(&Message, &dyn Fn() -> Message) -> Option<Message> + Send + Sync>;

/// See the module. Dropping it ends pebble.
pub(crate) struct Authority {
    pebble: Child,
    /// Of the front.
    pub(crate) address: SocketAddr,
    /// Who signs the front's certificate, in PEM.
    pub(crate) roots: String,
    front: Arc<Front>,
    _directory: Directory,
}

struct Front {
    hook: Mutex<Arc<Hook>>,
    /// First lines of what was asked.
    asked: Mutex<Vec<String>>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    pebble: SocketAddr,
}

/// Where pebble connects to, and how it is.
pub(crate) struct Options {
    pub(crate) http: u16,
    pub(crate) tls: u16,
    /// Seconds for which its certificates are good.
    pub(crate) valid: u64,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) binding: bool,
    /// Where it is itself, to be asked for by this name.
    pub(crate) at: &'static str,
    pub(crate) name: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        let (http, tls, valid, environment, binding) = (0, 0, 90 * 86_400, &[][..], false);
        Self { http, tls, valid, environment, binding, at: "127.0.0.1:0", name: "localhost" }
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Authority {
    pub(crate) fn new(options: &Options) -> Self {
        let directory = Directory::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        // The one of pebble itself, too.
        let names = vec!["localhost".to_owned(), options.name.to_owned()];
        let own = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![own.der().clone()], der).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth());
        directory.write("cert.pem", own.pem());
        directory.write("key.pem", key.serialize_pem());
        let (pebble, listens) = std::iter::repeat_with(|| started(&directory, options, &client))
            .find_map(|started| started)
            .unwrap();
        let listener = TcpListener::bind(options.at).unwrap();
        let front = Arc::new(Front {
            hook: Mutex::new(Arc::new(Box::new(|_, _| None))),
            asked: Mutex::default(),
            server: Arc::new(server),
            client,
            pebble: listens,
        });
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&front);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let front = Arc::clone(&serving);
                std::thread::spawn(move || front.serve(stream));
            }
        });
        Self { pebble, address, roots: root.pem(), front, _directory: directory }
    }

    /// Address of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// From now on it answers so.
    pub(crate) fn answers(
        &self,
        hook: impl Fn(&Message, &dyn Fn() -> Message) -> Option<Message> + Send + Sync + 'static,
    ) {
        *self.front.hook.lock().unwrap() = Arc::new(Box::new(hook));
    }

    /// How many requests had this in their first line.
    pub(crate) fn asked(&self, text: &str) -> usize {
        self.front.asked.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// Orders that were begun.
    pub(crate) fn orders(&self) -> usize {
        self.asked("POST /order-plz")
    }

    #[track_caller]
    pub(crate) fn wait_orders(&self, count: usize) {
        wait_until(SOON, "orders are begun", || {
            holds(self.orders() >= count, &*self.front.asked.lock().unwrap())
        });
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.pebble.kill().unwrap();
        self.pebble.wait().unwrap();
    }
}

fn configuration(options: &Options, listens: SocketAddr) -> String {
    let Options { http, tls, valid, binding, .. } = options;
    format!(
        r#"{{"pebble": {{"listenAddress": "{listens}", "managementListenAddress": "", "certificate": "cert.pem",
            "privateKey": "key.pem", "httpPort": {http}, "tlsPort": {tls}, "ocspResponderURL": "",
            "externalAccountBindingRequired": {binding}, "externalAccountMACKeys": {{"kid-1": "{BINDING}"}},
            "certificateValidityPeriod": {valid}}}}}"#
    )
}

/// The key of the account `kid-1`.
pub(crate) const BINDING: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Starts pebble, up to its first handshake; `None` if somebody else has taken its port meanwhile.
fn started(
    directory: &Directory,
    options: &Options,
    client: &Arc<ClientConfig>,
) -> Option<(Child, SocketAddr)> {
    let listens = SocketAddr::from(([127, 0, 0, 1], free_port()));
    directory.write("pebble.json", configuration(options, listens));
    let mut child = pebble(directory, options);
    wait_until(SOON, "pebble listens", || {
        if child.try_wait().unwrap().is_some() {
            return Ok(None);
        }
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(client), name).unwrap();
        let shaken = TcpStream::connect(listens).and_then(|mut stream| connection.complete_io(&mut stream));
        shaken.map(|_| Some(())).map_err(|error| error.to_string())
    })
    .map(|()| (child, listens))
}

fn pebble(directory: &Directory, options: &Options) -> Child {
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = names.local_addr().unwrap().to_string();
    std::thread::spawn(move || answer_names(&names));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--", "pebble", "-config", "pebble.json", "-dnsserver", &address]);
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_AUTHZREUSE", "0");
    command.envs(options.environment.iter().copied());
    crate::harness::spawn(command).expect("pebble is there (scripts/test installs it: apt install pebble)")
}

/// Every name is at 127.0.0.1, and nothing else is known of it.
fn answer_names(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
        let Some(question) = buffer.get(12..length) else { continue };
        let name = question.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
        let Some(question) = question.get(..name + 4) else { continue };
        let is_address = question.get(name..name + 2) == Some(&[0, 1]);
        let mut answer =
            [&buffer[..2], b"\x81\x80\0\x01\0", &[u8::from(is_address)], b"\0\0\0\0", question].concat();
        if is_address {
            answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x7f\0\0\x01");
        }
        socket.send_to(&answer, asker).unwrap();
    }
}

impl Front {
    /// One request a connection. Whoever breaks off is none of its concern.
    fn serve(&self, stream: TcpStream) {
        let connection = ServerConnection::new(Arc::clone(&self.server)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let Some(request) = read(&mut stream) else { return };
        self.asked.lock().unwrap().push(request.line.clone());
        let hook = Arc::clone(&self.hook.lock().unwrap());
        let pass = || self.pass_on(&request);
        let answer = hook(&request, &pass).unwrap_or_else(pass);
        let _left = write(&mut stream, &format!("HTTP/1.1 {}", answer.line), &answer);
        stream.conn.send_close_notify();
        let _left = stream.flush();
    }

    fn pass_on(&self, request: &Message) -> Message {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(self.pebble).unwrap());
        // Let's Encrypt has it elsewhere.
        let line = request.line.replace("GET /directory", "GET /dir");
        write(&mut stream, &format!("{line} HTTP/1.1"), request).unwrap();
        read(&mut stream).expect("pebble answers")
    }
}

fn read(stream: &mut impl Read) -> Option<Message> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let line = line.trim().trim_end_matches(" HTTP/1.1").trim_start_matches("HTTP/1.1 ").to_owned();
    let (mut fields, mut length, mut in_chunks) = (String::new(), 0, false);
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        if field.trim().is_empty() {
            break;
        }
        let lower = field.to_ascii_lowercase();
        match lower.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(("connection", _)) => {}
            Some(("transfer-encoding", _)) => in_chunks = true,
            _ => fields.push_str(&field),
        }
    }
    let is_answer_without = line.starts_with("HEAD ");
    let mut body = vec![0; if is_answer_without { 0 } else { length }];
    reader.read_exact(&mut body).ok()?;
    while in_chunks {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        in_chunks = size > 0;
    }
    Some(Message { line, fields, body })
}

fn write(stream: &mut impl Write, line: &str, message: &Message) -> std::io::Result<()> {
    let Message { fields, body, .. } = message;
    let head = format!("{line}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()
}
