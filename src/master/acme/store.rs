//! What is kept on disk of authorities: an account for each, and certificates with their keys, each in one file, so that
//! neither is ever there without the other. All in one directory that is for us alone.

use super::chain;
use crate::control::helper::{Account, json};
use crate::renewal;
use crate::secret::{self, Hidden, Secret};
use crate::sys::file;
use crate::sys::place::{Directory, Place};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::{AccessFlags, faccessat};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use x509_cert::der::pem::{LineEnding, encode_string};

/// A file that is larger is none of ours.
const LARGEST: u64 = 1 << 20;

/// More certificates than of so many sites nobody looks through.
const MOST: usize = 100_000;

/// Of the names of their files.
const ENDING: &str = ".pem";

/// Certificates with the key of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// DER, the site's own first.
    pub(super) chain: Vec<Vec<u8>>,
    /// PKCS#8 in DER.
    pub(super) key: Secret,
}

/// The account at an authority; `None`: there is none.
///
/// # Errors
/// As reading; it is not understood.
pub(super) fn account(storage: &Path, directory: &str) -> io::Result<Option<Account>> {
    let Some(text) = read(storage, &account_name(directory))? else { return Ok(None) };
    let account = serde_json::from_slice(&text.0);
    account.map(Some).map_err(|_| io::Error::other(format!("{} is damaged", account_name(directory))))
}

/// Keeps an account.
///
/// # Errors
/// As writing.
pub(super) fn keep_account(storage: &Path, directory: &str, account: &Account) -> io::Result<()> {
    write(storage, &account_name(directory), &json(account))
}

fn account_name(directory: &str) -> String {
    let host = directory.strip_prefix("https://").unwrap_or(directory).split(['/', ':']).next();
    format!("{}.account", renewal::key(directory, &[format!("account-{}", host.unwrap_or_default())]))
}

/// The certificate of that key; `None`: there is none.
///
/// # Errors
/// As reading; it is not understood.
pub(super) fn certificate(storage: &Path, key: &str) -> io::Result<Option<Kept>> {
    let Some(text) = read(storage, &certificate_name(key))? else { return Ok(None) };
    let chain = chain::read(&text.0).map_err(io::Error::other)?;
    let own = chain::read_key(&text.0).ok_or_else(|| io::Error::other("there is no key in it"))?;
    Ok(Some(Kept { chain, key: own }))
}

/// All that are kept and understood, with their keys.
pub(super) fn certificates(storage: &Path) -> Vec<(String, Kept)> {
    let mut keys = Vec::new();
    let mut take = |name: &[u8]| {
        let key = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix(ENDING));
        keys.extend(key.map(str::to_owned));
        key.is_some()
    };
    // What cannot be read is told where one of them is asked for.
    if let Ok(Some(directory)) = opened(storage) {
        let _is_cut = file::list(directory.descriptor, MOST, |_, name| take(name));
    }
    let kept = |key: String| {
        let kept = certificate(storage, &key).ok()??;
        Some((key, kept))
    };
    keys.into_iter().filter_map(kept).collect()
}

/// Keeps a certificate.
///
/// # Errors
/// As writing.
pub(super) fn keep_certificate(storage: &Path, key: &str, kept: &Kept) -> io::Result<()> {
    let pem = |label, der: &[u8]| {
        encode_string(label, LineEnding::LF, der).map_err(|error| io::Error::other(error.to_string()))
    };
    let own = Hidden(pem("PRIVATE KEY", &kept.key.0)?);
    let mut text = Secret(own.0.clone().into_bytes());
    for certificate in &kept.chain {
        secret::extend(&mut text.0, pem("CERTIFICATE", certificate)?.as_bytes());
    }
    write(storage, &certificate_name(key), &text)
}

/// In the order of names it stands beside others of the same name.
pub(super) fn certificate_name(key: &str) -> String {
    format!("{key}{ENDING}")
}

/// The directory, which is for us alone; `None`: it is not there yet.
///
/// # Errors
/// As opening; who else can change it.
pub(super) fn opened(storage: &Path) -> io::Result<Option<Directory>> {
    match Place::of(storage).and_then(|place| place.own_directory()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Whether the directory can be used, or made where it is not there yet.
///
/// # Errors
/// As opening; it cannot be written.
pub(super) fn usable(storage: &Path) -> io::Result<()> {
    if opened(storage)?.is_some() {
        return Ok(writable(storage)?);
    }
    let above = storage.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    let failed = |error: Errno| {
        let (storage, above) = (storage.display(), above.display());
        let what = format!(
            "`{storage}` is not there, and cannot be made in `{above}`: {}; make it for the user who starts the server, or \
             name another one",
            error.desc()
        );
        io::Error::new(io::Error::from(error).kind(), what)
    };
    writable(above).map_err(failed)
}

fn writable(directory: &Path) -> Result<(), Errno> {
    faccessat(AT_FDCWD, directory, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

fn read(storage: &Path, name: &str) -> io::Result<Option<Secret>> {
    let Some(directory) = opened(storage)? else { return Ok(None) };
    let file = match Place::of(&directory.path.join(name))?.open(OFlag::O_RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => File::from(opened?),
    };
    let mut text =
        Secret(Vec::with_capacity(usize::try_from(file.metadata()?.len().min(LARGEST)).unwrap_or(0) + 1));
    file.take(LARGEST).read_to_end(&mut text.0)?;
    Ok(Some(text))
}

fn write(storage: &Path, name: &str, text: &Secret) -> io::Result<()> {
    let directory = Directory::own(storage, 0o700)?;
    Place::of(&directory.path.join(name))?.replace(&text.0, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hatchery-store-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_kept_is_read_back_and_nobody_else_reads_it() {
        let folder = folder("kept");
        let storage = folder.join("lib").join("acme");
        let url = "https://acme.example/directory";
        assert_eq!(account(&storage, url).unwrap(), None);
        assert_eq!(certificate(&storage, "shop-1").unwrap(), None);
        let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
        let kept =
            Kept { chain: vec![made.cert.der().to_vec()], key: Secret(made.signing_key.serialize_der()) };
        let own = Account { id: "https://acme.example/1".into(), key: Hidden("abc".into()) };
        for _ in 0..2 {
            keep_account(&storage, url, &own).unwrap();
            keep_certificate(&storage, "shop-1", &kept).unwrap();
        }
        assert_eq!(account(&storage, url).unwrap(), Some(own));
        assert_eq!(certificate(&storage, "shop-1").unwrap(), Some(kept));
        assert_eq!(account(&storage, "https://other.example/").unwrap(), None);
        assert_eq!(std::fs::metadata(&storage).unwrap().mode() & 0o777, 0o700);
        let files: Vec<_> = std::fs::read_dir(&storage).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files.iter().all(|file| file.metadata().unwrap().mode() & 0o777 == 0o600));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_not_ours_or_not_understood_is_refused() {
        let folder = folder("refused");
        std::fs::create_dir(folder.join("real")).unwrap();
        symlink("real", folder.join("link")).unwrap();
        let own = Account { id: String::new(), key: Hidden(String::new()) };
        let refused = keep_account(&folder.join("link"), "https://a/", &own).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");
        std::fs::write(folder.join("real/x.pem"), "garbage").unwrap();
        assert!(certificate(&folder.join("real"), "x").is_err());
        std::fs::write(folder.join("other"), "").unwrap();
        symlink("../other", folder.join("real/y.pem")).unwrap();
        assert!(certificate(&folder.join("real"), "y").is_err(), "a link is not followed");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
