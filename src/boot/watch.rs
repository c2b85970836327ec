//! The dead man's switch of a trial, and of what boots once: what has to go with
//! an entry so that a boot that comes to nothing ends by itself.
//!
//! `panic=` is followed by an initramfs that gives up, not by one that hangs, or
//! that ends in a shell as process 1. So the entry has a second initramfs with
//! one program in it (`watch/` in the sources), which the kernel starts instead
//! of the initramfs's own init. The same for every loader:
//!
//! - [`fitted`]: whether there is one for a switch, and what it is then;
//! - [`Watch::file`] comes **first** among an entry's initramfs files,
//!   [`Watch::options`] last on its command line;
//! - [`Watch::step`] puts it on the loader's partition, [`is_archive`] knows it
//!   there.
//!
//! First, because only there it hangs on nothing else: an uncompressed archive has
//! to begin at a multiple of four, which not every loader sees to; what follows a
//! compressed one may be taken for a part of it (the old format of lz4 has no
//! end); and where the initramfs under test is damaged, the kernel has unpacked
//! this before. What the kernel looks for in uncompressed archives at the
//! beginning (microcode, tables of the firmware) it finds behind this one as well
//! (`find_cpio_data` in lib/earlycpio.c goes on behind a trailer).

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::{Switch, archive};
use crate::os::Platform;
use crate::os::loader::{LoaderChange, hexadecimal};
use crate::plan::{Action, Step};

/// What the program is called in the first root file system.
pub(crate) const PROGRAM: &str = "beadm-rs-watch";

/// Where the archives are on a loader's partition, beside the copies.
const DIRECTORY: &str = "beadm-rs";

/// How their names begin and end; between them is their digest.
const NAME: (&str, &str) = ("watch-", ".img");

/// A switch for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    /// The archive, from the partition's root.
    pub file: Utf8PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
    /// What the kernel is to be told, as last words of its command line.
    pub options: Vec<String>,
    digest: String,
}

impl Watch {
    /// One for tests of what has it in it.
    #[cfg(test)]
    pub(super) fn of_file(file: &str, options: &[&str]) -> Self {
        Self {
            file: file.into(),
            bytes: 1,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            digest: String::new(),
        }
    }

    /// The step that puts it on a partition, unless it is there.
    pub(super) fn step(&self, partition: &Utf8Path) -> Step {
        let change = LoaderChange::Watch {
            partition: partition.to_owned(),
            to: self.file.clone(),
            digest: self.digest.clone(),
        };
        Step::new("stage-watch", Action::Loader(change))
    }
}

/// The archive with a program in it; `None` where it is too long for one.
pub(crate) fn archive(program: &[u8]) -> Option<Vec<u8>> {
    archive::of_program(PROGRAM, program)
}

/// Whether a file in the directory of copies is such an archive, or one that is
/// not finished.
pub(super) fn is_archive(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    name.strip_prefix(NAME.0)
        .and_then(|name| name.strip_suffix(NAME.1))
        .is_some_and(|digest| {
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

/// The switch an entry gets; `None` where none is due: for good, or with
/// `watch = 0` in the configuration. `disarms` says whether what boots has a
/// beadm-rs that ends it ([`crate::check::Bootable`]).
///
/// # Errors
/// Why there is none though one is due, as a sentence to follow "without a dead
/// man's switch: ".
pub(super) fn fitted(
    platform: &dyn Platform,
    seconds: u64,
    switch: Switch,
    disarms: bool,
) -> Result<Option<Watch>, String> {
    if switch == Switch::Good || seconds == 0 {
        return Ok(None);
    }
    if !disarms {
        return Err("there is no beadm-rs in it that would end it when it works".to_owned());
    }
    let program = platform
        .watch_program()
        .map_err(|error| error.to_string())?
        .ok_or("lib/beadm-rs/watch is not installed here")?;
    let archive = archive(&program).ok_or("its program is too long")?;
    let digest = hexadecimal(&Sha256::digest(&archive));
    let mut options = vec![
        format!("rdinit=/{PROGRAM}"),
        format!("beadm-rs.watch={seconds}"),
    ];
    if switch == Switch::Once {
        options.push(ONCE.to_owned());
    }
    Ok(Some(Watch {
        file: Utf8Path::new(DIRECTORY).join(format!("{}{digest}{}", NAME.0, NAME.1)),
        bytes: archive.len() as u64,
        options,
        digest,
    }))
}

/// The word on the command line of what boots once: it is never confirmed, so its
/// switch ends when its boot is complete.
pub(crate) const ONCE: &str = "beadm-rs.once";

/// What an administrator has to know about the switch of an activation.
pub(super) fn notes(
    platform: &dyn Platform,
    fitted: &Result<Option<Watch>, String>,
) -> Vec<String> {
    match fitted {
        Ok(None) => Vec::new(),
        Ok(Some(_)) if platform.has_watchdog() => Vec::new(),
        Ok(Some(_)) => vec![
            "this machine has no hardware watchdog that can be used: where its kernel hangs, \
             it does not restart by itself"
                .to_owned(),
        ],
        Err(why) => vec![format!(
            "without a dead man's switch: {why}; where it hangs, somebody has to restart the \
             machine"
        )],
    }
}
