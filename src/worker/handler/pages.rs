//! Error pages: those that are built in, and those that a site has of its own. Each is made once and sent many times, with
//! the id of the request where it says [`ID`]. The
//! files of the latter are read when the worker starts, and looked at once a second while they are asked for: by a thread,
//! as nobody knows what a path leads to by then. What was read is sent until that is known.

use super::fixed;
use super::looks::Looks;
use crate::buf::Segment;
use crate::config::Config;
use crate::http::{ResponseHead, mime};
use crate::sys::file::{Kind, Metadata, metadata, open_file, read_at};
use crate::timer::Time;
use crate::worker::heads::SharedHead;
use crate::worker::id::RequestId;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A larger one is not read.
const MOST_BYTES: u64 = 1 << 20;

/// What a page has in the place of the id of the request.
pub(super) const ID: &str = "$request_id";

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    head: ResponseHead,
    prepared: SharedHead,
    body: Rc<[u8]>,
    /// Where the id belongs, which is left out in the body: in order.
    ids: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Those that were asked for, by status: few.
    built_in: Vec<(u16, Rc<Page>)>,
    /// By site.
    own: Vec<Vec<Own>>,
    /// Site and number of those that are to be looked at.
    due: Vec<(usize, usize)>,
}

/// What the file of a page is.
#[derive(Debug)]
pub(crate) struct Read(io::Result<Option<(Metadata, Vec<u8>)>>);

/// A page of a site's own.
#[derive(Debug)]
struct Own {
    status: u16,
    path: PathBuf,
    read: Option<(Metadata, Rc<Page>)>,
    looks: Looks,
    warned: bool,
}

impl Page {
    fn new(status: u16, content_type: &str, text: &[u8]) -> Rc<Self> {
        let head = ResponseHead::new(status)
            .with("Content-Type", content_type)
            .with("X-Content-Type-Options", "nosniff");
        let (mut body, mut ids) = (Vec::with_capacity(text.len()), Vec::new());
        let mut rest = text;
        while let Some(at) = rest.windows(ID.len()).position(|part| part == ID.as_bytes()) {
            body.extend_from_slice(rest.get(..at).unwrap_or_default());
            ids.push(body.len());
            rest = rest.get(at + ID.len()..).unwrap_or_default();
        }
        body.extend_from_slice(rest);
        let length = body.len() + ids.len() * RequestId::DIGITS;
        let prepared = SharedHead::new(&head, length as u64);
        Rc::new(Self { head, prepared, body: body.into(), ids })
    }

    /// The head, encoded.
    #[must_use]
    pub(crate) fn prepared(&self) -> &SharedHead {
        &self.prepared
    }

    /// The head, with these fields added or put in the place of its own.
    #[must_use]
    pub(crate) fn head_with(&self, extra: &ResponseHead) -> ResponseHead {
        let mut head = self.head.clone();
        for (name, value) in extra.fields.iter() {
            if name.eq_ignore_ascii_case(b"set-cookie") {
                head.fields.add(name, value);
            } else {
                head.fields.set(name, value);
            }
        }
        head
    }

    /// The body, for the request of that id.
    #[must_use]
    pub(crate) fn body(&self, id: RequestId) -> Segment {
        if self.ids.is_empty() {
            return Segment::Shared { data: Rc::clone(&self.body), start: 0, end: self.body.len() };
        }
        let mut body = Vec::with_capacity(self.prepared.plain().length() as usize);
        let mut from = 0;
        for at in &self.ids {
            body.extend_from_slice(self.body.get(from..*at).unwrap_or_default());
            body.extend_from_slice(&id.digits());
            from = *at;
        }
        body.extend_from_slice(self.body.get(from..).unwrap_or_default());
        Segment::from(body)
    }
}

impl Pages {
    /// The pages of a configuration, read for the first time.
    #[must_use]
    pub(crate) fn new(config: &Config) -> Self {
        let own = |(status, path): &(u16, PathBuf)| Own {
            status: *status,
            path: path.clone(),
            read: None,
            looks: Looks::default(),
            warned: false,
        };
        let own = config.sites.iter().map(|site| site.error_pages.iter().map(own).collect());
        let mut pages = Self { built_in: Vec::new(), own: own.collect(), due: Vec::new() };
        pages.own.iter_mut().flatten().for_each(|own| own.take_in(look(&own.path, None)));
        pages
    }

