//! Where an archive is read from: a file, or standard input.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8Path;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::archive::{self, Input};
use crate::cli::error::Trouble;

/// How often it is looked whether somebody wants to end, milliseconds: whoever
/// writes into a pipe may be gone, or hang.
const PATIENCE: u16 = 200;

/// A file that is read until somebody interrupts it.
struct Patient {
    file: File,
    interrupted: &'static AtomicBool,
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        ready(&self.file, PollFlags::POLLIN, self.interrupted)?;
        self.file.read(into)
    }
}

/// Waits until a file can be read or written, or somebody interrupts it.
///
/// # Errors
/// [`archive::Error::Interrupted`], and what poll(2) says.
pub(super) fn ready(file: &File, wanted: PollFlags, interrupted: &AtomicBool) -> io::Result<()> {
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(archive::Error::Interrupted.into());
        }
        let mut polled = [PollFd::new(file.as_fd(), wanted)];
        match poll(&mut polled, PollTimeout::from(PATIENCE)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens what is to be imported, or looked at, and reads its beginning.
///
/// # Errors
/// Where there is nothing, or nothing that can be imported.
pub fn open(file: Option<&Utf8Path>, interrupted: &'static AtomicBool) -> Result<Input, Trouble> {
    let named = file.filter(|file| *file != "-");
    let what = named.map_or_else(|| "standard input".to_owned(), ToString::to_string);
    let opened = match named {
        Some(file) => File::open(file),
        None if io::stdin().is_terminal() => {
            return Err(Trouble::refused("an archive does not come from a terminal")
                .remedy("name a file with -i FILE, or send it through a pipe"));
        }
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    let file = opened.map_err(|error| Trouble::refused(format!("{what}: {error}")))?;
    let directory = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    if directory {
        return Err(Trouble::refused(format!("{what} is a directory")));
    }
    let patient = Patient { file, interrupted };
    Input::open(Box::new(patient)).map_err(|error| {
        let trouble = Trouble::refused(format!("{what} cannot be imported: {error}"));
        match error {
            archive::Error::Truncated(_) | archive::Error::Damaged(_) => {
                trouble.remedy("copy it once more from where it was made, or export it again")
            }
            _ => trouble,
        }
    })
}
