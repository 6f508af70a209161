//! Master and helper: a message is JSON that follows its length, a u32, in both directions. The master gives one order at a
//! time; the helper answers until the order is done or has failed.
//!
//! | order | is answered by |
//! |---|---|
//! | (the start) | `Ready` |
//! | `Issue` | `Account` where a new one was made, `Place` and, after `Placed`, perhaps again; at last `Issued` or `Failed` |
//! | `Look` | `Window`, `NoWindow` or `Failed` |
//! | `LookUp` | `Found` or `NotFound` for each name, as soon as it is known; or `Stale` |
//!
//! What the helper says comes from strangers on the net: the master checks it before it uses it.

use super::digits;
use crate::secret::{self, Hidden, Secret};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// From the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Get a certificate.
    Issue(Box<Issue>),
    /// What was to be placed is: every worker answers with it.
    Placed,
    /// Ask when a certificate should be renewed (RFC 9773).
    Look {
        /// Whom.
        directory: Directory,
        /// Names the certificate: key of its issuer and serial number.
        certificate: String,
    },
    /// Look names up, each by itself.
    LookUp {
        /// Who is asked; none: whom the system asks.
        servers: Vec<SocketAddr>,
        /// Hosts, or with [`SERVICE`] before them services.
        names: Vec<String>,
    },
}

/// Before the name of a service, whose SRV records are looked up.
pub(crate) const SERVICE: &str = "srv:";

/// A server that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Located {
    /// Its address.
    pub(crate) ip: IpAddr,
    /// Of a service: as the record says (RFC 2782).
    pub(crate) port: u16,
    pub(crate) priority: u16,
    pub(crate) weight: u16,
}

/// An authority, where its directory is (RFC 8555 §7.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// Of `https`.
    pub(crate) url: String,
    /// Who may have signed its server's certificate, in PEM; `None`: whom this machine trusts.
    pub(crate) authorities: Option<String>,
}

/// What certificate, from whom, as who.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issue {
    /// The authority.
    pub(crate) directory: Directory,
    /// Who orders; `None`: a new account is made.
    pub(crate) account: Option<Account>,
    /// Whom the authority may write to, of a new account.
    pub(crate) email: Option<String>,
    /// By which the authority knows the owner of a new account (RFC 8555 §7.3.4).
    pub(crate) binding: Option<Binding>,
    /// For these names, at least one.
    pub(crate) names: Vec<String>,
    /// How they are shown to be ours; the second one where the first has failed.
    pub(crate) ways: Vec<Way>,
    /// Names the certificate that is replaced, for an authority that has said when to.
    pub(crate) replaces: Option<String>,
}

/// How a name is shown to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// A file of the site (`http-01`, RFC 8555 §8.3).
    Http,
    /// A handshake of its own (`tls-alpn-01`, RFC 8737).
    Alpn,
}

/// An account at an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Its address there.
    pub(crate) id: String,
    /// PKCS#8 in base64url.
    pub(crate) key: Hidden,
}

/// See [`Issue::binding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// As the authority gave it.
    pub(crate) key_id: String,
    /// In base64url, as it gave it.
    pub(crate) key: Hidden,
}

/// From the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It waits for orders.
    Ready,
    /// Something to be told to the operator.
    Note(String),
    /// The account that was made.
    Account(Account),
    /// The workers have to answer so from now on, and no other way.
    Place(Vec<Challenge>),
    /// The certificate.
    Issued {
        /// PEM, the site's own first.
        chain: String,
        /// PKCS#8 in DER.
        #[serde(with = "digits")]
        key: Secret,
    },
    /// When the certificate should be renewed, in seconds of the Unix epoch.
    Window {
        /// Not before.
        start: i64,
        /// Not after.
        end: i64,
        /// Seconds until one may ask again.
        again: Option<u64>,
        /// Why, for the operator: an address.
        explanation: Option<String>,
    },
    /// The authority does not say when.
    NoWindow,
    /// Where a name leads to.
    Found {
        name: String,
        servers: Vec<Located>,
        /// For so many seconds.
        ttl: u64,
    },
    /// A name leads nowhere, or nobody says where.
    NotFound {
        name: String,
        /// For the operator.
        reason: String,
    },
    /// This process can look up nothing: what the system says about names was replaced, and its sandbox is older.
    Stale,
    /// It could not be done.
    Failed {
        /// Why, for the operator.
        reason: String,
        /// Seconds for which the authority wants no other try.
        again: Option<u64>,
    },
}

