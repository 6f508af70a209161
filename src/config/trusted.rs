//! Whose a configuration is. Whoever can change it is, with a master of root, root: users, programs and files are named in
//! it. So a root that reads one looks who can change it and every directory on the way to it.

use crate::sys::place::{self, Gap, Place};
use crate::sys::trust::{Stranger, Trust};
use crate::sys::user;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Strangers on one way at the most whom this machine has no account for.
const UNKNOWN: usize = 8;

/// The text of a file, and what is doubtful about whom it belongs to.
///
/// # Errors
/// As reading a file; who else can change it, and what to do about it.
pub(super) fn read(path: &Path) -> io::Result<(String, Vec<String>)> {
    if !user::is_root() {
        return read_as_user(path);
    }
    let (file, doubts) = known(|trust| open(path, trust))?;
    Ok((text_of(file, path)?, doubts))
}

/// More is no configuration.
const MOST: u64 = 64 << 20;

/// The text of a file that was opened without waiting. One that is named by a descriptor, as a shell does for what a command
/// prints, may be a pipe; any other has to be a file, as nobody might write to a pipe.
fn text_of(file: File, path: &Path) -> io::Result<String> {
    let refuse = |kind, what: &str| Err(io::Error::new(kind, what));
    let is_descriptor =
        ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|place| path.starts_with(place));
    let found = file.metadata()?;
    if found.is_dir() {
        return refuse(
            io::ErrorKind::IsADirectory,
            "it is a directory; write what is to be read in it, as in \"sites/*.ron\"",
        );
    }
    if !(found.is_file() || is_descriptor) {
        return refuse(io::ErrorKind::InvalidInput, "it is no file but a pipe, a socket or a device");
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return refuse(io::ErrorKind::FileTooLarge, &format!("it has more than {} MiB", MOST >> 20));
    }
    Ok(text)
}

/// Checks a directory whose files are read by a pattern.
///
/// # Errors
/// Who else can change it, and what to do about it.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    if !user::is_root() {
        return Ok(());
    }
    let inside = path.join("*");
    known(|trust| closed(&Place::trusting(&inside, trust.clone())?)).map(drop)
}

/// Tries with more and more trust: in a container the owners of what the host has put there have no account.
fn known<T>(attempt: impl Fn(&Trust) -> io::Result<T>) -> io::Result<(T, Vec<String>)> {
    let mut trust = operator();
    let mut doubts = Vec::new();
    loop {
        let error = match attempt(&trust) {
            Ok(value) => return Ok((value, doubts)),
            Err(error) => error,
        };
        let stranger = place::stranger_of(&error);
        let Some(stranger) = stranger.filter(|who| who.has_no_account() && doubts.len() < UNKNOWN) else {
            return Err(error);
        };
        trust.add(stranger);
        doubts.push(format!(
            "{stranger} can change it, whom this machine has no account for: it is read all the same, as in a container"
        ));
    }
}

/// Root, and whoever has become root by sudo.
fn operator() -> Trust {
    let mut trust = Trust::own();
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u32>().ok());
    let Some(uid) = number("SUDO_UID") else { return trust };
    trust.add(Stranger::User(uid));
    if let Some(gid) = number("SUDO_GID").filter(|gid| user::is_private_group(uid, *gid)) {
        trust.add(Stranger::Group(gid));
    }
    trust
}

fn open(path: &Path, trust: &Trust) -> io::Result<File> {
    let place = Place::trusting(path, trust.clone())?;
    let file = place.open(OFlag::O_RDONLY)?;
    if place.is_descriptor() {
        return Ok(file.into());
    }
    closed(&place)?;
    let stat = fstat(&file)?;
    let Some(stranger) = trust.stranger(&stat, file.as_fd()) else { return Ok(file.into()) };
    let (mode, remedy) = (stat.st_mode & 0o7777, way_out(stranger, place.path()));
    Err(place::refused_for(
        stranger,
        match stranger {
            Stranger::User(_) => {
                format!("the file belongs to {stranger}, who could become root by it; {remedy}")
            }
            _ => format!("{stranger} can write the file (mode {mode:04o}), and so become root; {remedy}"),
        },
    ))
}

