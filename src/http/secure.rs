//! What the handshake of a client's connection has settled, as applications and upstreams are told of it.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secure {
    /// `TLSv1.2`, `TLSv1.3`.
    pub(crate) version: &'static str,
    /// As IANA names it.
    pub(crate) cipher: String,
    /// What the client has shown: the site has asked for it, and trusts who has signed it.
    pub(crate) client: Option<Certificate>,
}

/// A certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// RFC 4514.
    pub(crate) subject: String,
    /// RFC 4514.
    pub(crate) issuer: String,
    /// Hexadecimal.
    pub(crate) serial: String,
    /// SHA-256 of the whole, hexadecimal.
    pub(crate) fingerprint: String,
}

/// What is told of it with a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// What was settled; `None` of a connection in the clear.
    pub(crate) connection: Option<&'a Secure>,
    /// The site asks clients for certificates: whether one was shown is told in any case.
    pub(crate) asks_client: bool,
    /// Some site does: what claims to tell of one is not passed on, wherever it comes from.
    pub(crate) is_asked: bool,
}

/// Fields that tell upstreams of the certificate begin with it.
const FIELD: &[u8] = b"x-ssl-client-";

impl<'a> Told<'a> {
    /// What is told of the client's certificate, by names that others use: `S-DN` is `SSL_CLIENT_S_DN` and `X-SSL-Client-S-DN`.
    pub(crate) fn each_of_client(&self, mut put: impl FnMut(&'static str, &'a str)) {
        if !self.asks_client {
            return;
        }
        let Some(client) = self.connection.and_then(|connection| connection.client.as_ref()) else {
            return put("Verify", "NONE");
        };
        put("Verify", "SUCCESS");
        put("S-DN", &client.subject);
        put("I-DN", &client.issuer);
        put("Serial", &client.serial);
        put("Fingerprint", &client.fingerprint);
    }

    /// Whether a field of the request claims to tell it.
    pub(crate) fn is_claim(&self, name: &[u8]) -> bool {
        self.is_asked && name.get(..FIELD.len()).is_some_and(|start| start.eq_ignore_ascii_case(FIELD))
    }
}
