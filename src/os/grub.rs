//! What GRUB's own programs are asked for when a machine is taken over, and the
//! place where they find its files from then on.
//!
//! grub-mkconfig(8) and grub-install(8) are the distribution's: they know its
//! kernels, its themes and its signatures. This program says where.

use std::fmt;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::{Dir, MetadataExt as _, Permissions, PermissionsExt as _};
use cap_std_ext::dirext::CapStdExtDirExt as _;
use serde::Serialize;

use super::{Error, Result};
use crate::be::rewrite::FSTAB;

/// GRUB's directory on the loader's partition.
pub const DIRECTORY: &str = "grub";

/// Its configuration on the partition.
pub const CONFIGURATION: &str = "grub/grub.cfg";

/// Where GRUB's programs, and the distribution's scripts, look for its directory.
pub const PLACE: &str = "/boot/grub";

/// What grub-install(8) is called where GRUB 2 keeps to names of its own (Fedora and
/// its relatives, SUSE): its directory is `grub2` there too, also to GRUB itself.
pub const OTHER_INSTALL: &str = "grub2-install";

/// What the firmware starts where nobody told it anything else.
pub const REMOVABLE: &str = "EFI/BOOT/BOOTX64.EFI";

/// The largest fstab that is written, bytes.
const MAX_FSTAB: u64 = 4 << 20;

/// What stands before the line in fstab.
const REASON: &str = "# beadm-rs: GRUB's files are on its partition, and in no boot environment.";

/// How GRUB gets onto a machine's disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "firmware")]
pub enum Firmware {
    /// The firmware reads the partition.
    Uefi {
        /// Its variables can be written: it is told what to start.
        variables: bool,
        /// Also as what it starts without being told.
        removable: bool,
    },
    /// The firmware reads the first sector of a disk.
    Bios {
        /// The disks that hold the partition.
        disks: Vec<Utf8PathBuf>,
    },
}

/// One thing done with GRUB's programs, or for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum GrubChange {
    /// The configuration is made by the distribution's scripts.
    Configure {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
    },
    /// GRUB's directory on the partition is [`PLACE`], now and after each boot.
    Bind {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// Not any more.
        off: bool,
    },
    /// GRUB is installed, and finds its files on the partition.
    Install {
        /// Where the partition is mounted.
        partition: Utf8PathBuf,
        /// How.
        #[serde(flatten)]
        firmware: Firmware,
    },
}

impl GrubChange {
    /// The commands that do it: program and arguments.
    #[must_use]
    pub fn commands(&self) -> Vec<(&'static str, Vec<String>)> {
        match self {
            Self::Configure { partition } => vec![(
                "grub-mkconfig",
                vec!["-o".to_owned(), partition.join(CONFIGURATION).to_string()],
            )],
            Self::Bind { .. } => Vec::new(),
            Self::Install {
                partition,
                firmware:
                    Firmware::Uefi {
                        variables,
                        removable,
                    },
            } => {
                let mut plain = vec![
                    "--target=x86_64-efi".to_owned(),
                    format!("--efi-directory={partition}"),
                    format!("--boot-directory={partition}"),
                ];
                let mut again = plain.clone();
                again.extend(["--removable".to_owned(), "--no-nvram".to_owned()]);
                if !variables {
                    plain.push("--no-nvram".to_owned());
                }
                // The one it is told to start comes last.
                let both = if *removable {
                    vec![again, plain]
                } else {
                    vec![plain]
                };
                both.into_iter()
                    .map(|words| ("grub-install", words))
                    .collect()
            }
            Self::Install {
                partition,
                firmware: Firmware::Bios { disks },
            } => disks
                .iter()
                .map(|disk| {
                    let words = vec![
                        "--target=i386-pc".to_owned(),
                        format!("--boot-directory={partition}"),
                        disk.to_string(),
                    ];
                    ("grub-install", words)
                })
                .collect(),
        }
    }
}

impl fmt::Display for GrubChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Bind { partition, off } = self {
            let directory = partition.join(DIRECTORY);
            return if *off {
                write!(f, "take {directory} from {PLACE}, and from fstab")
            } else {
                write!(f, "bind {directory} on {PLACE}, here and in fstab")
            };
        }
        for (index, (program, arguments)) in self.commands().iter().enumerate() {
            let and = if index > 0 { "; " } else { "run " };
            write!(f, "{and}{program} {}", arguments.join(" "))?;
        }
        Ok(())
    }
}

/// What is known of GRUB on a machine, for whoever plans to take it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubMachine {
    /// How it is installed here.
    pub firmware: Firmware,
    /// The programs, and directories of modules, that are missing for it.
    pub missing: Vec<&'static str>,
    /// [`PLACE`] is the partition's directory after each boot.
    pub bound: bool,
    /// Its programs and its directory have other names here ([`OTHER_INSTALL`]).
    pub elsewhere: bool,
}

/// A path as a field of fstab(5).
fn field(path: &Utf8Path) -> String {
    path.as_str()
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012")
}

/// The line of fstab. systemd has it wait for the partition, since it is below it
/// (systemd.mount(5)), but not for a `/boot` that zfs-mount.service mounts. A
/// machine without the partition boots all the same.
fn line(partition: &Utf8Path) -> String {
    let directory = field(&partition.join(DIRECTORY));
    format!("{directory} {PLACE} none bind,nofail,x-systemd.after=zfs-mount.service 0 0")
}

