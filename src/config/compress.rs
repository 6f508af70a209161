//! `compress: …` of a site or location.

use super::located::{At, Given, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{By, Form, Section, Value, Walk};
use super::written::Written;
use crate::http::encoding::Encoding;
use crate::policy::compress::{Compress, Compressing, Levels, TypePattern};
use std::rc::Rc;

/// The names of codings.
const ENCODINGS: [(&str, Encoding); 3] =
    [("Zstd", Encoding::Zstd), ("Brotli", Encoding::Brotli), ("Gzip", Encoding::Gzip)];

const EXPECTED: &str = "true, false or ( encodings: [Zstd, …], … )";

/// `true`, `false`, or how.
impl Value for Compressing {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let is_variable = node.has_variable();
        let read = match node.shape() {
            Shape::Struct(_) | Shape::Tuple(_) => {
                Compress::read(node, report).map(|compress| Self::On(Rc::new(compress)))
            }
            Shape::Text(text) if !is_variable && !["true", "false"].contains(&text.as_str()) => {
                node.wrong(report, EXPECTED, &Shape::Text(text))
            }
            Shape::Bool(_) | Shape::Text(_) => {
                bool::read(node, report).map(|on| if on { Self::On(Rc::default()) } else { Self::Off })
            }
            other => node.wrong(report, EXPECTED, &other),
        };
        read.map(|read| *self = read).is_some()
    }

    fn clear(&mut self) {
        *self = Self::Off;
    }

    fn written(&self) -> Written {
        match self {
            Self::Unsaid => Written::Absent,
            Self::Off => Written::plain(&false),
            Self::On(compress) => compress.write(),
        }
    }
}

impl Section for Compress {
    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "level" => "each coding has its own scale: levels: (zstd: 3, brotli: 4, gzip: 5)",
            "vary" => "it is always said",
            "precompressed" => "it goes into `to: Files(root: \"…\", …)`",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        let mut encodings = std::mem::take(&mut self.encodings).into_iter().map(Coding).collect();
        keys.key("encodings", &mut By(&mut encodings, codings));
        self.encodings = encodings.into_iter().map(|Coding(encoding)| encoding).collect();
        keys.key("levels", &mut self.levels);
        keys.key("min", &mut self.min);
        keys.key("types", &mut self.types);
        keys.key("streams", &mut self.streams);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        for key in ["encodings", "types"] {
            if given.is_empty_list(key) {
                let complaint = Complaint::new("nothing is compressed", "write compress: false for that");
                report.add(&given.place_of(key), complaint);
            }
        }
    }
}

/// A coding by its name.
struct Coding(Encoding);

impl Form for Coding {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Text(text) = node.shape() {
            let found = ENCODINGS.iter().find(|(name, encoding)| {
                text.eq_ignore_ascii_case(name) || text.eq_ignore_ascii_case(encoding.name())
            });
            if let Some((name, _)) = found {
                let what = format!("expected the name of a coding, found the string \"{text}\"");
                return node.refuse(report, Complaint::new(what, format!("write {name}")));
            }
        }
        node.choice(report, &ENCODINGS, &[]).map(Self)
    }

    fn write(&self) -> Written {
        Written::name_in(&ENCODINGS, &self.0)
    }
}

fn codings(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Coding>> {
    let mut known: Vec<Encoding> = Vec::new();
    for At { value: Coding(encoding), place } in Vec::<At<Coding>>::read(node, report)? {
        if known.contains(&encoding) {
            report.add(&place, Complaint::new("given twice", "keep one of the two"));
        }
        known.push(encoding);
    }
    Some(known.into_iter().map(Coding).collect())
}

impl Default for Levels {
    fn default() -> Self {
        Self::ON_THE_FLY
    }
}

impl Section for Levels {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("zstd", &mut By(&mut self.zstd, |node, report| level(node, Encoding::Zstd, report)));
        keys.key("brotli", &mut By(&mut self.brotli, |node, report| level(node, Encoding::Brotli, report)));
        keys.key("gzip", &mut By(&mut self.gzip, |node, report| level(node, Encoding::Gzip, report)));
    }
}

fn level(node: &Node<'_>, encoding: Encoding, report: &mut Report<'_>) -> Option<u32> {
    let level = u32::read(node, report)?;
    let (least, most) = (u32::from(encoding != Encoding::Brotli), Levels::MOST.of(encoding));
    if !(least..=most).contains(&level) {
        let what = format!("there is no level {level} of {} for responses", encoding.name());
        let hint = format!(
            "from {least} to {most}; files are compressed as small as it gets by `hatchery precompress`"
        );
        return node.refuse(report, Complaint::new(what, hint));
    }
    Some(level)
}

impl Form for TypePattern {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a media type such as \"text/*\"", |text| {
            let complain = |hint| Complaint::new(format!("`{text}` is not a media type"), hint);
            Self::parse(text).map_err(complain)
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.render())
    }
}
