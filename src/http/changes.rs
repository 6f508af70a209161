//! Fields that are set, added and removed on the way of a message through this server, as the operator says.

use super::Fields;

/// What is changed, in this order: fields are removed, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Each takes the place of all fields of its name.
    pub(crate) set: Vec<(String, String)>,
    /// Each stands behind those of its name.
    pub(crate) add: Vec<(String, String)>,
    /// Names.
    pub(crate) remove: Vec<String>,
}

impl Changes {
    /// Whether what others say under this name goes no further.
    #[must_use]
    pub(crate) fn drops(&self, name: &[u8]) -> bool {
        let set = self.set.iter().map(|(name, _)| name);
        self.remove.iter().chain(set).any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes()))
    }

    /// Name and value of what is said instead, and besides.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.set.iter().chain(&self.add).map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    /// Makes them.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        if !(self.remove.is_empty() && self.set.is_empty()) {
            fields.retain(|name| !self.drops(name));
        }
        self.said().for_each(|(name, value)| fields.add(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_and_set_goes_and_what_is_added_stands_behind() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let changes = Changes {
            set: vec![pair("X-Frame-Options", "DENY")],
            add: vec![pair("Vary", "Accept"), pair("Vary", "Origin")],
            remove: vec!["x-powered-by".to_owned()],
        };
        let mut fields = Fields::new();
        for (name, value) in [("X-Powered-By", "PHP"), ("vary", "Cookie"), ("x-frame-options", "SAMEORIGIN")]
        {
            fields.add(name, value);
        }
        fields.add("X-Frame-Options", "SAMEORIGIN");
        changes.apply(&mut fields);
        let left: Vec<_> = fields.iter().map(|(name, value)| [name, b": ", value].concat()).collect();
        assert_eq!(left, [&b"vary: Cookie"[..], b"X-Frame-Options: DENY", b"Vary: Accept", b"Vary: Origin"]);
    }
}