/// Whether an fstab mounts something on [`PLACE`].
#[must_use]
pub fn is_bound(fstab: &str) -> bool {
    fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|place| place.trim_end_matches('/') == PLACE)
}

/// The text of an fstab with the line, or without it.
fn bound(fstab: &str, partition: &Utf8Path, off: bool) -> String {
    let own = line(partition);
    let mut text: String = fstab
        .split_inclusive('\n')
        .filter(|line| !matches!(line.trim_end(), line if line == own || line == REASON))
        .collect();
    if !off {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{REASON}\n{own}\n"));
    }
    text
}

/// The fstab of a system's root; empty where there is none.
fn read(root: &Dir) -> io::Result<(String, Option<cap_std_ext::cap_std::fs::Metadata>)> {
    let was = match root.symlink_metadata(FSTAB) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), None)),
        other => other?,
    };
    if !was.is_file() || was.len() > MAX_FSTAB {
        return Err(io::Error::other(format!(
            "it is no file of at most {MAX_FSTAB} bytes"
        )));
    }
    Ok((root.read_to_string(FSTAB)?, Some(was)))
}

/// Whether the fstab of a system's root mounts something on [`PLACE`].
///
/// # Errors
/// Where it cannot be read.
pub fn fstab_binds(root: &Dir) -> Result<bool> {
    let (text, _) = read(root).map_err(Error::io(format!("read /{FSTAB}")))?;
    Ok(is_bound(&text))
}

/// Writes the line into the fstab of a system's root, or takes it out.
///
/// # Errors
/// Where it cannot be read or written; it is whole either way.
pub fn bind_in_fstab(root: &Dir, partition: &Utf8Path, off: bool) -> io::Result<()> {
    use io::Write as _;
    let (old, was) = read(root)?;
    let text = bound(&old, partition, off);
    if text == old {
        return Ok(());
    }
    root.atomic_replace_with(FSTAB, |file| {
        if let Some(was) = &was {
            let inner = file.get_mut().as_file();
            inner.set_permissions(Permissions::from_mode(was.mode() & 0o7777))?;
            std::os::unix::fs::fchown(inner, Some(was.uid()), Some(was.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.flush()?;
        file.get_ref().as_file().sync_all()
    })
}

#[cfg(test)]
mod tests {
    use cap_std_ext::cap_std::ambient_authority;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_line_comes_and_goes() {
        let at = Utf8Path::new("/boot/e f");
        for fstab in ["", "a /b c\n", "# beadm-rs\n"] {
            let with = bound(fstab, at, false);
            assert!(
                with.ends_with("/boot/e\\040f/grub /boot/grub none bind,nofail,x-systemd.after=zfs-mount.service 0 0\n"),
                "{with}"
            );
            assert!(is_bound(&with));
            assert_eq!(bound(&with, at, false), with, "once is enough");
            assert_eq!(bound(&with, at, true), fstab);
        }
        assert_eq!(bound("a /b c", at, true), "a /b c");
        assert!(is_bound("/x /boot/grub/ none bind"));
        for other in [
            "",
            "#/x /boot/grub none bind",
            "/x /boot/grubby none",
            "/boot/grub /x none",
        ] {
            assert!(!is_bound(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn taking_it_out_is_putting_it_in_undone(fstab in "([ -~]{0,20}\n){0,5}") {
            let at = Utf8Path::new("/efi");
            prop_assert_eq!(bound(&bound(&fstab, at, false), at, true), fstab);
        }
    }

    #[test]
    fn a_link_in_the_place_of_fstab_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
        root.create_dir("etc").unwrap();
        bind_in_fstab(&root, "/efi".into(), false).unwrap();
        assert!(fstab_binds(&root).unwrap());
        root.rename(FSTAB, &root, "etc/other").unwrap();
        root.symlink("other", FSTAB).unwrap();
        assert!(bind_in_fstab(&root, "/efi".into(), true).is_err());
    }

    #[test]
    fn what_is_run_is_what_is_shown() {
        let partition = Utf8PathBuf::from("/efi");
        let install = |firmware| GrubChange::Install {
            partition: "/efi".into(),
            firmware,
        };
        let uefi = |variables, removable| {
            install(Firmware::Uefi {
                variables,
                removable,
            })
        };
        let bios = install(Firmware::Bios {
            disks: vec!["/dev/a".into(), "/dev/b".into()],
        });
        for (change, shown) in [
            (
                GrubChange::Configure {
                    partition: partition.clone(),
                },
                "run grub-mkconfig -o /efi/grub/grub.cfg",
            ),
            (
                GrubChange::Bind {
                    partition: partition.clone(),
                    off: false,
                },
                "bind /efi/grub on /boot/grub, here and in fstab",
            ),
            (
                GrubChange::Bind {
                    partition,
                    off: true,
                },
                "take /efi/grub from /boot/grub, and from fstab",
            ),
            (
                uefi(true, false),
                "run grub-install --target=x86_64-efi --efi-directory=/efi --boot-directory=/efi",
            ),
            (
                uefi(false, true),
                "run grub-install --target=x86_64-efi --efi-directory=/efi --boot-directory=/efi \
              --removable --no-nvram; grub-install --target=x86_64-efi --efi-directory=/efi \
              --boot-directory=/efi --no-nvram",
            ),
            (
                bios,
                "run grub-install --target=i386-pc --boot-directory=/efi /dev/a; \
              grub-install --target=i386-pc --boot-directory=/efi /dev/b",
            ),
        ] {
            assert_eq!(change.to_string(), shown);
        }
    }
}
