//! `hatchery man`. What pages say besides commands and flags stands in the manual, from which it is taken.

use super::{Cli, Failure, print};
use clap::{Args, CommandFactory as _};
use std::fmt::Write as _;

/// The page of the manual.
const MANUAL: &str = include_str!("../../docs/manual/signals-and-commands.md");

/// Headings of its tables, and those of the sections that are made of them.
const EXITS: (&str, &str) = ("### Exit codes", "EXIT STATUS");
const FILES: (&str, &str) = ("### Files", "FILES");
const SIGNALS: (&str, &str) = ("## Signals to the master", "SIGNALS");

/// Commands that become a master, which is sent signals.
const MASTERS: [&str; 3] = ["hatchery", "run", "serve"];

/// Print the manual page of a command, for man(1)
///
/// hatchery man | man -l -
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A command; else the page that lists them
    command: Option<String>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let mut command = Cli::command();
    command.build();
    let chosen = match &arguments.command {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Failure::Usage(format!("there is no command \"{name}\""))),
        },
    };
    let is_master = MASTERS.contains(&chosen.get_name());
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(chosen).render(&mut page);
    rendered.map_err(|error| Failure::Failed(error.to_string()))?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for table in [EXITS, FILES].into_iter().chain(is_master.then_some(SIGNALS)) {
        page.push_str(&section(table));
    }
    print(&page)
}

/// A section of a page (man(7)), from a table of two columns.
fn section((heading, title): (&str, &str)) -> String {
    let mut page = format!(".SH \"{title}\"\n");
    let text = MANUAL.lines().skip_while(|line| *line != heading).skip(1);
    let rows = text.take_while(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix("| "));
    // The first one heads the columns.
    for row in rows.skip(1) {
        let (first, second) = row.trim_end_matches(" |").split_once(" | ").unwrap_or((row, ""));
        // Writing to a String cannot fail.
        let _ = write!(page, ".TP\n{}\n{}\n", roff(first), roff(second));
    }
    page
}

/// Markdown to roff: code is bold, of links the text stays.
fn roff(text: &str) -> String {
    let mut out = String::from("\\&");
    let mut is_code = false;
    let text = text.replace("\\|", "|").replace("](", "\0");
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '`' => {
                is_code = !is_code;
                out.push_str(if is_code { "\\fB" } else { "\\fR" });
            }
            '[' if !is_code => {}
            // What a link leads to.
            '\0' => _ = chars.by_ref().find(|char| *char == ')'),
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_of_the_manual_becomes_a_section() {
        for (table, rows) in [(EXITS, 3), (FILES, 4), (SIGNALS, 7)] {
            let section = section(table);
            assert!(section.matches(".TP\n").count() >= rows, "{section}");
            assert!(!section.contains('|') && !section.contains('`') && !section.contains("]("), "{section}");
        }
        assert!(section(EXITS).contains(".TP\n\\&2\n\\&wrong usage"));
    }

    #[test]
    fn text_is_shown_as_it_is_meant() {
        assert_eq!(roff("a `-c` of [this](that.md), \\n"), "\\&a \\fB\\-c\\fR of this, \\en");
    }
}
