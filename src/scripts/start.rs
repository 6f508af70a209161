//! From a request to the process of a script.

use super::{Host, say};
use crate::control::text;
use crate::gateway::script::{self, Found, Script, Variables};
use crate::http::Method;
use crate::sys::file::{Kind, kind_beneath, open_directory};
use crate::sys::process::Child;
use crate::sys::process::script::{Step, start as launch};
use crate::sys::{fd, process};
use nix::errno::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// A script that runs.
pub(super) struct Started {
    pub(super) child: Child,
    /// What it writes.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// It, and the request, for the log.
    pub(super) name: String,
    pub(super) method: Method,
}

/// Starts the script for a request.
///
/// # Errors
/// The status of the answer. What is more than a mistake of the client stands in the log.
pub(super) fn start(host: &Host, payload: &[u8], body: Option<OwnedFd>) -> Result<Started, u16> {
    let variables = Variables::of(payload);
    let path = variables.get("PATH_INFO");
    let name = |file: &[u8]| {
        let (file, id) =
            (String::from_utf8_lossy(file), String::from_utf8_lossy(variables.get("REQUEST_ID")));
        text::line(&format!("{file} ({id})"))
    };
    let Some(found) = look_up(host, path, &name)? else { return Err(404) };
    let name = name(found.file);
    let environment = script::environment(variables, found, &host.around)?;
    let started = spawn(host, found, &environment, body);
    match started {
        Ok((child, stdout, stderr)) => {
            Ok(Started { child, stdout, stderr, name, method: variables.method() })
        }
        Err((step, error)) => {
            let (status, why) = refused(step, &error);
            if status != 404 {
                say(&format!("{name}: {why}"));
            }
            Err(status)
        }
    }
}

/// The script that a path names.
fn look_up<'a>(
    host: &Host,
    path: &'a [u8],
    name: &impl Fn(&[u8]) -> String,
) -> Result<Option<Script<'a>>, u16> {
    let root = open_directory(&host.around.root).map_err(|error| {
        say(&format!("the root {} cannot be opened: {error}", host.around.root.display()));
        503_u16
    })?;
    script::find(path, |file| {
        match kind_beneath(root.as_fd(), &host.around.root, file, host.links, &host.links_to) {
            Ok(Kind::Regular) => Ok(Found::File),
            Ok(Kind::Directory) => Ok(Found::Directory),
            Ok(Kind::Other) => Ok(Found::Nothing),
            Err(error) => on_missing(&error).map_or(Ok(Found::Nothing), |(status, why)| {
                say(&format!("{}: {why}", name(file)));
                Err(status)
            }),
        }
    })
}

/// Status and reason, if it is not that nothing is there.
fn on_missing(error: &io::Error) -> Option<(u16, String)> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EINVAL) => None,
        Some(Errno::EXDEV | Errno::ELOOP) => {
            Some((403, "a symbolic link that is not followed; see `symlinks`".to_owned()))
        }
        Some(Errno::EACCES) => Some((403, format!("cannot be looked at: {error}"))),
        _ => Some((503, format!("cannot be looked at: {error}"))),
    }
}

type Process = (Child, OwnedFd, OwnedFd);

/// Starts it, in its directory.
fn spawn(
    host: &Host,
    found: Script<'_>,
    environment: &[CString],
    body: Option<OwnedFd>,
) -> Result<Process, (Step, io::Error)> {
    let around = |error: io::Error| (Step::Around, error);
    let root = host.around.root.as_os_str().as_encoded_bytes();
    let path = [root, b"/", found.file].concat();
    let directory = path.get(..path.iter().rposition(|byte| *byte == b'/').unwrap_or_default());
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| around(error.into()));
    let (path, directory) = (text(&path)?, text(directory.unwrap_or_default())?);
    let interpreter = host.interpreters.iter().find(|(ending, _)| found.file.ends_with(ending.as_bytes()));
    let arguments: Vec<CString> =
        interpreter.map(|(_, program)| program.clone()).into_iter().chain([path.clone()]).collect();
    let (stdout, writes) = fd::pipe_from_program().map_err(around)?;
    let (stderr, tells) = fd::pipe_from_program().map_err(around)?;
    let stdin = body.as_ref().map_or(host.null.as_fd(), |body| body.as_fd());
    let child = launch(&process::script::Script {
        file: interpreter.map_or(&path, |(_, program)| program),
        arguments: &arguments,
        environment,
        directory: &directory,
        streams: [stdin, writes.as_fd(), tells.as_fd()],
    })?;
    Ok((child, stdout, stderr))
}

/// Status and reason.
fn refused(step: Step, error: &io::Error) -> (u16, String) {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match (step, errno) {
        (_, Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)) => {
            (503, format!("cannot be started now: {error}; see `limits`"))
        }
        (Step::Execute, Some(Errno::EACCES)) => {
            (403, "not executable: chmod +x, or name what runs it in `interpreters`".to_owned())
        }
        (Step::Execute, Some(Errno::ENOENT)) => {
            (500, "what its first line (#!) or `interpreters` names is not there".to_owned())
        }
        (Step::Execute, Some(Errno::ENOEXEC)) => {
            (500, "not a program: its first line has to be like #!/bin/sh, with no byte before it".to_owned())
        }
        (Step::Execute, Some(Errno::E2BIG)) => (431, "the request does not fit its environment".to_owned()),
        (Step::Execute, Some(Errno::ETXTBSY)) => (503, "somebody is writing it".to_owned()),
        (Step::Directory, _) => (500, format!("its directory cannot be entered: {error}")),
        _ => (500, format!("cannot be started: {error}")),
    }
}
