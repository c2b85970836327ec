//! The loader's partitions as they are mounted, and efivarfs.

use std::fs;
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;
use rustix::fs::{IFlags, Mode, OFlags};

use super::Linux;
use crate::os::firmware::{self, Boots, Extent};
use crate::os::loader::{ATTRIBUTES, LoaderPartition, variable_bytes, variable_text};
use crate::os::mountinfo::unescape;
use crate::os::{Error, Result};

/// The variables of systemd's Boot Loader Interface have this vendor.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// How the variables begin that say what the firmware boots.
const BOOT: &str = "Boot";

/// Where the firmware's variables are.
pub(super) const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Where partitions have their own identity for a name.
const BY_UUID: &str = "/dev/disk/by-partuuid";

/// Where the partition is mounted, in the order it is looked for.
const PLACES: [&str; 3] = ["efi", "boot/efi", "boot"];

/// A mount of a FAT file system.
struct Fat {
    directory: Utf8PathBuf,
    source: String,
    /// Major and minor, with a colon.
    number: String,
    readonly: bool,
}

/// The FAT file systems of a mountinfo; of several on one directory the last.
fn fats(mountinfo: &str) -> Vec<Fat> {
    let mut found: Vec<Fat> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut before = before.split(' ');
        let (Some(number), Some(directory), Some(options)) =
            (before.nth(2), before.nth(1), before.next())
        else {
            continue;
        };
        let plain = |field: &str| String::from_utf8(unescape(field.as_bytes())).ok();
        let Some(directory) = plain(directory).map(Utf8PathBuf::from) else {
            continue;
        };
        found.retain(|other| other.directory != directory);
        let mut after = after.split(' ');
        let (kind, source) = (after.next(), after.next().and_then(plain));
        let (Some("vfat" | "msdos"), Some(source)) = (kind, source) else {
            continue;
        };
        let says = |options: &str| options.split(',').any(|option| option == "ro");
        found.push(Fat {
            directory,
            source,
            number: number.to_owned(),
            readonly: says(options) || after.next().is_some_and(says),
        });
    }
    found
}

/// Where sysfs has block devices by their numbers.
const DEVICES: &str = "/sys/dev/block";

/// Whether a block device, or the one that it is a partition of, is put together
/// from others: such have `md` or `dm` in sysfs
/// (Documentation/ABI/testing/sysfs-block-dm; Documentation/admin-guide/md.rst).
fn is_layered(devices: &Utf8Path, number: &str) -> bool {
    let Ok(device) = devices.join(number).canonicalize_utf8() else {
        return false;
    };
    let parts = ["md", "dm", "../md", "../dm"];
    parts.iter().any(|part| device.join(part).is_dir())
}

/// The identity of the partition a device file is.
fn uuid_of(source: &str) -> Option<String> {
    let device = fs::canonicalize(source).ok()?;
    fs::read_dir(BY_UUID)
        .ok()?
        .flatten()
        .find(|link| fs::canonicalize(link.path()).is_ok_and(|target| target == device))
        .and_then(|link| link.file_name().into_string().ok())
        .map(|uuid| uuid.to_ascii_lowercase())
}

/// The loader's partitions that are mounted: in their usual places below a
/// root, or in the one place that was named.
pub(super) fn partitions(
    linux: &Linux,
    root: &Utf8Path,
    named: Option<&Utf8Path>,
) -> Result<Vec<LoaderPartition>> {
    let places: Vec<Utf8PathBuf> = match named {
        Some(named) => vec![named.to_owned()],
        None => PLACES.iter().map(|place| root.join(place)).collect(),
    };
    for place in &places {
        // Looking into it mounts it, where it is an automount.
        let _ = fs::read_dir(place).map(Iterator::count);
    }
    let text = String::from_utf8_lossy(&linux.mountinfo()?).into_owned();
    let mounted = fats(&text);
    let mut found = Vec::new();
    for place in &places {
        let Some(fat) = mounted.iter().find(|fat| fat.directory == *place) else {
            continue;
        };
        let dir = Dir::open_ambient_dir(place, ambient_authority())
            .map_err(Error::io(format!("open {place}")))?;
        // Opening a directory needs no more than its name; reading it does.
        dir.entries().map_err(Error::io(format!("read {place}")))?;
        let space = rustix::fs::fstatvfs(&dir).map_err(Error::io(format!("look at {place}")))?;
        found.push(LoaderPartition {
            directory: place.clone(),
            uuid: uuid_of(&fat.source),
            free: space.f_bavail.saturating_mul(space.f_frsize),
            readonly: fat.readonly,
            layered: is_layered(Utf8Path::new(DEVICES), &fat.number),
            dir,
        });
    }
    Ok(found)
}

