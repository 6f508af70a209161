//! Which files are written to that have the name already.

use super::{Hold, Place, RACES, kind, what};
use crate::sys::trust::{Stranger, user_name};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

impl Place {
    /// Opens a log for appending, or makes it. Where others can put files in its place it must be a file of one name that
    /// is ours, the superuser's, of a user in `also`, or of the directory's owner.
    ///
    /// # Errors
    /// As `open(2)`; what is there, and why it is not written to.
    pub(crate) fn append(&self, mode: u32, also: &[u32]) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        if self.magic {
            return Ok(self.open(flags)?.into());
        }
        for _ in 0..RACES {
            let Some(found) = self.stat()? else {
                match self.create(flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, mode) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    made => return made,
                }
            };
            self.admit_log(&found, also)?;
            match self.open(flags) {
                Ok(opened) => {
                    self.admit_log(&fstat(&opened)?, also)?;
                    return Ok(opened.into());
                }
                // Others changed it between the two looks.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.refusal("changes all the time"))
    }

    /// Checks what a log is appended to, without opening it.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn admit_appending(&self, also: &[u32]) -> io::Result<()> {
        match self.stat()?.filter(|_| !self.magic) {
            Some(found) => self.admit_log(&found, also),
            None => Ok(()),
        }
    }

    fn admit_log(&self, stat: &FileStat, also: &[u32]) -> io::Result<()> {
        let kind = kind(stat);
        let is_ours = self.trust.has_user(stat.st_uid);
        let Some(stranger) = self.stranger() else {
            return if kind == SFlag::S_IFLNK {
                Err(self.refusal("is a symbolic link of another user"))
            } else {
                Ok(())
            };
        };
        if kind != SFlag::S_IFREG && !(kind == SFlag::S_IFIFO && is_ours) {
            return Err(self.refusal(what(kind)));
        }
        if stat.st_nlink != 1 {
            return Err(self.refusal("has more than one name (a hard link)"));
        }
        let of_directory = matches!(self.hold, Hold::Open(_)) && stranger == Stranger::User(stat.st_uid);
        if is_ours || of_directory || also.contains(&stat.st_uid) {
            return Ok(());
        }
        Err(self.refusal(&format!("belongs to {}", user_name(stat.st_uid))))
    }

    /// Checks that what has the name is a file with one name, of the superuser or us.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn admit_own(&self, stat: &FileStat) -> io::Result<()> {
        let kind = kind(stat);
        if kind != SFlag::S_IFREG {
            return Err(self.refusal(what(kind)));
        }
        if stat.st_nlink != 1 {
            return Err(self.refusal("has more than one name (a hard link)"));
        }
        if !self.trust.has_user(stat.st_uid) {
            return Err(self.refusal(&format!("belongs to {}", user_name(stat.st_uid))));
        }
        Ok(())
    }

    /// Checks the same of the open file, and that nobody else can write to it.
    ///
    /// # Errors
    /// Why it is not used.
    pub(crate) fn admit_own_open(&self, opened: BorrowedFd<'_>) -> io::Result<()> {
        let stat = fstat(opened)?;
        self.admit_own(&stat)?;
        match self.trust.stranger(&stat, opened) {
            None => Ok(()),
            Some(stranger) => Err(self.refusal(&format!("can be written by {stranger}"))),
        }
    }
}
