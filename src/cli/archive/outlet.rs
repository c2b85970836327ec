//! Where an archive is written to: a file that is there when it is whole, or
//! standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;

use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::PollFlags;
use tempfile::NamedTempFile;

use super::inlet::ready;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::execute::freight::Outlet;

/// A file under another name until it is kept. Only its owner can read it: it may
/// hold `/etc/shadow`.
struct ToFile {
    written: Option<NamedTempFile>,
    path: Utf8PathBuf,
    directory: Utf8PathBuf,
    /// What is there is replaced.
    replace: bool,
}

impl ToFile {
    fn file(&mut self) -> io::Result<&mut NamedTempFile> {
        self.written
            .as_mut()
            .ok_or_else(|| io::Error::other("it was kept already"))
    }
}

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Outlet for ToFile {
    fn keep(&mut self) -> io::Result<()> {
        self.file()?.as_file().sync_all()?;
        let Some(written) = self.written.take() else {
            return Ok(());
        };
        if self.replace {
            written.persist(&self.path)?;
        } else {
            written.persist_noclobber(&self.path)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

/// Standard output, until somebody interrupts it: whoever reads a pipe may hang.
struct ToStandardOutput {
    file: File,
    interrupted: &'static AtomicBool,
    /// It takes so much at once without making anybody wait, once it takes anything.
    at_once: usize,
}

/// What a pipe that can be written to takes at least (`PIPE_BUF`, pipe(7)).
const PIPE: usize = 4096;

impl Write for ToStandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ready(&self.file, PollFlags::POLLOUT, self.interrupted)?;
        let part = bytes.get(..self.at_once).unwrap_or(bytes);
        self.file.write(part)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Outlet for ToStandardOutput {
    fn keep(&mut self) -> io::Result<()> {
        match self.file.sync_all() {
            // A pipe keeps nothing (fsync(2)).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            kept => kept,
        }
    }
}

/// Opens what is written to; on a dry run only looks whether that can be.
///
/// # Errors
/// Where it cannot be written, is a terminal, or somebody does not want it replaced.
pub fn open(
    context: &Context,
    file: Option<&Utf8Path>,
) -> Result<Option<Box<dyn Outlet>>, Trouble> {
    let Some(path) = file.filter(|file| *file != "-") else {
        if io::stdout().is_terminal() && !context.dry_run {
            return Err(Trouble::refused("an archive is not written to a terminal")
                .remedy("name a file with -o FILE, or send it through a pipe"));
        }
        if context.json && !context.dry_run {
            return Err(Trouble::refused(
                "--json writes to standard output, and so would the archive",
            )
            .remedy("name a file with -o FILE"));
        }
        let descriptor = io::stdout().as_fd().try_clone_to_owned();
        let descriptor =
            descriptor.map_err(|error| Trouble::refused(format!("standard output: {error}")))?;
        let file = File::from(descriptor);
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        return Ok(Some(Box::new(ToStandardOutput {
            file,
            interrupted: context.interruption.asked(),
            at_once: if regular { usize::MAX } else { PIPE },
        })));
    };
    let there = path.symlink_metadata().ok();
    if there.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        return Err(Trouble::refused(format!("{path} is there, and is no file"))
            .remedy("name another file; to a device or pipe: beadm-rs export > IT"));
    }
    if context.dry_run {
        return Ok(None);
    }
    if there.is_some() {
        context.agree(&format!("replace {path}"))?;
    }
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
    let directory = parent.unwrap_or(Utf8Path::new(".")).to_owned();
    if !directory.is_dir() {
        return Err(Trouble::refused(format!(
            "there is no directory {directory}"
        )));
    }
    let made = tempfile::Builder::new()
        .prefix(&format!(".{}.", path.file_name().unwrap_or("archive")))
        .suffix(".part")
        .tempfile_in(&directory);
    let made = made.map_err(|error| {
        Trouble::refused(format!(
            "no file can be made in {directory}: {}",
            error.kind()
        ))
    })?;
    Ok(Some(Box::new(ToFile {
        written: Some(made),
        path: path.to_owned(),
        directory,
        replace: there.is_some(),
    })))
}
