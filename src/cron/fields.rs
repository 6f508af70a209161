//! The five fields of a schedule, checked one by one, so that a mistake is named with its place. What passes is handed
//! to croner with names and 7 (Sunday) resolved; when it fires is decided in [`super::calendar`].

use std::fmt;

/// What is wrong with a schedule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduleError {
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) hint: String,
    /// It is the time zone that is wrong, not the schedule.
    pub(crate) zone: bool,
}

impl ScheduleError {
    pub(super) fn new(what: String, hint: &str) -> Self {
        Self { what, hint: hint.to_owned(), zone: false }
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl std::error::Error for ScheduleError {}

/// A field and its values (crontab(5)).
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// Names of the values from `low` on.
    names: &'static [&'static str],
    /// croner's additions that make sense here.
    extras: &'static str,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[], extras: "" },
    Field { name: "hour", low: 0, high: 23, names: &[], extras: "" },
    Field { name: "day of month", low: 1, high: 31, names: &[], extras: "LW" },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        extras: "",
    },
    Field {
        name: "day of week",
        low: 0,
        high: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        extras: "L#",
    },
];

/// The five fields with names as numbers; or what is wrong with which field.
pub(super) fn normalise(at: &str) -> Result<String, ScheduleError> {
    let parts: Vec<&str> = at.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(ScheduleError::new(
            format!("a schedule has five fields, this one has {}", parts.len()),
            "write minute, hour, day of month, month and day of week, as in `17 3 * * *`, or a name like `@daily`",
        ));
    }
    let fields: Result<Vec<String>, ScheduleError> =
        parts.iter().zip(&FIELDS).map(|(part, field)| field.list(part)).collect();
    Ok(fields?.join(" "))
}

impl Field {
    /// `item,item,…`
    fn list(&self, part: &str) -> Result<String, ScheduleError> {
        let items: Result<Vec<String>, ScheduleError> =
            part.split(',').map(|item| self.item(item, part)).collect();
        Ok(items?.join(","))
    }

    /// `*`, `5`, `1-5`, each but the second with `/step`.
    fn item(&self, item: &str, part: &str) -> Result<String, ScheduleError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let range = match range.split_once('-') {
            _ if range == "*" => "*".to_owned(),
            Some((from, to)) => {
                let (from, mut to) = (self.value(from, part)?, self.value(to, part)?);
                if self.high == 7 && to == 0 && from > 0 {
                    // `fri-sun`: the week may end with Sunday.
                    to = 7;
                }
                if from > to {
                    return Err(self.wrong(
                        part,
                        format!("the range {range} runs backwards"),
                        "write the lower value first, or two ranges: `22-23,0-5`",
                    ));
                }
                format!("{from}-{to}")
            }
            None if step.is_some() => {
                let hint =
                    format!("a step follows `*` or a range: `{range}-{}/{}`", self.high, step.unwrap_or("2"));
                return Err(self.wrong(part, format!("a step after the single value {range}"), &hint));
            }
            None if self.is_extra(range) => range.to_ascii_uppercase(),
            None => self.value(range, part)?.to_string(),
        };
        match step {
            None => Ok(range),
            Some(step) => match step.parse::<u32>() {
                Ok(number) if number > 0 && number <= self.high.max(1) => Ok(format!("{range}/{number}")),
                _ => {
                    let hint = format!("a step is a number from 1 to {}", self.high);
                    Err(self.wrong(part, format!("`{step}` is no step"), &hint))
                }
            },
        }
    }

    fn value(&self, text: &str, part: &str) -> Result<u32, ScheduleError> {
        let name = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Ok(self.low + u32::try_from(index).unwrap_or(0));
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if digits && (self.low..=self.high).contains(&number) => Ok(number),
            _ => {
                let names = match self.names {
                    [first, .., last] => format!(", or {first} to {last}"),
                    _ => String::new(),
                };
                let hint = format!(
                    "the {} is {} to {}{names}, `*`, a list or a range",
                    self.name, self.low, self.high
                );
                Err(self.wrong(part, format!("`{text}` is not a {}", self.name), &hint))
            }
        }
    }

    /// `L`, `15W`, `LW` in the day of month; `5#2`, `5#L` in the day of week.
    fn is_extra(&self, item: &str) -> bool {
        let upper = item.to_ascii_uppercase();
        let named = self.names.contains(&item.to_ascii_lowercase().as_str());
        !named
            && !self.extras.is_empty()
            && upper.chars().any(|letter| self.extras.contains(letter))
            && upper.chars().all(|letter| letter.is_ascii_digit() || self.extras.contains(letter))
    }

    fn wrong(&self, part: &str, what: String, hint: &str) -> ScheduleError {
        ScheduleError::new(format!("{} `{part}`: {what}", self.name), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sundays_become_numbers() {
        for (written, wanted) in [
            ("17 3 * * *", "17 3 * * *"),
            ("*/5 0-12/3,23 1,15 JAN-mar,dec Mon-Fri", "*/5 0-12/3,23 1,15 1-3,12 1-5"),
            ("0 0 * * 7", "0 0 * * 7"),
            ("0 0 * * fri-sun", "0 0 * * 5-7"),
            ("0 0 * * SUN", "0 0 * * 0"),
            ("0 0 l * *", "0 0 L * *"),
            ("0 0 15w * 5#2", "0 0 15W * 5#2"),
            ("0 0 * * wed", "0 0 * * 3"),
        ] {
            assert_eq!(normalise(written).as_deref(), Ok(wanted), "{written}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        for (written, wanted) in [
            ("", "five fields, this one has 0"),
            ("* * * *", "five fields, this one has 4"),
            ("* * * * * *", "five fields, this one has 6"),
            ("60 * * * *", "minute `60`: `60` is not a minute"),
            ("* 24 * * *", "hour `24`"),
            ("* * 0 * *", "day of month `0`"),
            ("* * 32 * *", "day of month `32`"),
            ("* * * 13 *", "month `13`"),
            ("* * * foo *", "month `foo`: `foo` is not a month"),
            ("* * * * 8", "day of week `8`"),
            ("* * * * monday", "day of week `monday`"),
            ("5-1 * * * *", "runs backwards"),
            ("*/0 * * * *", "`0` is no step"),
            ("*/x * * * *", "`x` is no step"),
            ("*/ * * * *", "`` is no step"),
            ("5/10 * * * *", "a step after the single value 5"),
            ("1,,2 * * * *", "`` is not a minute"),
            ("-5 * * * *", "`` is not a minute"),
            ("+5 * * * *", "`+5` is not a minute"),
            ("L * * * *", "`L` is not a minute"),
            ("99999999999999999999 * * * *", "is not a minute"),
            ("\u{663} * * * *", "is not a minute"),
        ] {
            let error = normalise(written).expect_err(written);
            assert!(error.what.contains(wanted), "{written}: {error}");
            assert!(!error.hint.is_empty());
        }
    }
}
