//! Credentials as bytes: numbers of eight bytes, little-endian; before each list and string its length.

use super::{Authorities, Certificate, Challenge, Credentials, Listed, Shown, TicketKey, Trust, UserFile};
use crate::control::digits;
use crate::policy::access::Block;
use crate::secret::Secret;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

impl Credentials {
    /// In bytes that are wiped out in the end.
    pub(crate) fn encode(&self) -> Secret {
        let mut length = Length(0);
        self.write(&mut length);
        // A vector that grows leaves behind what it held.
        let mut out = Secret(Vec::with_capacity(length.0));
        self.write(&mut out);
        out
    }

    /// `None`: these bytes are none, or have something after them.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let credentials = Self {
            serial: bytes.number()?,
            certificates: bytes.list(Bytes::certificate)?,
            authorities: bytes.list(|bytes| {
                Some(Authorities { site: bytes.index()?, certificates: bytes.list(Bytes::string)? })
            })?,
            upstreams: bytes.list(Bytes::trust)?,
            roots: bytes.list(Bytes::string)?,
            tickets: bytes.list(|bytes| {
                Some(TicketKey { name: bytes.string()?.try_into().ok()?, key: Secret(bytes.string()?) })
            })?,
            challenges: bytes.list(Bytes::challenge)?,
            lists: bytes.list(Bytes::listed)?,
            users: bytes
                .list(|bytes| Some(UserFile { path: bytes.path()?, text: Secret(bytes.string()?) }))?,
        };
        bytes.0.is_empty().then_some(credentials)
    }

    fn write(&self, out: &mut impl Out) {
        out.number(self.serial);
        out.list(&self.certificates, |certificate, out| {
            let Certificate { site, chain, key, ocsp } = certificate;
            out.number(*site as u64);
            out.list(chain, |der, out| out.string(der));
            out.string(&key.0);
            out.list(ocsp.as_slice(), |der, out| out.string(der));
        });
        out.list(&self.authorities, |Authorities { site, certificates }, out| {
            out.number(*site as u64);
            out.list(certificates, |der, out| out.string(der));
        });
        out.list(&self.upstreams, |Trust { upstream, authorities, certificate }, out| {
            out.number(*upstream as u64);
            out.list(authorities.as_slice(), |all, out| out.list(all, |der, out| out.string(der)));
            out.list(certificate.as_slice(), |Shown { chain, key }, out| {
                out.list(chain, |der, out| out.string(der));
                out.string(&key.0);
            });
        });
        out.list(&self.roots, |der, out| out.string(der));
        out.list(&self.tickets, |TicketKey { name, key }, out| {
            out.string(name);
            out.string(&key.0);
        });
        out.list(&self.challenges, |challenge, out| match challenge {
            Challenge::Http { name, token, authorization } => {
                out.number(HTTP);
                [name, token, authorization].iter().for_each(|text| out.string(text.as_bytes()));
            }
            Challenge::Alpn { name, certificate, key } => {
                out.number(ALPN);
                [name.as_bytes(), certificate, &key.0].iter().for_each(|part| out.string(part));
            }
        });
        out.list(&self.lists, |Listed { path, blocks }, out| {
            out.string(path.as_os_str().as_bytes());
            out.number((blocks.len() * BLOCK) as u64);
            blocks.iter().for_each(|block| out.put(&block.to_bytes()));
        });
        out.list(&self.users, |UserFile { path, text }, out| {
            out.string(path.as_os_str().as_bytes());
            out.string(&text.0);
        });
    }
}

/// Bytes of a network.
const BLOCK: usize = 17;

const HTTP: u64 = 0;
const ALPN: u64 = 1;

/// What is written to.
trait Out: Sized {
    fn put(&mut self, bytes: &[u8]);

    fn number(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.put(bytes);
    }

    fn list<T>(&mut self, list: &[T], each: impl Fn(&T, &mut Self)) {
        self.number(list.len() as u64);
        list.iter().for_each(|item| each(item, self));
    }
}

