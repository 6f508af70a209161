//! The response cache in `status`: a line.

use super::Page;
use crate::control::command::CacheStatus;

const MIB: f64 = 1_048_576.0;

pub(super) fn show(cache: Option<&CacheStatus>, page: &mut Page) {
    page.section("cache", cache.is_some());
    if let Some(cache) = cache {
        page.line(&format!("  {}", line(cache)));
    }
}

/// `128 in memory (of 64 MiB), 3 in files (1.5 MiB)  hits 900 of 1000 (90%)  stored 140  evicted 9`
fn line(cache: &CacheStatus) -> String {
    let CacheStatus { objects, memory, files, disk, hits, misses, stored, evicted } = cache;
    let mib = |bytes: &u64| *bytes as f64 / MIB;
    let on_disk =
        if *files > 0 { format!(", {files} in files ({:.1} MiB)", mib(disk)) } else { String::new() };
    let all = hits.saturating_add(*misses);
    let share =
        hits.saturating_mul(100).checked_div(all).map_or_else(String::new, |share| format!(" ({share}%)"));
    format!(
        "{objects} in memory (of {:.0} MiB){on_disk}  hits {hits} of {all}{share}  stored {stored}  evicted {evicted}",
        mib(memory)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is() {
        let cache = CacheStatus {
            objects: 128,
            memory: 64 << 20,
            hits: 900,
            misses: 100,
            stored: 140,
            ..CacheStatus::default()
        };
        assert_eq!(line(&cache), "128 in memory (of 64 MiB)  hits 900 of 1000 (90%)  stored 140  evicted 0");
        let filed = CacheStatus { files: 3, disk: 3 << 19, ..CacheStatus::default() };
        assert_eq!(
            line(&filed),
            "0 in memory (of 0 MiB), 3 in files (1.5 MiB)  hits 0 of 0  stored 0  evicted 0"
        );
    }
}
