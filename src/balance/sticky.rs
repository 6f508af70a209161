//! Sessions that stay with the server that has begun them: a cookie says which that is, by a tag that only this server can
//! make. Pure: tags come from whoever has the key.
//!
//! The cookie is our own, or the app's: then the tag stands before its value, `tag~value`, and the app sees its own value
//! only (as `cookie … prefix` of HAProxy). Nothing is kept here, and every worker and machine with the same key understands
//! it.

use std::time::Duration;

/// Bytes of a tag, twice as many digits.
pub(crate) const TAG: usize = 16;

/// Between a tag and the app's own value. A tag is of hexadecimal digits, so the first one ends it.
const MARK: u8 = b'~';

/// The value of a cookie in the `Cookie` fields of a request (RFC 6265 §5.4): the first of its name.
#[must_use]
pub(crate) fn cookie<'a>(fields: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    let mut pairs = fields.flat_map(|field| field.split(|byte| *byte == b';')).filter_map(pair);
    pairs.find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    Some((text.get(..at)?.trim_ascii(), text.get(at + 1..)?.trim_ascii()))
}

/// Tag and own value of an app's cookie; `None`: it has no tag.
#[must_use]
pub(crate) fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|byte| *byte == MARK)?;
    Some((value.get(..at)?, value.get(at + 1..)?))
}

/// The cookies of a request as the app is to see them: those of that name without the tag. `None`: they are as they came.
#[must_use]
pub(crate) fn without_tags<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
    name: &str,
    is_tag: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let mut changed = false;
    let mut all = Vec::new();
    for text in fields.flat_map(|field| field.split(|byte| *byte == b';')) {
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if !all.is_empty() {
            all.extend_from_slice(b"; ");
        }
        let own =
            pair(text).filter(|(found, _)| *found == name.as_bytes()).and_then(|(_, value)| split(value));
        match own.filter(|(tag, _)| is_tag(tag)) {
            Some((_, value)) => {
                changed = true;
                all.extend_from_slice(name.as_bytes());
                all.push(b'=');
                all.extend_from_slice(value);
            }
            None => all.extend_from_slice(text),
        }
    }
    changed.then_some(all)
}

/// A `Set-Cookie` of our own (RFC 6265 §4.1): for all of the site and no script. `max_age`: how long a browser keeps it; `None`:
/// until it is closed.
#[must_use]
pub(crate) fn set(name: &str, tag: &str, is_https: bool, max_age: Option<Duration>) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    let age = max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
    format!("{name}={tag}; Path=/; HttpOnly; SameSite=Lax{secure}{age}")
}

/// A `Set-Cookie` of the app with the tag before the value; `None`: it is of another name, or takes the cookie away.
#[must_use]
pub(crate) fn with_tag(set: &[u8], name: &str, tag: &str) -> Option<Vec<u8>> {
    let (found, value) = pair(set.split(|byte| *byte == b';').next()?)?;
    if found != name.as_bytes() || value.is_empty() {
        return None;
    }
    let at = set.iter().position(|byte| *byte == b'=')? + 1;
    let (before, after) = set.split_at_checked(at)?;
    Some([before, tag.as_bytes(), &[MARK], after.trim_ascii_start()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        texts.iter().map(|text| text.as_bytes())
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_the_first_counts() {
        let found = |texts: &[&str]| {
            cookie(fields(texts), "route").map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(found(&["a=1; route=x", "route=y"]), Some("x".to_owned()));
        assert_eq!(found(&["a=1", " route = y=z ;b=2"]), Some("y=z".to_owned()));
        for none in [&["routes=x; xroute=y; Route=z"][..], &["route"], &[""], &[]] {
            assert_eq!(found(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_app_sees_its_own_value() {
        let seen = |texts: &[&str]| {
            let seen = without_tags(fields(texts), "sid", |tag| tag == b"ab12");
            seen.map(|seen| String::from_utf8(seen).unwrap())
        };
        assert_eq!(seen(&["a=1; sid=ab12~x~y;b=2"]), Some("a=1; sid=x~y; b=2".to_owned()));
        assert_eq!(seen(&["sid=ab12~", "c=3"]), Some("sid=; c=3".to_owned()));
        assert_eq!(seen(&["sid=ab12~x; sid=ab12~y"]), Some("sid=x; sid=y".to_owned()));
        for same in [&["sid=own~x"][..], &["sid=ab12"], &["other=ab12~x"], &[]] {
            assert_eq!(seen(same), None, "{same:?}");
        }
    }

    #[test]
    fn our_own_cookie_is_for_the_site_and_for_no_script() {
        assert_eq!(set("route", "ab12", false, None), "route=ab12; Path=/; HttpOnly; SameSite=Lax");
        let hour = Some(Duration::from_secs(3_600));
        assert_eq!(
            set("route", "ab12", true, hour),
            "route=ab12; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3600"
        );
    }

    #[test]
    fn the_client_gets_the_tag_before_it() {
        let given =
            |set: &str| with_tag(set.as_bytes(), "sid", "ab12").map(|set| String::from_utf8(set).unwrap());
        assert_eq!(given("sid=x; Path=/; HttpOnly"), Some("sid=ab12~x; Path=/; HttpOnly".to_owned()));
        assert_eq!(given("sid= x=y"), Some("sid=ab12~x=y".to_owned()));
        for other in ["sid=; Max-Age=0", "side=x", "sid", "", "a=sid=x"] {
            assert_eq!(given(other), None, "{other:?}");
        }
    }
}