/// Checks that nobody else can put another file in the place.
fn closed(place: &Place) -> io::Result<()> {
    let Some(Gap { stranger, directory, mode }) = place.gap() else { return Ok(()) };
    let (shown, remedy) = (directory.display(), way_out(*stranger, directory));
    Err(place::refused_for(
        *stranger,
        format!(
            "{stranger} can change the directory `{shown}` (mode {mode:04o}), and so become root; {remedy}"
        ),
    ))
}

/// What helps; no command does on a mount that shows one owner and mode for all, as of Windows' disks in WSL.
fn way_out(stranger: Stranger, path: &Path) -> String {
    match stranger {
        // It may be somebody's home.
        Stranger::User(_) if path.is_dir() => {
            "move the configuration to a directory of root's, such as /etc/hatchery, or start the server by sudo as that \
             user"
                .to_owned()
        }
        _ => {
            let remedy = stranger.remedy(path);
            format!("{remedy}, or copy the configuration to a directory of root's if that has no effect there")
        }
    }
}

/// A user's own server does no more than that user, so that a directory of a group is the group's matter. A file that
/// everybody can write is told of only: on some mounts every file is one, and its mode cannot be changed.
fn read_as_user(path: &Path) -> io::Result<(String, Vec<String>)> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let found = file.metadata()?;
    let mode = found.mode() & 0o7777;
    let mut doubts = Vec::new();
    if found.is_file() && mode & 0o002 != 0 {
        let remedy = Stranger::Anybody.remedy(path);
        doubts.push(format!("every user can write the file (mode {mode:04o}), and so become you; {remedy}"));
    }
    Ok((text_of(file, path)?, doubts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    #[test]
    fn a_file_that_others_can_change_is_refused_with_the_way_out() {
        let folder = std::env::temp_dir().join(format!("hatchery-trusted-{}", std::process::id()));
        fs::create_dir_all(folder.join("sites")).unwrap();
        let file = folder.join("sites/x.ron");
        fs::write(&file, "()").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&file, 0o644);
        assert_eq!(read(&file).unwrap(), ("()".to_owned(), Vec::new()));
        assert_eq!(read_as_user(&file).unwrap(), ("()".to_owned(), Vec::new()));
        mode(&file, 0o646);
        let (text, doubts) = read_as_user(&file).unwrap();
        assert!(text == "()" && doubts.len() == 1, "{doubts:?}");
        let remedy = format!("chmod o-w {}", file.display());
        assert!(doubts[0].contains("mode 0646") && doubts[0].ends_with(&remedy), "{doubts:?}");
        if user::is_root() {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("mode 0646") && error.contains(&remedy), "{error}");
            assert!(error.contains("copy the configuration to a directory of root's"), "{error}");
            let nobody = 65534;
            let unknown = 3_999_999_999;
            mode(&file, 0o664);
            assert!(read(&file).is_ok(), "root's own group");
            chown(&file, None, Some(1)).unwrap();
            assert!(read(&file).unwrap_err().to_string().contains("the group `daemon` can write"));
            mode(&file, 0o644);
            chown(&file, Some(nobody), None).unwrap();
            assert!(read(&file).unwrap_err().to_string().contains("belongs to the user `nobody`"));
            chown(&file, Some(unknown), None).unwrap();
            let (_, doubts) = read(&file).unwrap();
            assert!(doubts.len() == 1 && doubts[0].contains("no account"), "{doubts:?}");
            chown(&file, Some(61_184), None).unwrap();
            assert!(
                read(&file).unwrap_err().to_string().contains("belongs to the user 61184"),
                "of systemd's"
            );
            chown(&file, Some(0), None).unwrap();
            let sites = folder.join("sites");
            symlink("sites/x.ron", folder.join("y.ron")).unwrap();
            assert!(read(&folder.join("y.ron")).is_ok() && directory(&sites).is_ok());
            mode(&sites, 0o777);
            let error = read(&file).unwrap_err().to_string();
            assert!(
                error.contains("every user can change the directory") && error.contains("chmod o-w"),
                "{error}"
            );
            assert!(directory(&sites).is_err());
            mode(&sites, 0o1777);
            assert!(read(&file).is_ok(), "a sticky directory keeps root's file");
            chown(&sites, Some(nobody), None).unwrap();
            assert!(read(&folder.join("y.ron")).is_err());
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
