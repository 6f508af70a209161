//! A client that keeps cookies and fills in Django's forms.

use super::{Connection, Reply};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Like a browser: one connection kept alive, cookies, forms with their CSRF token.
#[derive(Debug)]
pub(crate) struct Browser {
    address: SocketAddr,
    connection: Option<Connection>,
    cookies: BTreeMap<String, String>,
    /// Send bodies chunked instead of with Content-Length.
    pub(crate) chunked: bool,
}

impl Browser {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, cookies: BTreeMap::new(), chunked: false }
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// Submits a form on the page `path` to the same path: gets the page for its token first.
    #[track_caller]
    pub(crate) fn submit(&mut self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.submit_to(path, path, form)
    }

    /// Submits a form on the page `page` to `path`.
    #[track_caller]
    pub(crate) fn submit_to(&mut self, page: &str, path: &str, form: &[(&str, &str)]) -> Reply {
        let token = self.token(page);
        let mut body = format!("csrfmiddlewaretoken={}", encode(&token));
        for (name, value) in form {
            body.push_str(&format!("&{}={}", encode(name), encode(value)));
        }
        self.send("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], body.as_bytes())
    }

    /// Submits a form with one file, and wants JSON.
    #[track_caller]
    pub(crate) fn upload(&mut self, path: &str, name: &str, contents: &[u8]) -> Reply {
        let token = self.token(path);
        let (kind, body) = multipart(&[("csrfmiddlewaretoken", &token)], name, contents);
        self.send("POST", path, &[("Content-Type", &kind), ("Accept", "application/json")], &body)
    }

    /// Submits a form with one file and more fields.
    #[track_caller]
    pub(crate) fn upload_with(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
        name: &str,
        contents: &[u8],
    ) -> Reply {
        let token = self.token(path);
        self.post_file(path, &[&[("csrfmiddlewaretoken", token.as_str())], form].concat(), name, contents)
    }

    /// Posts a form with one file, and without a token.
    #[track_caller]
    pub(crate) fn post_file(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
        name: &str,
        contents: &[u8],
    ) -> Reply {
        let (kind, body) = multipart(form, name, contents);
        self.send("POST", path, &[("Content-Type", &kind)], &body)
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    #[track_caller]
    fn token(&mut self, path: &str) -> String {
        let page = self.get(path);
        assert_eq!(page.status, 200, "{}", page.text());
        let text = page.text();
        let (_, after) =
            text.split_once("name=\"csrfmiddlewaretoken\" value=\"").expect("a form with a CSRF token");
        after.split('"').next().unwrap().to_owned()
    }

    #[track_caller]
    fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let host = self.address.to_string();
        let cookies =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut fields = fields.to_vec();
        fields.push(("Host", &host));
        if !cookies.is_empty() {
            fields.push(("Cookie", &cookies));
        }
        let mut connection =
            self.connection.take().unwrap_or_else(|| Connection::open(self.address).unwrap());
        let reply = if self.chunked && !body.is_empty() {
            connection.request_chunked(method, path, &fields, body)
        } else {
            connection.request(method, path, &fields, body)
        };
        let reply = reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        if !reply.closes() {
            self.connection = Some(connection);
        }
        for cookie in reply.all("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() || value == "\"\"" {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }
}

/// Type and content of a form with a file of the field `file`.
fn multipart(form: &[(&str, &str)], name: &str, contents: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "----hatchery-test-5c1f3a";
    let mut body = String::new();
    for (name, value) in form {
        body.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    ));
    let mut body = body.into_bytes();
    body.extend_from_slice(contents);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// Percent-encodes for a form.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
