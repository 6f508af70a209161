//! The request that is asked about, made of what was typed.

use crate::http::target::{self, Host, Target};
use crate::http::{Method, RequestHead, Scheme, Span, Version, fields};
use std::net::IpAddr;

/// See the module.
pub(super) struct Asked {
    pub(super) head: RequestHead,
    pub(super) target: Target,
    pub(super) host: Host,
    /// As it was typed, with its port.
    pub(super) authority: String,
    pub(super) scheme: Scheme,
    pub(super) from: IpAddr,
}

impl Asked {
    /// # Errors
    /// What was typed wrong.
    pub(super) fn of(url: &str, method: &str, headers: &[String], from: IpAddr) -> Result<Self, String> {
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let wrong = |why: &str| {
            format!("`{url}` is no URL of this server: {why}; for example https://shop.example/a?b")
        };
        if !fields::is_name(method.as_bytes()) || method == "CONNECT" {
            return Err(format!("`{method}` is no method that can be explained"));
        }
        let parsed = target::parse(Method::Get, whole.as_bytes()).map_err(|error| wrong(error.why()))?;
        let authority = parsed.authority(whole.as_bytes()).ok_or_else(|| wrong("it names no host"))?;
        let host = target::host(authority).map_err(|error| wrong(error.why()))?;
        let authority = String::from_utf8_lossy(authority).into_owned();
        let scheme = parsed.scheme();
        let mut raw = Vec::new();
        target::write_origin_form(Method::Get, whole.as_bytes(), &mut raw);
        let mut all = vec![("Host".to_owned(), authority.clone())];
        for header in headers {
            let (name, value) = header
                .split_once(':')
                .map(|(name, value)| (name.trim(), value.trim()))
                .filter(|(name, value)| {
                    fields::is_name(name.as_bytes()) && fields::is_value(value.as_bytes())
                })
                .ok_or_else(|| {
                    format!("`{header}` is no header field; for example --header 'Cookie: a=1'")
                })?;
            if name.eq_ignore_ascii_case("host") {
                return Err("the host stands in the URL, not in --header".to_owned());
            }
            all.push((name.to_owned(), value.to_owned()));
        }
        let target =
            target::parse(Method::from_bytes(method.as_bytes()), &raw).map_err(|error| wrong(error.why()))?;
        Ok(Self { head: head(method, &raw, &all), target, host, authority, scheme, from })
    }
}

fn head(method: &str, target: &[u8], fields: &[(String, String)]) -> RequestHead {
    let mut raw = Vec::new();
    let mut put = |bytes: &[u8]| {
        let start = raw.len() as u32;
        raw.extend_from_slice(bytes);
        Span { start, end: raw.len() as u32 }
    };
    let (method, target) = (put(method.as_bytes()), put(target));
    let fields = fields.iter().map(|(name, value)| (put(name.as_bytes()), put(value.as_bytes()))).collect();
    RequestHead::new(raw, method, target, Version::Http11, fields)
}
