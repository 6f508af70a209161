//! Content codings (RFC 9110 §8.4.1, §12.5.3): which of those that are there a client prefers. Pure.

/// A content coding that files are kept in beside their originals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Encoding {
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878.
    Zstd,
    /// `gzip`, RFC 1952.
    Gzip,
}

impl Encoding {
    /// All, in the order in which they are taken where a client does not care: the smaller result first.
    pub(crate) const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Content-Encoding`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The usual ending of a file of this coding, without its dot.
    #[must_use]
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    fn is_called(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || (self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// Picks for the values of all `Accept-Encoding` fields of a request. `None`: the content as it is, which is also sent
/// to a client that says it wants nothing at all (RFC 9110 §12.5.3 lets a server disregard the field). Of equal weights
/// the first of `available` wins, and a coding before none, unless the client asks for `identity` by name and gives it
/// more.
#[must_use]
pub(crate) fn pick<'a>(
    values: impl Iterator<Item = &'a [u8]> + Clone,
    available: impl Iterator<Item = Encoding>,
) -> Option<Encoding> {
    let weight_of = |is_it: &dyn Fn(&[u8]) -> bool| {
        let mut items = values.clone().flat_map(|value| value.split(|byte| *byte == b','));
        items.find_map(|item| {
            let (name, weight) = weighted(item)?;
            is_it(name).then_some(weight)
        })
    };
    let any = weight_of(&|name| name == b"*");
    let plain = weight_of(&|name| name.eq_ignore_ascii_case(b"identity"));
    let mut best: Option<(u16, Encoding)> = None;
    for encoding in available {
        let weight = weight_of(&|name| encoding.is_called(name)).or(any).unwrap_or(0);
        if weight > best.map_or(0, |(weight, _)| weight) {
            best = Some((weight, encoding));
        }
    }
    best.filter(|(weight, _)| plain.is_none_or(|plain| *weight >= plain)).map(|(_, encoding)| encoding)
}

/// `name` or `name;q=0.5`, the weight in thousandths. A weight that cannot be read makes the item no preference at all.
fn weighted(item: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        let (key, value) = parameter.split_at_checked(2)?;
        if key.eq_ignore_ascii_case(b"q=") {
            weight = thousandths(value)?;
        }
    }
    Some((name, weight))
}

/// `0`, `0.5`, `1.000` (RFC 9110 §12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = text.split_first()?;
    let digits = match fraction {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let fraction =
        [100, 10, 1].iter().zip(digits).map(|(place, digit)| place * u16::from(digit - b'0')).sum();
    match (whole, fraction) {
        (b'0', fraction) => Some(fraction),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_weights_decide_and_then_our_order() {
        use Encoding::{Brotli, Gzip, Zstd};
        for (values, available, expected) in [
            (&["gzip, br"][..], &[Brotli, Gzip][..], Some(Brotli)),
            (&["gzip, deflate, br, zstd"], &[Brotli, Zstd, Gzip], Some(Brotli)),
            (&["gzip, deflate, br, zstd"], &[Zstd, Gzip], Some(Zstd)),
            (&["gzip;q=1.0, br;q=0.8"], &[Brotli, Gzip], Some(Gzip)),
            (&["br;q=0.001, gzip;q=0"], &[Brotli, Gzip], Some(Brotli)),
            (&["gzip;q=0"], &[Gzip], None),
            (&["gzip;q=0, *"], &[Brotli, Gzip], Some(Brotli)),
            (&["*;q=0"], &[Gzip], None),
            (&["*"], &[Gzip], Some(Gzip)),
            (&["identity, gzip;q=0.5"], &[Gzip], None),
            (&["identity;q=0.5, gzip;q=0.5"], &[Gzip], Some(Gzip)),
            (&["identity;q=0"], &[Gzip], None),
            (&["identity;q=0, gzip"], &[Gzip], Some(Gzip)),
            (&["GZIP"], &[Gzip], Some(Gzip)),
            (&["x-gzip"], &[Gzip], Some(Gzip)),
            (&["deflate", "br"], &[Brotli], Some(Brotli)),
            (&["gzip ; q=0.5 , br\t;Q=0.7"], &[Gzip, Brotli], Some(Brotli)),
            (&["gzip;q=2"], &[Gzip], None),
            (&["gzip;q=0.5555"], &[Gzip], None),
            (&["gzip;q="], &[Gzip], None),
            (&["gzipped"], &[Gzip], None),
            (&[""], &[Gzip], None),
            (&[], &[Gzip], None),
            (&["gzip"], &[], None),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(
                pick(values.clone(), available.iter().copied()),
                expected,
                "{:?}",
                values.collect::<Vec<_>>()
            );
        }
    }
}
