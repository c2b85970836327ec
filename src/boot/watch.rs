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
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, elf};
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

/// Whether a program runs where there is nothing else: the kernel goes on without
/// one that it cannot start, to any shell there is, which then waits for ever.
fn stands_alone(program: &[u8]) -> bool {
    match FileKind::parse(program) {
        Ok(FileKind::Elf64) => has_no_interpreter::<elf::FileHeader64<Endianness>>(program),
        Ok(FileKind::Elf32) => has_no_interpreter::<elf::FileHeader32<Endianness>>(program),
        _ => None,
    }
    .unwrap_or_default()
}

fn has_no_interpreter<Header: FileHeader<Endian = Endianness>>(program: &[u8]) -> Option<bool> {
    let header = Header::parse(program).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, program).ok()?;
    let mut kinds = segments.iter().map(|segment| segment.p_type(endian));
    let loaded = kinds.clone().any(|kind| kind == elf::PT_LOAD);
    Some(loaded && kinds.all(|kind| kind != elf::PT_INTERP))
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
    if !stands_alone(&program) {
        return Err(
            "the lib/beadm-rs/watch that is installed here is no program that runs without \
             libraries ('make install' has the one that does)"
                .to_owned(),
        );
    }
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

/// A program with segments of these kinds, as small as it can be.
#[cfg(test)]
pub(super) fn program_of(kinds: &[elf::ProgramType]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for (value, length) in [
        (2_u64, 2),
        (62, 2),
        (1, 4),
        (0, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (kinds.len() as u64, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ] {
        bytes.extend(value.to_le_bytes().iter().take(length));
    }
    for kind in kinds {
        bytes.extend(kind.0.to_le_bytes());
        bytes.resize(bytes.len() + 52, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_library_does_not_run_alone() {
        assert!(stands_alone(&program_of(&[elf::PT_LOAD])));
        assert!(!stands_alone(&program_of(&[elf::PT_INTERP, elf::PT_LOAD])));
        assert!(!stands_alone(&program_of(&[])));
        assert!(!stands_alone(b"#!/bin/sh\n"));
        assert!(!stands_alone(b""));
        let whole = program_of(&[elf::PT_LOAD]);
        for length in 0..whole.len() {
            assert!(!stands_alone(whole.get(..length).unwrap()), "{length}");
        }
        // This test needs its libraries.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!stands_alone(&own));
    }

    #[test]
    fn archives_are_known_by_their_names() {
        let digest = "0a".repeat(32);
        assert!(is_archive(&format!("watch-{digest}.img")));
        assert!(is_archive(&format!("watch-{digest}.img.new")));
        for name in [
            digest.as_str(),
            "watch-.img",
            "watch-0a.img",
            "watch.img",
            "grubenv",
        ] {
            assert!(!is_archive(name), "{name}");
        }
    }
}