/// What a worker answers an authority that wants to see that a name is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Challenge {
    /// To `/.well-known/acme-challenge/TOKEN` on that name (RFC 8555 §8.3).
    Http {
        /// In lower case.
        name: String,
        /// Last part of the path.
        token: String,
        /// The answer.
        authorization: String,
    },
    /// In a handshake for that name with the protocol `acme-tls/1` (RFC 8737).
    Alpn {
        /// In lower case.
        name: String,
        /// DER.
        #[serde(with = "digits")]
        certificate: Vec<u8>,
        /// PKCS#8 in DER.
        #[serde(with = "digits")]
        key: Secret,
    },
}

/// Bytes of the length before a message.
const LENGTH: usize = 4;

/// Longest message.
pub(crate) const LONGEST: usize = 256 * 1024;

/// Cuts what is read into messages, of which nothing stays in memory.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    start: usize,
}

/// What was read is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Longer than [`LONGEST`].
    TooLong,
    /// Of no known kind.
    Unknown,
}

impl From<Vec<u8>> for Reader {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl Reader {
    /// The next message, `None` if more bytes are needed.
    ///
    /// # Errors
    /// Nothing that follows is understood either.
    pub(crate) fn poll<M: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<M>, Error> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(Error::TooLong);
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(message).map_err(|_| Error::Unknown)?;
        self.start += LENGTH + length;
        Ok(Some(message))
    }

    /// What was read and is not yet part of a message: what the next reader begins with.
    #[must_use]
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.split_off(self.start)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        secret::wipe(&mut self.bytes);
    }
}

/// The message with its length. One that is too long is refused where it arrives.
#[must_use]
pub(crate) fn encode(message: &impl Serialize) -> Secret {
    let message = json(message);
    let length = u32::try_from(message.0.len()).unwrap_or(u32::MAX);
    Secret([&length.to_le_bytes(), &message.0[..]].concat())
}

/// The JSON of plain data, which has one.
#[must_use]
pub(crate) fn json(value: &impl Serialize) -> Secret {
    struct Growing(Secret);
    impl io::Write for Growing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            secret::extend(&mut self.0.0, bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut text = Growing(Secret::default());
    let _has_one = serde_json::to_writer(&mut text, value);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        let http = Challenge::Http { name: "a.b".into(), token: "t".into(), authorization: "t.x".into() };
        let key = || Secret(vec![0, 255]);
        let alpn = Challenge::Alpn { name: "a.b".into(), certificate: vec![0x30, 255], key: key() };
        vec![
            Answer::Ready,
            Answer::Note("odd".into()),
            Answer::Account(Account { id: "https://x/1".into(), key: Hidden("a-_".to_owned()) }),
            Answer::Place(vec![http, alpn]),
            Answer::Issued { chain: "---\n".into(), key: key() },
            Answer::Window { start: -1, end: 7, again: None, explanation: Some("https://x".into()) },
            Answer::NoWindow,
            Answer::Failed { reason: "no \"such\" name".into(), again: Some(60) },
        ]
    }

    #[test]
    fn every_answer_survives_the_wire_in_whatever_pieces() {
        let wire: Vec<u8> = answers().iter().flat_map(|answer| encode(answer).0.clone()).collect();
        for piece in [1, 7, wire.len()] {
            let (mut rest, mut heard) = (Vec::new(), Vec::new());
            for bytes in wire.chunks(piece) {
                let mut reader = Reader::from([rest.as_slice(), bytes].concat());
                while let Some(answer) = reader.poll::<Answer>().unwrap() {
                    heard.push(answer);
                }
                rest = reader.into_rest();
            }
            assert_eq!((heard, rest), (answers(), Vec::new()));
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_ends_the_talk() {
        let long = u32::try_from(LONGEST + 1).unwrap().to_le_bytes();
        assert_eq!(Reader::from(long.to_vec()).poll::<Answer>(), Err(Error::TooLong));
        let odd = br#"{"Issued":{"chain":"","key":"0g"}}"#;
        for wrong in [&b""[..], odd, b"\"Readily\"", b"\"Ready\" 1", b"{\"Issued\":{}}", b"\xff"] {
            let length = u32::try_from(wrong.len()).unwrap().to_le_bytes();
            let mut reader = Reader::from([&length, wrong].concat());
            assert_eq!(reader.poll::<Answer>(), Err(Error::Unknown), "{wrong:?}");
        }
    }
}
