//! Error pages: those that are built in, and those that a site has of its own. Each is made once and sent many times.

use super::fixed;
use crate::buf::Segment;
use crate::config::Config;
use crate::h1::Prepared;
use crate::http::{ResponseHead, mime};
use crate::sys::file::{Kind, Metadata, metadata, open_file, read_at};
use crate::timer::Time;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How often the file of a page is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A larger one is not read.
const MOST_BYTES: u64 = 1 << 20;

/// A page.
#[derive(Debug)]
pub struct Page {
    head: ResponseHead,
    prepared: Prepared,
    body: Rc<[u8]>,
}

/// See the module.
#[derive(Debug)]
pub struct Pages {
    built_in: HashMap<u16, Rc<Page>>,
    /// By site.
    own: Vec<Vec<Own>>,
}

/// A page of a site's own.
#[derive(Debug)]
struct Own {
    status: u16,
    path: PathBuf,
    read: Option<(Metadata, Rc<Page>)>,
    look_at: Time,
    warned: bool,
}

impl Page {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Rc<Self> {
        let head = ResponseHead::new(status)
            .with("Content-Type", content_type)
            .with("X-Content-Type-Options", "nosniff");
        let prepared = Prepared::new(&head, body.len() as u64);
        Rc::new(Self { head, prepared, body: body.into() })
    }

    /// The head, encoded.
    #[must_use]
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The head, with these fields added or put in the place of its own.
    #[must_use]
    pub fn head_with(&self, extra: &ResponseHead) -> ResponseHead {
        let mut head = self.head.clone();
        extra.fields.iter().for_each(|(name, value)| head.fields.set(name, value));
        head
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Segment {
        Segment::Shared { data: Rc::clone(&self.body), start: 0, end: self.body.len() }
    }
}

impl Pages {
    /// The pages of a configuration; reads nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let own = |(status, path): &(u16, PathBuf)| Own {
            status: *status,
            path: path.clone(),
            read: None,
            look_at: Time::ZERO,
            warned: false,
        };
        let own = config.sites.iter().map(|site| site.error_pages.iter().map(own).collect());
        Self { built_in: HashMap::new(), own: own.collect() }
    }

    /// The page of a site for a status. One of its own that cannot be read is replaced by the built-in one.
    pub fn get(&mut self, site: Option<usize>, status: u16, now: Time) -> Rc<Page> {
        let own = site.and_then(|site| self.own.get_mut(site)).into_iter().flatten();
        if let Some(page) = own.filter(|own| own.status == status).find_map(|own| own.get(now)) {
            return page;
        }
        let built_in = || {
            let (head, body) = fixed::error_page(status);
            let content_type = String::from_utf8_lossy(head.fields.get("content-type").unwrap_or_default());
            Page::new(status, &content_type, body)
        };
        Rc::clone(self.built_in.entry(status).or_insert_with(built_in))
    }
}

impl Own {
    fn get(&mut self, now: Time) -> Option<Rc<Page>> {
        if now >= self.look_at {
            self.look_at = now.after(LOOK_EVERY);
            match self.look() {
                Ok(()) => self.warned = false,
                Err(error) => {
                    self.read = None;
                    if !std::mem::replace(&mut self.warned, true) {
                        log::warn!("error page {}: {error}; the built-in page is sent", self.path.display());
                    }
                }
            }
        }
        self.read.as_ref().map(|(_, page)| Rc::clone(page))
    }

    /// Reads the file if it is another one than before.
    fn look(&mut self) -> io::Result<()> {
        let file = open_file(&self.path)?;
        let found = metadata(file.as_fd())?;
        if self.read.as_ref().is_some_and(|(known, _)| *known == found) {
            return Ok(());
        }
        if found.kind != Kind::Regular || found.size > MOST_BYTES {
            let why = format!("not a regular file of at most {MOST_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let body = read_at(file.as_fd(), 0, found.size as usize)?;
        self.read = Some((found, Page::new(self.status, content_type(&self.path), body)));
        Ok(())
    }
}

fn content_type(path: &Path) -> &'static str {
    mime::of(path.file_name().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_page_of_the_sites_own_is_read_again_when_it_changes_and_replaced_when_it_is_gone() {
        let path = std::env::temp_dir().join(format!("hatchery-pages-{}.txt", std::process::id()));
        let own = Own { status: 404, path: path.clone(), read: None, look_at: Time::ZERO, warned: false };
        let mut pages = Pages { built_in: HashMap::new(), own: vec![vec![own], vec![]] };
        let mut text = |site, status, seconds| {
            let page = pages.get(site, status, Time::ZERO.after(Duration::from_secs(seconds)));
            let body = String::from_utf8(page.body().as_bytes().to_vec()).unwrap();
            let kind =
                page.head_with(&ResponseHead::new(status)).fields.get("content-type").unwrap().to_vec();
            (body, String::from_utf8(kind).unwrap())
        };
        assert!(text(Some(0), 404, 0).0.contains("404 Not Found"));
        fs::write(&path, "gone fishing").unwrap();
        assert_eq!(
            text(Some(0), 404, 1),
            ("gone fishing".to_owned(), "text/plain; charset=utf-8".to_owned())
        );
        fs::write(&path, "back soon, promised").unwrap();
        assert_eq!(text(Some(0), 404, 2).0, "back soon, promised");
        for (site, status) in [(Some(0), 403), (Some(1), 404), (None, 404), (Some(9), 404)] {
            assert!(text(site, status, 2).0.contains("<h1>"), "{site:?} {status}");
        }
        fs::remove_file(&path).unwrap();
        assert!(text(Some(0), 404, 3).0.contains("404 Not Found"));
    }
}
