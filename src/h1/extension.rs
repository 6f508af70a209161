//! The grammar of chunk extensions (RFC 9112 §7.1.1), a byte at a time:
//!
//! ```text
//! chunk-ext     = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
//! chunk-ext-val = token / quoted-string
//! ```
//!
//! Nobody needs what they say, but where they end decides where the chunk begins: a server that reads past what another
//! takes for the end of the line sees other requests (CVE-2025-55315). So a line that is not of this grammar is refused.

use crate::http::fields::is_token_byte;

/// Where in the extensions of a size line one is.
///
/// | state | white space | `;` | `=` | token | `"` | CR |
/// |---|---|---|---|---|---|---|
/// | Gap | Gap | NameStart | | | | |
/// | NameStart | NameStart | | | Name | | |
/// | Name | NameEnd | NameStart | ValueStart | Name | | end |
/// | NameEnd | NameEnd | NameStart | ValueStart | | | |
/// | ValueStart | ValueStart | | | Value | Quoted | |
/// | Value | Gap | NameStart | | Value | | end |
/// | Quoted, Escaped | Quoted | Quoted | Quoted | Quoted | Closed or Quoted | |
/// | Closed | Gap | NameStart | | | | end |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    /// In white space behind the size or a value: only `;` may follow.
    Gap,
    /// Behind a `;`.
    NameStart,
    /// In a name.
    Name,
    /// In white space behind a name.
    NameEnd,
    /// Behind a `=`.
    ValueStart,
    /// In a value that is a token.
    Value,
    /// Within quotes (RFC 9110 §5.6.4).
    Quoted,
    /// Behind a backslash within quotes.
    Escaped,
    /// Behind the closing quote.
    Closed,
}

impl Extension {
    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Closed)
    }

    /// The place behind `byte`; `None` if it may not stand here.
    pub(super) fn behind(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Quoted, b'"') => Some(Self::Closed),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, b'\t' | 0x20..=0x7e | 0x80..) => Some(Self::Quoted),
            (Self::Quoted | Self::Escaped, _) => None,

            (Self::Gap | Self::Value | Self::Closed, b' ' | b'\t') => Some(Self::Gap),
            (Self::Name | Self::NameEnd, b' ' | b'\t') => Some(Self::NameEnd),
            (Self::NameStart | Self::ValueStart, b' ' | b'\t') => Some(self),

            (Self::NameStart | Self::ValueStart, b';') => None,
            (_, b';') => Some(Self::NameStart),
            (Self::Name | Self::NameEnd, b'=') => Some(Self::ValueStart),
            (Self::ValueStart, b'"') => Some(Self::Quoted),

            (Self::NameStart | Self::Name, _) if is_token_byte(byte) => Some(Self::Name),
            (Self::ValueStart | Self::Value, _) if is_token_byte(byte) => Some(Self::Value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text` may stand between the size and the line end.
    fn is_extension(text: &[u8]) -> bool {
        let Some((first, rest)) = text.split_first() else { return true };
        let first = Extension::Gap.behind(*first);
        let last = rest.iter().try_fold(first, |place, byte| Some(place?.behind(*byte)));
        last.flatten().is_some_and(Extension::may_end)
    }

    #[test]
    fn what_is_an_extension() {
        for good in [
            &b""[..],
            b";a",
            b" ;a",
            b"\t ; \ta",
            b";a;b;c",
            b";a=1",
            b";a = 1",
            b";a \t=\t 1 ;b",
            b";a = \"x;y\" ; b",
            b";a=\"\"",
            b";a=\"=\\\"\\\\\t \xe9\"",
            b";!#$%&'*+-.^_`|~09azAZ=!",
        ] {
            assert!(is_extension(good), "{}", good.escape_ascii());
        }
        for bad in [
            &b";"[..],
            b" ",
            b"; ",
            b";;",
            b";a;",
            b";a ",
            b";a=",
            b";a= ",
            b";a=;b",
            b";a=1 ",
            b";a==1",
            b";=1",
            b";a b",
            b";a=1 2",
            b";a[b",
            b";a=[",
            b";a,b",
            b";a=\"x",
            b";a=\"x\\\"",
            b";a=\"x\"y",
            b";a=\"x\" ",
            b";a=x\"y\"",
            b";\"a\"=1",
            b";a=\"\x01\"",
            b";a=\"\\\x7f\"",
            b";a=\"\r\"",
            b";a=\"\n\"",
            b";\xe9",
            b";a=\xe9",
            b"a",
            b"=",
        ] {
            assert!(!is_extension(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn the_table_is_what_the_code_does() {
        use Extension::*;
        let inputs = [b' ', b';', b'=', b'a', b'"', b'\r', 0];
        for (state, expected) in [
            (Gap, [Some(Gap), Some(NameStart), None, None, None]),
            (NameStart, [Some(NameStart), None, None, Some(Name), None]),
            (Name, [Some(NameEnd), Some(NameStart), Some(ValueStart), Some(Name), None]),
            (NameEnd, [Some(NameEnd), Some(NameStart), Some(ValueStart), None, None]),
            (ValueStart, [Some(ValueStart), None, None, Some(Value), Some(Quoted)]),
            (Value, [Some(Gap), Some(NameStart), None, Some(Value), None]),
            (Quoted, [Some(Quoted), Some(Quoted), Some(Quoted), Some(Quoted), Some(Closed)]),
            (Escaped, [Some(Quoted); 5]),
            (Closed, [Some(Gap), Some(NameStart), None, None, None]),
        ] {
            let expected = expected.into_iter().chain([None, None]);
            for (input, expected) in inputs.into_iter().zip(expected) {
                assert_eq!(state.behind(input), expected, "{state:?} {:?}", char::from(input));
            }
        }
    }
}
