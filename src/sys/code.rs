//! Giving back memory that only code once needed holds: what a start or a reload ran stays mapped into the process, page
//! by page, though nothing will run it for days. The kernel keeps such pages as long as it has room for them; given back,
//! they count for nobody, and what is run again is mapped again.

use nix::libc;
use std::io;
use std::sync::OnceLock;

/// Start and length of the parts of this program that hold code and constants and cannot have been written to.
static PARTS: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

/// Finds the program in memory. Once, before the first fork: a sandbox may hide /proc later.
///
/// # Errors
/// Where /proc is not mounted; nothing is given back then.
pub(crate) fn find() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let parts = maps.lines().filter_map(|line| part(line, &program.to_string_lossy())).collect();
    // A second call finds the same.
    let _ = PARTS.set(parts);
    Ok(())
}

/// The range of a line of /proc/PID/maps that maps code of the program, or its constants before the code. Constants
/// behind it may hold addresses that the loader has written; they would be lost.
fn part(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let at_start = offset.bytes().all(|digit| digit == b'0');
    let is_code = rights == "r-xp" || (rights == "r--p" && at_start);
    // What comes before the path of a file has no slash; what is no file has no path.
    let path = line.get(line.find('/')?..)?;
    if !is_code || path != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

/// Gives back the pages of code and constants that are not used any more, and those that still are; the latter are
/// mapped again when they are run, without reading from disk as long as the kernel keeps them.
pub(crate) fn release() {
    for (start, length) in PARTS.get().into_iter().flatten() {
        // SAFETY: a private mapping of a file that was never written to (see `part`): dropping its pages changes no byte
        // of it, they come back from the file.
        unsafe {
            let start = std::ptr::with_exposed_provenance_mut(*start);
            libc::madvise(start, *length, libc::MADV_DONTNEED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_to_is_given_back() {
        let part = |line| part(line, "/usr/bin/hatchery");
        assert_eq!(
            part("563fa0cbf000-563fa0f9d000 r-xp 00094000 fe:00 123    /usr/bin/hatchery"),
            Some((0x563f_a0cb_f000, 0x2d_e000))
        );
        assert!(part("563fa0c2b000-563fa0cbf000 r--p 00000000 fe:00 123    /usr/bin/hatchery").is_some());
        for line in [
            "563fa0f9d000-563fa0faa000 r--p 00371000 fe:00 123    /usr/bin/hatchery",
            "563fa0faa000-563fa0fab000 rw-p 0037d000 fe:00 123    /usr/bin/hatchery",
            "7f5abb2c7000-7f5abb41d000 r-xp 00026000 fe:00 124    /usr/lib/x86_64-linux-gnu/libc.so.6",
            "7ffc7957c000-7ffc7957e000 r-xp 00000000 00:00 0      [vdso]",
            "7f5abb2c7000-7f5abb41d000 r-xp 00000000 fe:00 124    /opt/usr/bin/hatchery",
            "7f5abb2c7000-7f5abb41d000 r--p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(part(line), None, "{line}");
        }
    }

    #[test]
    fn what_was_given_back_still_runs() {
        find().unwrap();
        let parts = PARTS.get().unwrap();
        assert!(
            parts
                .iter()
                .any(|(start, length)| (*start..start + length).contains(&(release as *const () as usize)))
        );
        for round in 0..3 {
            release();
            assert_eq!(format!("round {round}").len(), 7);
        }
    }
}