/// What is mounted on a directory.
fn fat_on(linux: &Linux, directory: &Utf8Path) -> Result<Fat> {
    let text = String::from_utf8_lossy(&linux.mountinfo()?).into_owned();
    fats(&text)
        .into_iter()
        .find(|fat| fat.directory == *directory)
        .ok_or_else(|| Error::Unexpected {
            attempted: format!("find the device of {directory}"),
            detail: "no FAT file system is mounted on it".to_owned(),
        })
}

/// The device that is mounted on a directory.
pub(super) fn source_of(linux: &Linux, directory: &Utf8Path) -> Result<String> {
    fat_on(linux, directory).map(|fat| fat.source)
}

/// Where the partition of a block device is: sysfs counts in sectors of 512 bytes,
/// whatever the disk's blocks are (Documentation/ABI/stable/sysfs-block).
fn extent_of(devices: &Utf8Path, fat: &Fat) -> Option<Extent> {
    let device = devices.join(&fat.number).canonicalize_utf8().ok()?;
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(device.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let block = number("../queue/logical_block_size")?;
    let blocks = |file| Some(number(file)?.checked_mul(512)? / block);
    Some(Extent {
        number: number("partition")?.try_into().ok()?,
        start: blocks("start")?,
        blocks: blocks("size")?,
        uuid: Extent::uuid_bytes(&uuid_of(&fat.source)?)?,
    })
}

/// Where the firmware finds the partition that is mounted on a directory.
pub(super) fn extent(linux: &Linux, directory: &Utf8Path) -> Result<Extent> {
    let fat = fat_on(linux, directory)?;
    let devices = Utf8Path::new(DEVICES);
    extent_of(devices, &fat)
        .filter(|_| !is_layered(devices, &fat.number))
        .ok_or_else(|| Error::Unexpected {
            attempted: format!("find {} as the firmware does", fat.source),
            detail: "it is no partition of one disk with a GPT".to_owned(),
        })
}

pub(super) fn open_partition(directory: &Utf8Path) -> Result<Dir> {
    Dir::open_ambient_dir(directory, ambient_authority())
        .map_err(Error::io(format!("open {directory}")))
}

/// Everything written to the file system is on the disk afterwards: FAT has no
/// order of its own between a directory and what is in it. Of FAT, syncfs(2) leaves
/// what is written in the disk's cache (`fat_sops` has no `sync_fs`); fsync(2) of
/// anything on it flushes that (`fat_file_fsync`).
pub(super) fn make_durable(dir: &Dir) -> Result<()> {
    // A `Dir` is opened by its place alone (O_PATH), and that cannot be synchronized.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::empty())
        .and_then(|directory| {
            rustix::fs::syncfs(&directory)?;
            rustix::fs::fsync(&directory)
        })
        .map_err(Error::io("write the loader's partition to the disk"))
}

fn path_of(name: &str, vendor: &str) -> Utf8PathBuf {
    Utf8Path::new(VARIABLES).join(format!("{name}-{vendor}"))
}

pub(super) fn variable(name: &str) -> Option<String> {
    fs::read(path_of(name, VENDOR))
        .ok()
        .map(|bytes| variable_text(&bytes))
}

/// The kernel protects variables it does not know from being removed by
/// mistake (Documentation/filesystems/efivarfs.rst).
fn unprotect(path: &Utf8Path) -> io::Result<()> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let flags = rustix::fs::ioctl_getflags(&file)?;
    if flags.contains(IFlags::IMMUTABLE) {
        rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    }
    Ok(())
}

