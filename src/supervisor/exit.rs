//! What an exit means, in words for the log and `status`: the bare fact, and what is usually behind it.

use super::Exit;

/// `exit 127: the program was not found`, `killed by SIGKILL: by hand, or by the kernel when memory ran out`.
#[must_use]
pub(super) fn describe(exit: Exit) -> String {
    let meaning = match exit {
        Exit::Code(0) => Some("it left by itself"),
        Exit::Code(126) => Some("the program could not be executed"),
        Exit::Code(127) => Some("the program was not found"),
        Exit::Code(_) => None,
        Exit::Signal(6) => Some("it aborted itself"),
        Exit::Signal(9) => Some("by hand, or by the kernel when memory ran out"),
        Exit::Signal(4 | 7 | 8 | 11) => Some("it crashed"),
        Exit::Signal(24) => Some("out of its limit of CPU time"),
        Exit::Signal(25) => Some("out of its limit of file size"),
        Exit::Signal(31) => Some("the sandbox refused a system call"),
        Exit::Signal(_) | Exit::OutOfMemory => None,
    };
    meaning.map_or_else(|| exit.to_string(), |meaning| format!("{exit}: {meaning}"))
}

/// The line of a reason that says most: of a traceback the one with the error, which what helps may follow; else the first
/// one, unless that only announces what was printed, of which it is the last.
#[must_use]
pub(super) fn headline(reason: &str) -> &str {
    let lines: Vec<&str> = reason.lines().filter(|line| !line.trim().is_empty()).collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return "no reason given" };
    let frame = lines.iter().rposition(|line| line.contains("File \""));
    let below = lines.iter().skip(frame.map_or(lines.len(), |at| at + 1));
    let error = below.copied().find(|line| !line.starts_with(char::is_whitespace));
    let fallback = if frame.is_some() || first.ends_with(':') { last } else { first };
    error.unwrap_or(fallback).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_comes_with_its_usual_cause() {
        assert_eq!(describe(Exit::Code(0)), "exit 0: it left by itself");
        assert_eq!(describe(Exit::Code(3)), "exit 3");
        assert_eq!(describe(Exit::Code(127)), "exit 127: the program was not found");
        assert_eq!(describe(Exit::Signal(15)), "killed by SIGTERM");
        assert_eq!(
            describe(Exit::Signal(9)),
            "killed by SIGKILL: by hand, or by the kernel when memory ran out"
        );
        assert_eq!(describe(Exit::OutOfMemory), "killed by SIGKILL: probably out of memory");
    }

    #[test]
    fn the_headline_of_a_traceback_is_its_error() {
        let traceback = "Traceback (most recent call last):\n  File \"x\"\n    import x\nModuleNotFoundError: No module named 'x'\n\n";
        assert_eq!(headline(traceback), "ModuleNotFoundError: No module named 'x'");
        let chained = format!("{traceback}\nDuring handling:\n\n{traceback}hint\n  of two lines");
        assert_eq!(headline(&chained), "ModuleNotFoundError: No module named 'x'");
        assert_eq!(
            headline("File \"x\", line 1\n    (\n    ^\nSyntaxError: '(' was never closed"),
            "SyntaxError: '(' was never closed"
        );
    }

    #[test]
    fn the_headline_without_a_traceback_is_the_error_and_not_what_helps() {
        assert_eq!(headline("ImportError: no x\nlooked in /srv"), "ImportError: no x");
        assert_eq!(headline("exit 1; it had printed:\nwarming up\nno database\n"), "no database");
        assert_eq!(headline("exit 1; it had printed:\n  \"File \""), "\"File \"");
        assert_eq!(headline(" \n"), "no reason given");
    }
}
