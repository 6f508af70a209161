//! What a worker needs for TLS and for logins at one moment, as the master gives it: at the fork, and anew, as a whole, whenever a part
//! of it has changed. Plain data: nothing here knows a library. It holds private keys and hashes, so it is never logged.

mod wire;

use super::{Config, ListFrom};
pub(crate) use crate::control::helper::Challenge;
use crate::policy::access::Block;
use crate::secret::Secret;
use std::path::PathBuf;

/// Everything of one generation of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Counts the changes; what is older than what a worker has is not taken.
    pub(crate) serial: u64,
    /// In the order of the file: of several that fit a client and a name, the first is taken.
    pub(crate) certificates: Vec<Certificate>,
    /// Who may sign what clients show, by site.
    pub(crate) authorities: Vec<Authorities>,
    /// How servers of upstreams are spoken to.
    pub(crate) upstreams: Vec<Trust>,
    /// Whom the system trusts, in DER, if that counts for one of them.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The newest first: it makes tickets, the others are still taken.
    pub(crate) tickets: Vec<TicketKey>,
    /// Questions of certificate authorities that are to be answered now.
    pub(crate) challenges: Vec<Challenge>,
    /// Networks of lists in files.
    pub(crate) lists: Vec<Listed>,
    /// Files with users and the hashes of their passwords.
    pub(crate) users: Vec<UserFile>,
}

impl Credentials {
    /// The networks of the list at this index.
    pub(crate) fn blocks<'a>(&'a self, config: &'a Config, list: usize) -> &'a [Block] {
        match config.lists.get(list).map(|list| &list.from) {
            Some(ListFrom::Here(blocks)) => blocks,
            Some(ListFrom::File(path)) => {
                let file = self.lists.iter().find(|file| file.path == *path);
                file.map_or(&[], |file| &file.blocks)
            }
            None => &[],
        }
    }
}

/// The networks in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The file.
    pub(crate) path: PathBuf,
    /// Sorted.
    pub(crate) blocks: Vec<Block>,
}

/// A file with users, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its text, which has been understood.
    pub(crate) text: Secret,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Index of the site in the configuration.
    pub(crate) site: usize,
    /// DER, the site's own first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8, PKCS#1 or SEC1, in DER.
    pub(crate) key: Secret,
    /// A response of the authority that is stapled (RFC 6960), in DER.
    pub(crate) ocsp: Option<Vec<u8>>,
}

/// Authorities that may sign the certificates of a site's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorities {
    /// Index of the site in the configuration.
    pub(crate) site: usize,
    /// DER.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// What the servers of an upstream are asked to show, and are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Index of the upstream in the configuration.
    pub(crate) upstream: usize,
    /// Who signs the certificates of its servers, in DER; `None`: those whom the system trusts.
    pub(crate) authorities: Option<Vec<Vec<u8>>>,
    /// What they are shown.
    pub(crate) certificate: Option<Shown>,
}

/// A certificate of ours, with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// DER, our own first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// PKCS#8, PKCS#1 or SEC1, in DER.
    pub(crate) key: Secret,
}

/// A key that session tickets are sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketKey {
    /// Stands before each ticket, so that the key is found.
    pub(crate) name: [u8; 16],
    /// Of AES-256-GCM.
    pub(crate) key: Secret,
}
