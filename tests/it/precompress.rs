//! `hatchery precompress`: what it makes, what it leaves alone, and that the server sends it.

use crate::harness::{Connection, Directory, Finished, Setup, hatchery};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn precompress(directory: &Path, flags: &[&str]) -> Finished {
    hatchery(&Directory::new(), &[&["precompress", directory.to_str().unwrap()], flags].concat())
}

/// What a client makes of a file.
fn decoded(path: &Path) -> Vec<u8> {
    let coded = fs::read(path).unwrap();
    let mut plain = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => drop(flate2::bufread::GzDecoder::new(&coded[..]).read_to_end(&mut plain).unwrap()),
        "br" => drop(brotli::Decompressor::new(&coded[..], 4096).read_to_end(&mut plain).unwrap()),
        _ => {
            plain = vec![0; 1 << 20];
            let count = zstd_safe::decompress(&mut plain[..], &coded).unwrap();
            plain.truncate(count);
        }
    }
    plain
}

fn text(length: usize) -> Vec<u8> {
    b"function shop() { return 'hatchery'; }\n".iter().copied().cycle().take(length).collect()
}

/// All files below a directory with their content and time.
fn all(directory: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(directory).unwrap().display().to_string();
                let modified = entry.metadata().unwrap().modified().unwrap();
                found.insert(name, (fs::read(entry.path()).unwrap(), modified));
            }
        }
    }
    found
}

fn names(directory: &Path) -> Vec<String> {
    all(directory).into_keys().collect()
}

#[test]
fn files_are_compressed_beside_their_originals_and_sent_by_the_server() {
    let setup = Setup::new(
        r#"
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Files(root: "root", precompressed: true))])],"#,
    );
    let root = setup.directory.path().join("root");
    let script = text(20_000);
    for name in ["app.js", "deep/er/style.css", ".well-known/x.json"] {
        setup.directory.write(format!("root/{name}"), &script);
    }
    // What stays alone: too small, of another type, hidden, compressed already.
    for name in ["small.js", "picture.png", ".env.js", "archive.tar.gz", "noise.js"] {
        setup.directory.write(format!("root/{name}"), "x");
    }
    setup.directory.write("root/picture.png", &script);
    setup.directory.write("root/.secret.js", &script);
    symlink("app.js", root.join("link.js")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let original = File::options().write(true).open(root.join("app.js")).unwrap();
    original.set_modified(old).unwrap();
    original.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    let done = precompress(&root, &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains(": 3 files\n") && done.stdout.contains(".zst: 3 written"),
        "{}",
        done.stdout
    );
    let mut wanted: Vec<String> = Vec::new();
    for name in ["app.js", "deep/er/style.css", ".well-known/x.json"] {
        wanted.extend(["", ".br", ".gz", ".zst"].map(|ending| format!("{name}{ending}")));
    }
    wanted.extend(
        ["small.js", "picture.png", ".env.js", ".secret.js", "archive.tar.gz", "noise.js"].map(str::to_owned),
    );
    wanted.sort();
    assert_eq!(names(&root), wanted);
    for ending in ["br", "zst", "gz"] {
        let path = root.join(format!("app.js.{ending}"));
        assert!(decoded(&path) == script, "{ending}");
        let (made, original) = (path.metadata().unwrap(), root.join("app.js").metadata().unwrap());
        assert!(made.len() < 1000 && made.permissions().mode() & 0o777 == 0o640, "{made:?}");
        assert_eq!(made.modified().unwrap(), original.modified().unwrap());
        assert_eq!((made.uid(), made.gid()), (original.uid(), original.gid()));
    }
    let server = setup.start();
    let mut client = Connection::open(server.address).unwrap();
    for (accepted, ending) in [("br", "br"), ("zstd", "zst"), ("gzip", "gz")] {
        let reply =
            client.request("GET", "/deep/er/style.css", &[("Accept-Encoding", accepted)], b"").unwrap();
        assert_eq!(reply.field("content-encoding"), Some(accepted));
        assert!(reply.body == fs::read(root.join(format!("deep/er/style.css.{ending}"))).unwrap());
    }
}

#[test]
fn what_is_done_is_not_done_again_and_what_has_changed_is() {
    let directory = Directory::new();
    let root = directory.path();
    directory.write("a.js", text(5_000));
    directory.write("b.js", text(6_000));
    assert_eq!(precompress(root, &["--jobs", "1"]).code, Some(0));
    let before = all(root);
    let again = precompress(root, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((again.code, &report["current"], &report["files"]), (Some(0), &6.into(), &2.into()));
    assert!(all(root) == before, "nothing was touched");
    // An older time is another one, too: another release was put there.
    directory.write("a.js", text(5_500));
    let file = File::options().write(true).open(root.join("a.js")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    let report: serde_json::Value =
        serde_json::from_str(&precompress(root, &["--json", "--encodings", "gz,br"]).stdout).unwrap();
    assert_eq!((&report["current"], &report["written"][0]["files"]), (&2.into(), &1.into()), "{report}");
    assert!(decoded(&root.join("a.js.gz")) == text(5_500) && decoded(&root.join("a.js.zst")) == text(5_000));
    // What does not become smaller any more has nothing beside it that is of another content.
    directory.write("a.js", crate::harness::noise(3_000, 9));
    let done = precompress(root, &[]);
    assert!(done.stdout.contains("3 not smaller"), "{}", done.stdout);
    assert_eq!(names(root), ["a.js", "b.js", "b.js.br", "b.js.gz", "b.js.zst"]);
}

#[test]
fn only_what_has_no_original_is_removed_and_only_if_that_is_said() {
    let directory = Directory::new();
    let root = directory.path();
    for name in ["gone.js.br", "gone.js.gz", "data.tar.gz", "there.js", "there.js.gz", "dump.bin.zst"] {
        directory.write(name, "x");
    }
    let before = names(root);
    assert_eq!(precompress(root, &[]).code, Some(0));
    assert_eq!(names(root), before);
    let done = precompress(root, &["--prune"]);
    assert!(done.stdout.contains("2 removed"), "{}", done.stdout);
    assert_eq!(names(root), ["data.tar.gz", "dump.bin.zst", "there.js", "there.js.gz"]);
}

#[test]
fn what_cannot_be_done_is_told_and_the_rest_is_done() {
    let directory = Directory::new();
    let root = directory.path();
    directory.write("a.js", text(5_000));
    fs::create_dir(root.join("a.js.gz")).unwrap();
    let done = precompress(root, &[]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("a.js: a directory has the name a.js.gz"), "{}", done.stderr);
    assert!(decoded(&root.join("a.js.br")) == text(5_000));
    // A link in the place of what is made is replaced, not followed.
    let kept = directory.write("kept.txt", "kept");
    fs::remove_dir(root.join("a.js.gz")).unwrap();
    symlink(&kept, root.join("a.js.gz")).unwrap();
    assert_eq!(precompress(root, &[]).code, Some(0));
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
    assert!(decoded(&root.join("a.js.gz")) == text(5_000));
    for (flags, says) in [
        (&["--encodings", "lz4"][..], "one of br, zst, gz"),
        (&["--min", "5"], "unit"),
        (&["--jobs", "0"], "1..=1024"),
    ] {
        let done = precompress(root, flags);
        assert!(done.code == Some(2) && done.stderr.contains(says), "{flags:?}: {}", done.stderr);
    }
    let done = precompress(&root.join("nowhere"), &[]);
    assert!(done.code == Some(2) && done.stderr.contains("cannot open"), "{}", done.stderr);
}
