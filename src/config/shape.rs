//! A value of the file one level deep: what it is, with its parts still in RON.

use ron::value::RawValue;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A value, one level deep.
pub(crate) enum Shape<'a> {
    Bool(bool),
    Integer(i128),
    Float,
    Text(String),
    List(Vec<&'a RawValue>),
    Tuple(Vec<&'a RawValue>),
    Struct(Vec<(&'a str, &'a RawValue)>),
    Map(Vec<(&'a RawValue, &'a RawValue)>),
    /// A name and what follows it in parentheses.
    Variant(&'a str, Option<&'a RawValue>),
    /// Characters, byte strings, ranges: nothing here has this type.
    Other,
}

impl Shape<'_> {
    /// What it is, for a message.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bool(value) => format!("`{value}`"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float => "a fraction".to_owned(),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                format!("the string \"{short}{}\"", if short.len() < text.len() { "…" } else { "" })
            }
            Self::List(_) => "a list [ … ]".to_owned(),
            Self::Tuple(_) => "( … ) without keys".to_owned(),
            Self::Struct(_) => "( key: value, … )".to_owned(),
            Self::Map(_) => "a map { … }".to_owned(),
            Self::Variant(name, None) => format!("`{name}`"),
            Self::Variant(name, Some(_)) => format!("`{name}(…)`"),
            Self::Other => "something else".to_owned(),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Bytes of text that [`shape`] has walked through: what reading costs.
    pub(super) static WALKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One level of a piece of RON that is known to be well-formed.
pub(super) fn shape(text: &str) -> Shape<'_> {
    #[cfg(test)]
    WALKED.set(WALKED.get() + text.len());
    let rest = text.trim_start_matches(|char: char| char.is_ascii_alphanumeric() || char == '_');
    let name = text.get(..text.len() - rest.len()).unwrap_or_default();
    let string = rest.starts_with(['"', '#', '\'']);
    let word = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    if word && !string && !matches!(name, "true" | "false" | "inf" | "NaN") {
        let inside = RawValue::from_ron(rest).ok().map(RawValue::trim);
        return match inside {
            // Some(x) is x: implicit_some allows both.
            Some(inside) if name == "Some" => match shape(inside.get_ron()) {
                Shape::Tuple(values) => match values.as_slice() {
                    [one] => shape(one.trim().get_ron()),
                    _ => Shape::Other,
                },
                _ => Shape::Other,
            },
            inside => Shape::Variant(name, inside),
        };
    }
    let first = text.chars().next().unwrap_or_default();
    super::options().from_str_seed(text, ShapeSeed { first }).unwrap_or(Shape::Other)
}

#[derive(Clone, Copy)]
struct ShapeSeed {
    first: char,
}

impl<'de> DeserializeSeed<'de> for ShapeSeed {
    type Value = Shape<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed {
    type Value = Shape<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape<'de>, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape<'de>, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape<'de>, E> {
        Ok(Shape::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape<'de>, E> {
        Ok(Shape::Float)
    }

    fn visit_char<E>(self, _: char) -> Result<Shape<'de>, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Shape<'de>, E> {
        Ok(Shape::Tuple(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            list.push(item);
        }
        Ok(if self.first == '[' { Shape::List(list) } else { Shape::Tuple(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape<'de>, A::Error> {
        if self.first == '{' {
            let mut map = Vec::new();
            while let Some(entry) = entries.next_entry::<&RawValue, &RawValue>()? {
                map.push(entry);
            }
            return Ok(Shape::Map(map));
        }
        if self.first != '(' {
            return Ok(Shape::Other);
        }
        let mut list = Vec::new();
        while let Some(entry) = entries.next_entry::<&str, &RawValue>()? {
            list.push(entry);
        }
        Ok(Shape::Struct(list))
    }
}
