//! Limits of requests and connections in `status`: a line each.

use super::Page;
use crate::control::command::{LimitStatus, LimitsStatus};
use crate::control::text;

pub(super) fn show(limits: &LimitsStatus, page: &mut Page) {
    page.section("limits", !limits.limits.is_empty());
    limits.limits.iter().for_each(|limit| page.line(&line(limit)));
}

/// `  class search  refused 17  would have refused 3`
fn line(limit: &LimitStatus) -> String {
    let LimitStatus { name, refused, spared } = limit;
    let spared = if *spared > 0 { format!("  would have refused {spared}") } else { String::new() };
    format!("  {}  refused {refused}{spared}", text::line(name))
}

#[cfg(test)]
mod tests {
    use super::super::{Look, table};
    use super::*;
    use crate::control::command::Status;

    #[test]
    fn each_limit_has_a_line() {
        let limit = |name: &str, refused, spared| LimitStatus { name: name.to_owned(), refused, spared };
        let limits = vec![limit("class search", 17, 0), limit("shop.example /\x1b", 0, 3)];
        let status =
            Status { limits: LimitsStatus { limits, ..LimitsStatus::default() }, ..Status::default() };
        let text = table(&status, Look::default());
        let lines: Vec<&str> = text.lines().skip_while(|line| *line != "limits").collect();
        let escaped = text::line("/\x1b");
        let tried = format!("  shop.example {escaped}  refused 0  would have refused 3");
        assert_eq!(lines, ["limits", "  class search  refused 17", &tried]);
        assert!(!table(&Status::default(), Look::default()).contains("limits"));
    }
}