    /// What is to be looked at now: the job for a thread, whose result comes back by [`Self::take_in`].
    pub(crate) fn take_due(&mut self) -> Vec<Due> {
        let due = std::mem::take(&mut self.due).into_iter().filter_map(|(site, number)| {
            let own = self.own.get(site)?.get(number)?;
            let (path, known) = (own.path.clone(), own.read.as_ref().map(|(known, _)| *known));
            let asked = path.clone();
            Some(Due { site, number, path, look: Box::new(move || look(&asked, known)) })
        });
        due.collect()
    }

    /// What a look has brought; `None`: it could not be made, and is tried again later.
    pub(crate) fn take_in(&mut self, (site, number): (usize, usize), read: Option<Read>) {
        let Some(own) = self.own.get_mut(site).and_then(|site| site.get_mut(number)) else { return };
        own.looks.over();
        if let Some(read) = read {
            own.take_in(read);
        }
    }

    /// The page of a site for a status. One of its own that cannot be read is replaced by the built-in one.
    pub(crate) fn get(&mut self, site: Option<usize>, status: u16, now: Time) -> Rc<Page> {
        let Self { own, due, .. } = self;
        let pages = site.and_then(|site| Some((site, own.get_mut(site)?)));
        if let Some((site, pages)) = pages {
            for (number, own) in pages.iter_mut().enumerate().filter(|(_, own)| own.status == status) {
                if own.looks.is_due(now) {
                    due.push((site, number));
                }
                if let Some((_, page)) = &own.read {
                    return Rc::clone(page);
                }
            }
        }
        if let Some((_, page)) = self.built_in.iter().find(|(of, _)| *of == status) {
            return Rc::clone(page);
        }
        let (head, body) = fixed::error_page(status);
        let content_type = String::from_utf8_lossy(head.fields.get("content-type").unwrap_or_default());
        let page = Page::new(status, &content_type, &body);
        self.built_in.push((status, Rc::clone(&page)));
        page
    }
}

impl Own {
    fn take_in(&mut self, read: Read) {
        match read.0 {
            Ok(found) => {
                self.warned = false;
                if let Some((found, body)) = found {
                    self.read = Some((found, Page::new(self.status, content_type(&self.path), &body)));
                }
            }
            Err(error) => {
                self.read = None;
                if !std::mem::replace(&mut self.warned, true) {
                    log::warn!("error page {}: {error}; the built-in page is sent", self.path.display());
                }
            }
        }
    }
}

/// A look at the file of a page.
pub(crate) struct Due {
    /// Its site.
    pub(crate) site: usize,
    /// Its number in it.
    pub(crate) number: usize,
    /// Its file.
    pub(crate) path: PathBuf,
    /// The look, which may take as long as it likes.
    pub(crate) look: Box<dyn FnOnce() -> Read + Send>,
}

/// Reads the file if it is another one than before.
fn look(path: &Path, known: Option<Metadata>) -> Read {
    let read = || {
        let file = open_file(path)?;
        let found = metadata(file.as_fd())?;
        if known == Some(found) {
            return Ok(None);
        }
        if found.kind != Kind::Regular || found.size > MOST_BYTES {
            let why = format!("not a regular file of at most {MOST_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Some((found, read_at(file.as_fd(), 0, found.size as usize)?)))
    };
    Read(read())
}

fn content_type(path: &Path) -> &'static str {
    mime::of(path.file_name().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_page_of_the_sites_own_is_read_again_when_it_changes_and_replaced_when_it_is_gone() {
        let path = std::env::temp_dir().join(format!("hatchery-pages-{}.txt", std::process::id()));
        let own = Own { status: 404, path: path.clone(), read: None, looks: Looks::default(), warned: false };
        let mut pages = Pages { built_in: Vec::new(), own: vec![vec![own], vec![]], due: Vec::new() };
        let mut text = |site, status, seconds| {
            let now = Time::ZERO.after(Duration::from_secs(seconds));
            pages.get(site, status, now);
            for due in pages.take_due() {
                pages.take_in((due.site, due.number), Some((due.look)()));
            }
            let page = pages.get(site, status, now);
            let body = String::from_utf8(page.body(RequestId::SOME).as_bytes().to_vec()).unwrap();
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
        fs::write(&path, "$request_id: back soon, promised ($request_id)").unwrap();
        let id = RequestId::SOME;
        assert_eq!(text(Some(0), 404, 2).0, format!("{id}: back soon, promised ({id})"));
        for (site, status) in [(Some(0), 403), (Some(1), 404), (None, 404), (Some(9), 404)] {
            assert!(text(site, status, 2).0.contains("<h1>"), "{site:?} {status}");
        }
        fs::remove_file(&path).unwrap();
        assert!(text(Some(0), 404, 3).0.contains("404 Not Found"));
    }
}
