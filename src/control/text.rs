//! What processes say of themselves, as people may see it.

/// Text without the control characters by which its author could write to the terminal of whoever reads it, in the log or
/// in the status; lines and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown =
        |char: char| if char.is_control() && !matches!(char, '\n' | '\t') { '\u{fffd}' } else { char };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(
            printable("Error:\n\t\x1b]52;c;eA==\x07 \u{9b}2J\r"),
            "Error:\n\t\u{fffd}]52;c;eA==\u{fffd} \u{fffd}2J\u{fffd}"
        );
    }
}
