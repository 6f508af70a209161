//! Numbers and addresses as text, without `std::fmt` and without an allocation: what each request has of them would cost as
//! much as the rest of its head.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Deref;

/// The longest there is: an IPv6 address that ends as one of IPv4, by its letters.
const MOST: usize = 45;

/// A short text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    bytes: [u8; MOST],
    len: usize,
}

impl Short {
    const EMPTY: Self = Self { bytes: [0; MOST], len: 0 };

    /// A number in decimal.
    #[must_use]
    pub(crate) fn number(number: u64) -> Self {
        let mut text = Self::EMPTY;
        text.put(number);
        text
    }

    /// An address.
    #[must_use]
    pub(crate) fn address(address: IpAddr) -> Self {
        let mut text = Self::EMPTY;
        match address {
            IpAddr::V4(address) => {
                for (index, octet) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        text.push(b'.');
                    }
                    text.put(octet.into());
                }
            }
            IpAddr::V6(address) => {
                let mut rest = text.bytes.as_mut_slice();
                let _infallible = write!(rest, "{address}");
                text.len = MOST - rest.len();
            }
        }
        text
    }

    fn put(&mut self, number: u64) {
        let start = self.len;
        let mut rest = number;
        loop {
            self.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.get_mut(start..self.len).unwrap_or_default().reverse();
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Writes a number in decimal.
pub(crate) fn decimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&Short::number(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_fmt_makes_of_it() {
        for number in [0, 1, 9, 10, 255, 65_535, 1 << 40, u64::MAX] {
            assert_eq!(std::str::from_utf8(&Short::number(number)).unwrap(), number.to_string());
        }
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for text in ["0.0.0.0", "127.0.0.1", "255.1.20.200", "::1", "2001:db8::ff", "::ffff:1.2.3.4", longest]
        {
            assert_eq!(std::str::from_utf8(&Short::address(text.parse().unwrap())).unwrap(), text);
        }
    }
}
