//! `hatchery precompress`.

mod work;

use super::{Failure, print, print_json, remark};
use crate::config;
use crate::http::encoding::Encoding;
use crate::sys::file;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::thread;
use work::{Done, Outcome, Wanted};

/// Compress the files of a directory beside their originals, as small as they get, for `precompressed: true`
///
/// app.js gets app.js.br, app.js.zst and app.js.gz, with its permissions and its time, each put in its place at once. Left alone
/// is what has them already, does not become smaller, is of a type that is compressed anyway, begins with a dot or is a link.
/// Exit code 0: done; 1: some files could not be read or written; 2: wrong usage.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the files are, as the `root` of `Files`, such as STATIC_ROOT; directories in it, too
    directory: PathBuf,

    /// Which: br, zst, gz
    #[arg(long, value_delimiter = ',', value_parser = encoding, default_value = "br,zst,gz", value_name = "LIST")]
    encodings: Vec<Encoding>,

    /// Files that are smaller stay alone
    #[arg(long, value_parser = size, default_value = "1KiB", value_name = "SIZE")]
    min: u64,

    /// How many at a time; as many as there are processors, unless said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Also remove .br, .zst and .gz files of text, scripts and the like whose originals are not there any more
    #[arg(long)]
    prune: bool,

    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

fn encoding(text: &str) -> Result<Encoding, String> {
    let found = Encoding::ALL.into_iter().find(|known| known.suffix() == text || known.name() == text);
    found.ok_or_else(|| "one of br, zst, gz".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    config::bytes(text).map_err(|complaint| format!("{}; {}", complaint.what, complaint.hint))
}

/// What is told of all files.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// That were looked at: of a type that is compressed, and large enough.
    files: u64,
    /// Compressed files that were made, by their ending.
    written: Vec<Written>,
    /// That were there already.
    current: u64,
    /// That would not have been smaller than their originals.
    not_smaller: u64,
    removed: u64,
    /// What went wrong, with the file.
    failed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Written {
    ending: &'static str,
    files: u64,
    /// Bytes of the originals, and of what they became.
    before: u64,
    after: u64,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { directory, encodings, min, jobs, prune, json } = arguments;
    let root = file::open_directory(directory)
        .map_err(|error| Failure::Usage(format!("cannot open {}: {error}", directory.display())))?;
    let mut wanted = encodings.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let jobs = jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let wanted = Wanted { encodings: wanted, min: *min, prune: *prune };
    let mut report = Report::default();
    for encoding in &wanted.encodings {
        report.written.push(Written { ending: encoding.suffix(), files: 0, before: 0, after: 0 });
    }
    for done in work::run(root, directory, &wanted, jobs) {
        report.add(done);
    }
    report.failed.sort_unstable();
    report.failed.iter().for_each(|failed| remark(failed));
    if *json {
        print_json(&report)?;
    } else {
        print(&report.text(directory))?;
    }
    Ok(u8::from(!report.failed.is_empty()))
}

impl Report {
    fn add(&mut self, Done { path, outcome }: Done) {
        match outcome {
            Outcome::Looked => self.files += 1,
            Outcome::Current => self.current += 1,
            Outcome::NotSmaller => self.not_smaller += 1,
            Outcome::Removed => self.removed += 1,
            Outcome::Failed(why) => self.failed.push(format!("{}: {why}", path.display())),
            Outcome::Written { encoding, before, after } => {
                let of = self.written.iter_mut().find(|written| written.ending == encoding.suffix());
                if let Some(written) = of {
                    written.files += 1;
                    written.before += before;
                    written.after += after;
                }
            }
        }
    }

    fn text(&self, directory: &Path) -> String {
        let mut text = format!("{}: {} files", directory.display(), self.files);
        for (count, what) in
            [(self.current, "there already"), (self.not_smaller, "not smaller"), (self.removed, "removed")]
        {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text.push('\n');
        for Written { ending, files, before, after } in
            self.written.iter().filter(|written| written.files > 0)
        {
            let share = *after as f64 * 100.0 / (*before).max(1) as f64;
            text.push_str(&format!(
                ".{ending}: {files} written, {before} bytes became {after} ({share:.0} %)\n"
            ));
        }
        text
    }
}