impl Out for Secret {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// How much it would be.
struct Length(usize);

impl Out for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn index(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let length = self.index()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.string()?).ok()
    }

    fn list<T>(&mut self, each: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| each(self)).collect()
    }

    fn certificate(&mut self) -> Option<Certificate> {
        Some(Certificate {
            site: self.index()?,
            chain: self.list(Self::string)?,
            key: Secret(self.string()?),
            ocsp: self.list(Self::string)?.pop(),
        })
    }

    fn trust(&mut self) -> Option<Trust> {
        Some(Trust {
            upstream: self.index()?,
            authorities: self.list(|bytes| bytes.list(Self::string))?.pop(),
            certificate: self
                .list(|bytes| Some(Shown { chain: bytes.list(Self::string)?, key: Secret(bytes.string()?) }))?
                .pop(),
        })
    }

    fn path(&mut self) -> Option<PathBuf> {
        Some(OsString::from_vec(self.string()?).into())
    }

    fn listed(&mut self) -> Option<Listed> {
        let (path, packed) = (self.path()?, self.string()?);
        let (blocks, rest) = packed.as_chunks::<BLOCK>();
        let blocks = blocks.iter().map(Block::from_bytes).collect::<Option<_>>()?;
        rest.is_empty().then_some(Listed { path, blocks })
    }

    fn challenge(&mut self) -> Option<Challenge> {
        let kind = self.number()?;
        let name = self.text()?;
        Some(match kind {
            HTTP => Challenge::Http { name, token: self.text()?, authorization: self.text()? },
            ALPN => Challenge::Alpn { name, certificate: self.string()?, key: Secret(self.string()?) },
            _ => return None,
        })
    }
}

/// The same in hexadecimal, for the state of a master.
impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        digits::serialize(&self.encode(), to)
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes: Secret = digits::deserialize(from)?;
        Self::decode(&bytes.0).ok_or_else(|| D::Error::custom("the credentials are not understood"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Credentials {
        let certificate = |site, ocsp| Certificate {
            site,
            chain: vec![vec![1, 2, 3], Vec::new()],
            key: Secret(vec![4; 300]),
            ocsp,
        };
        Credentials {
            serial: u64::MAX,
            certificates: vec![certificate(7, None), certificate(0, Some(vec![9]))],
            authorities: vec![Authorities { site: 3, certificates: vec![vec![5]] }],
            upstreams: vec![
                Trust { upstream: 1, authorities: None, certificate: None },
                Trust {
                    upstream: 2,
                    authorities: Some(vec![vec![1], vec![2, 3]]),
                    certificate: Some(Shown { chain: vec![vec![4]], key: Secret(vec![4; 300]) }),
                },
            ],
            roots: vec![vec![7; 9]],
            tickets: vec![TicketKey { name: [6; 16], key: Secret(vec![8; 32]) }],
            challenges: vec![
                Challenge::Http {
                    name: "a".to_owned(),
                    token: "b".to_owned(),
                    authorization: "c".to_owned(),
                },
                Challenge::Alpn { name: "d".to_owned(), certificate: vec![1], key: Secret(vec![2]) },
            ],
            lists: vec![
                Listed { path: "/a".into(), blocks: Vec::new() },
                Listed {
                    path: "/b".into(),
                    blocks: vec![
                        Block { base: "192.0.2.0".parse().unwrap(), bits: 24 },
                        Block::one("2001:db8::1".parse().unwrap()),
                    ],
                },
            ],
            users: vec![UserFile { path: "/c".into(), text: Secret(b"a:$5$".to_vec()) }],
        }
    }

    #[test]
    fn credentials_survive_the_wire_and_an_upgrade() {
        for credentials in [Credentials::default(), all()] {
            let bytes = credentials.encode();
            assert_eq!(
                (bytes.0.len(), &Credentials::decode(&bytes.0)),
                (bytes.0.capacity(), &Some(credentials.clone()))
            );
            let state = serde_json::to_string(&credentials).unwrap();
            assert_eq!(serde_json::from_str::<Credentials>(&state).unwrap(), credentials);
        }
    }

    #[test]
    fn what_is_cut_or_goes_on_is_none() {
        let bytes = all().encode();
        for length in 0..bytes.0.len() {
            assert_eq!(Credentials::decode(&bytes.0[..length]), None, "{length}");
        }
        assert_eq!(Credentials::decode(&[&bytes.0[..], b"x"].concat()), None);
        assert!(serde_json::from_str::<Credentials>("\"0g\"").is_err());
        assert!(serde_json::from_str::<Credentials>("\"000\"").is_err());
        assert_eq!(Credentials::decode(&[255; 64]), None, "a list without end");
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", all());
        assert!(shown.contains("Secret(300 bytes)") && !shown.contains("4, 4"), "{shown}");
    }
}