/// Sets a variable to bytes, with its attributes before them, or takes it away.
fn set(name: &str, vendor: &str, value: Option<&[u8]>) -> Result<()> {
    let path = path_of(name, vendor);
    let work = || -> io::Result<()> {
        unprotect(&path)?;
        let Some(bytes) = value else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
        };
        let mut file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        // One write: the firmware is called once for each. The variable is
        // protected from now on, from a change of its mode too.
        if file.write(bytes)? != bytes.len() {
            return Err(io::Error::other("the firmware took a part of it"));
        }
        Ok(())
    };
    work().map_err(Error::io(format!("change the EFI variable {name}")))
}

pub(super) fn set_variable(name: &str, value: Option<&str>) -> Result<()> {
    set(name, VENDOR, value.map(variable_bytes).as_deref())
}

pub(super) fn set_firmware(name: &str, value: Option<&[u8]>) -> Result<()> {
    let value = value.map(|value| [&ATTRIBUTES.to_le_bytes(), value].concat());
    set(name, firmware::VENDOR, value.as_deref())
}

/// What the firmware boots; `None` where it has no order of options.
pub(super) fn firmware() -> Result<Option<Boots>> {
    if !path_of(firmware::ORDER, firmware::VENDOR).exists() {
        return Ok(None);
    }
    let failed = || Error::io(format!("read {VARIABLES}"));
    let mut variables = Vec::new();
    for entry in fs::read_dir(VARIABLES).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let own = name.strip_suffix(firmware::VENDOR);
        let Some(name) = own.and_then(|name| name.strip_suffix('-')) else {
            continue;
        };
        if name.starts_with(BOOT) {
            let bytes = fs::read(entry.path()).map_err(failed())?;
            let value = bytes.get(4..).unwrap_or_default().to_vec();
            variables.push((name.to_owned(), value));
        }
    }
    Ok(Some(Boots::of(variables)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
        make_durable(&dir).unwrap();
    }

    #[test]
    fn a_partition_of_a_raid_is_on_a_raid() {
        let directory = tempfile::tempdir().unwrap();
        let sys = Utf8Path::from_path(directory.path()).unwrap();
        for device in ["vda/vda1", "md0/md", "md1/md", "md1/md1p1", "dm-0/dm"] {
            fs::create_dir_all(sys.join(device)).unwrap();
        }
        for (number, device, layered) in [
            ("8:1", "vda/vda1", false),
            ("9:0", "md0", true),
            ("259:0", "md1/md1p1", true),
            ("253:0", "dm-0", true),
        ] {
            std::os::unix::fs::symlink(sys.join(device), sys.join(number)).unwrap();
            assert_eq!(is_layered(sys, number), layered, "{device}");
        }
        assert!(!is_layered(sys, "1:1"));
    }

    #[test]
    fn the_last_mount_on_a_directory_counts() {
        let text = "\
22 1 0:20 / / rw shared:1 - zfs rpool/ROOT/a rw
27 22 8:1 / /boot/efi rw,relatime - vfat /dev/vda1 rw,fmask=0077
28 22 8:2 / /efi rw - autofs systemd-1 rw
29 28 8:2 / /efi ro - vfat /dev/disk/by-label/a\\040b rw
30 22 8:3 / /boot rw - vfat /dev/vda3 rw
31 22 8:4 / /boot rw - ext4 /dev/vda4 rw
rubbish
32 22 - vfat
";
        let found: Vec<_> = fats(text)
            .into_iter()
            .map(|fat| (fat.directory, fat.source, fat.readonly))
            .collect();
        assert_eq!(
            found,
            [
                ("/boot/efi".into(), "/dev/vda1".to_owned(), false),
                ("/efi".into(), "/dev/disk/by-label/a b".to_owned(), true),
            ]
        );
    }
}
