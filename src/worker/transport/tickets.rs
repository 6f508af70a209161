//! Session tickets (RFC 5077, RFC 8446 §4.6.1): the state of a connection, sealed with a key that all workers have, so that
//! any of them takes it up again, also after a reload or an upgrade.
//!
//! A ticket is the name of its key, a nonce and what is sealed. (That it is taken up for the same name only, the library sees
//! to.)

use crate::config::credentials::TicketKey;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;
use std::sync::Arc;

/// How long the master keeps a key after it was followed by another one, in seconds: so long each ticket is good.
const LIFETIME: u32 = 16 * 3600;

const NAME_LEN: usize = 16;

/// Keys, the newest first.
pub(super) type Keys = Arc<[([u8; NAME_LEN], LessSafeKey)]>;

/// The keys that the master has given.
pub(super) fn keys(given: &[TicketKey]) -> Keys {
    let key = |given: &TicketKey| {
        let key = UnboundKey::new(&AES_256_GCM, &given.key.0).ok()?;
        Some((given.name, LessSafeKey::new(key)))
    };
    given.iter().filter_map(key).collect()
}

/// Makes and takes tickets.
pub(super) struct Tickets {
    pub(super) keys: Keys,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tickets({} keys)", self.keys.len())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).ok()?;
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn tickets(keys: &[u8]) -> Tickets {
        let key = |number: &u8| TicketKey { name: [*number; 16], key: Secret(vec![*number; 32]) };
        let given: Vec<_> = keys.iter().map(key).collect();
        Tickets { keys: super::keys(&given) }
    }

    #[test]
    fn a_ticket_is_taken_as_long_as_its_key_is_there() {
        let ticket = tickets(&[1]).encrypt(b"state").unwrap();
        assert_ne!(ticket, tickets(&[1]).encrypt(b"state").unwrap());
        for (keys, taken) in [(&[1][..], true), (&[3, 2, 1], true), (&[3, 2], false), (&[], false)] {
            let plain = tickets(keys).decrypt(&ticket);
            assert_eq!(plain.as_deref(), taken.then_some(&b"state"[..]), "{keys:?}");
        }
        for at in 0..ticket.len() {
            let mut wrong = ticket.clone();
            wrong[at] ^= 1;
            assert_eq!(tickets(&[1]).decrypt(&wrong), None, "{at}");
            assert_eq!(tickets(&[1]).decrypt(&ticket[..at]), None, "{at}");
        }
        assert!(!tickets(&[]).enabled());
    }
}
