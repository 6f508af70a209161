//! A section of the file, described once: its walk names each key and the value that it is for. What reads a section, what
//! writes it and what asks for its keys are visitors of the same walk (docs/decisions/0019-a-setting-stands-once.md).

use super::located::{Given, Node, Reading, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::written::Written;

/// A section: `( key: value, … )`. Its default is what holds for a key that is not given.
pub(crate) trait Section: Clone + Default {
    /// Keys that the manual announces and this version does not have.
    const LATER: &'static [&'static str] = &[];
    /// The key whose value may stand for the whole section: `Files("static")`.
    const SHORT: Option<&'static str> = None;
    /// It is written so where nothing else is given.
    const BRIEF: bool = false;

    /// The key that is meant most often by a value without one, for the message.
    const MEANT: Option<&'static str> = None;

    /// What to say about a key that is known, but not here.
    fn misplaced(_key: &str) -> Option<Complaint> {
        None
    }

    /// What holds before the first key is read, as far as it depends on the file and the machine.
    fn start(_node: &Node<'_>, _report: &Report<'_>) -> Self {
        Self::default()
    }

    /// Names each key once, with its value. A value may be one for the walk only, if the section holds it in another way.
    fn walk(&mut self, keys: &mut dyn Walk);

    /// What no value tells alone, once all are read; keys that are missing or wrong have been reported.
    fn check(&mut self, _given: &Given<'_>, _report: &mut Report<'_>) {}
}

/// What visits the keys of a section.
pub(crate) trait Walk {
    /// A key with a default, or that may be left out.
    fn key(&mut self, name: &'static str, value: &mut dyn Value);

    /// A key that must be given.
    fn need(&mut self, name: &'static str, _example: &str, value: &mut dyn Value) {
        self.key(name, value);
    }
}

/// How a type is read and written.
pub(crate) trait Form: Sized {
    /// `None`: the report says why.
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self>;

    fn write(&self) -> Written;
}

/// The value of a key.
pub(crate) trait Value {
    /// Takes what stands in the file. False: it is wrong, the report says why.
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool;

    /// `None` stands in the file: as if the key was not there, unless there is a name for none.
    fn clear(&mut self) {}

    fn written(&self) -> Written;
}

impl<T: Form> Value for T {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        T::read(node, report).map(|value| *self = value).is_some()
    }

    fn written(&self) -> Written {
        self.write()
    }
}

/// A value that is read in a way of its own.
pub(crate) struct By<'v, T>(pub(crate) &'v mut T, pub(crate) Reading<T>);

impl<T: Form> Value for By<'_, T> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        self.1(node, report).map(|value| *self.0 = value).is_some()
    }

    fn written(&self) -> Written {
        self.0.write()
    }
}

/// One of the plain names of a list; those of the second list are announced and not there yet.
pub(crate) struct Choice<'v, T: 'static>(
    pub(crate) &'v mut T,
    pub(crate) &'static [(&'static str, T)],
    pub(crate) &'static [&'static str],
);

impl<T: Clone + PartialEq> Value for Choice<'_, T> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        node.choice(report, self.1, self.2).map(|value| *self.0 = value).is_some()
    }

    fn written(&self) -> Written {
        Written::name_in(self.1, self.0)
    }
}

/// A value, or the plain name that stands for none.
pub(crate) struct Or<'v, T>(pub(crate) &'v mut Option<T>, pub(crate) &'static str);

impl<T: Form> Value for Or<'_, T> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let value = match node.shape() {
            Shape::Variant(..) => node.choice(report, &[(self.1, ())], &[]).map(|()| None),
            Shape::Text(text) if text.eq_ignore_ascii_case(self.1) => {
                node.refuse(report, Complaint::new(format!("`{}` stands without quotes here", self.1), ""))
            }
            _ => T::read(node, report).map(Some),
        };
        value.map(|value| *self.0 = value).is_some()
    }

    fn clear(&mut self) {
        *self.0 = None;
    }

    fn written(&self) -> Written {
        self.0.as_ref().map_or_else(|| Written::plain(&self.1), Form::write)
    }
}

impl<T: Section> Form for T {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut section = Self::start(node, report);
        let mut given = node.given::<Self>(&keys(&section), report)?;
        let mut reader = Reader { given: &mut given, report, complete: true };
        section.walk(&mut reader);
        let complete = reader.complete;
        section.check(&given, report);
        complete.then_some(section)
    }

    fn write(&self) -> Written {
        let mut writer = Writer(Vec::new());
        self.clone().walk(&mut writer);
        let written = Written::Group("(".to_owned(), writer.0, ')');
        if Self::BRIEF { written.brief() } else { written }
    }
}

/// The keys that a section has.
pub(crate) fn keys<T: Section>(section: &T) -> Vec<&'static str> {
    let mut names = Names(Vec::new());
    section.clone().walk(&mut names);
    names.0
}

struct Reader<'r, 'a, 's> {
    given: &'r mut Given<'a>,
    report: &'r mut Report<'s>,
    complete: bool,
}

impl Walk for Reader<'_, '_, '_> {
    fn key(&mut self, name: &'static str, value: &mut dyn Value) {
        self.given.read(name, value, self.report);
    }

    fn need(&mut self, name: &'static str, example: &str, value: &mut dyn Value) {
        self.given.need(name, example, self.report);
        self.complete &= self.given.read(name, value, self.report);
    }
}

struct Writer(Vec<(String, Written)>);

impl Walk for Writer {
    fn key(&mut self, name: &'static str, value: &mut dyn Value) {
        self.0.push((format!("{name}: "), value.written()));
    }
}

struct Names(Vec<&'static str>);

impl Walk for Names {
    fn key(&mut self, name: &'static str, _value: &mut dyn Value) {
        self.0.push(name);
    }
}
