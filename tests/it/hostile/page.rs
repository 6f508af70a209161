//! The manual's page "Security" says nothing that a test does not show.

use std::path::{Path, PathBuf};

/// Rows of tables whose last column is `shown by`, with that cell.
fn rows(page: &str) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut is_shown = false;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with('|') {
            is_shown = false;
        } else if lines.peek().is_some_and(|next| next.starts_with("|---")) {
            is_shown = cells(line).last().is_some_and(|last| last == "shown by");
            lines.next();
        } else if is_shown {
            rows.push((line.to_owned(), cells(line).pop().unwrap()));
        }
    }
    rows
}

/// The names in backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether there is a test of this name: `hostile::paths::name` in `tests/it`, `sys::place::tests::name` in `src`.
fn exists(root: &Path, name: &str) -> bool {
    let mut parts: Vec<&str> = name.split("::").collect();
    let Some(function) = parts.pop() else { return false };
    let module: PathBuf = parts.iter().collect();
    let above = module.parent().map(Path::to_path_buf).unwrap_or_default();
    let files = ["tests/it", "src", "tests"].iter().flat_map(|folder| {
        let folder = root.join(folder);
        [
            folder.join(&module).with_extension("rs"),
            folder.join(&module).join("mod.rs"),
            folder.join(&above).with_extension("rs"),
            folder.join(&above).join("mod.rs"),
        ]
    });
    let wanted = format!("fn {function}(");
    files.filter_map(|file| std::fs::read_to_string(file).ok()).any(|text| text.contains(&wanted))
}

#[test]
fn every_row_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/manual/security.md")).unwrap();
    let rows = rows(&page);
    assert!(rows.len() >= 30, "{} rows", rows.len());
    for (row, cell) in rows {
        let names = names(&cell);
        assert!(!names.is_empty(), "names no test: {row}");
        let missing: Vec<_> = names.into_iter().filter(|name| !exists(root, name)).collect();
        assert!(missing.is_empty(), "no such test: {missing:?} in {row}");
    }
    assert!(!exists(root, "hostile::page::nothing_of_this_name"));
}
