//! What is known of the machine: its identity, its command line, where its
//! kernels are.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use super::Linux;
use crate::os::Facts;

/// The firmware's variable: four bytes of attributes, then its value.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Where kernels are when they are in no dataset.
const BOOT_PLACES: [&str; 3] = ["/boot", "/efi", "/boot/efi"];

impl Linux {
    /// What is known of the machine.
    pub(super) fn known(&self) -> Facts {
        let text = |path: &Utf8Path| fs::read_to_string(path).unwrap_or_default();
        let module = "/sys/module/spl/parameters/spl_hostid";
        let hostid = text(module.into())
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|hostid| u32::try_from(hostid & 0xffff_ffff).ok())
            .filter(|hostid| *hostid != 0)
            .or_else(|| {
                // As get_system_hostid() of libzfs does.
                let file = fs::read("/etc/hostid").ok()?;
                crate::check::initramfs::hostid(&file)
            });
        Facts {
            hostid,
            command_line: text(&self.proc.join("cmdline")),
            secure_boot: fs::read(SECURE_BOOT).is_ok_and(|bytes| bytes.get(4) == Some(&1)),
            boot: self.boot_places(),
        }
    }

    /// What is mounted where kernels may be and is no dataset.
    fn boot_places(&self) -> Vec<(Utf8PathBuf, Dir)> {
        let mounts = || fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        for place in BOOT_PLACES {
            if kind_of(&mounts(), place).as_deref() == Some("autofs") {
                // Looking into it mounts it.
                let _ = fs::read_dir(place);
            }
        }
        let mounts = mounts();
        BOOT_PLACES
            .iter()
            .filter(|place| {
                kind_of(&mounts, place).is_some_and(|kind| kind != "zfs" && kind != "autofs")
            })
            .filter_map(|place| {
                let dir = Dir::open_ambient_dir(place, ambient_authority()).ok()?;
                Some((Utf8PathBuf::from(place.trim_start_matches('/')), dir))
            })
            .collect()
    }
}

/// The type of the file system mounted last on a directory.
fn kind_of(mountinfo: &str, directory: &str) -> Option<String> {
    let line = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(directory))?;
    let (_, after) = line.split_once(" - ")?;
    after.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 0:20 / / rw,relatime shared:1 - zfs rpool/ROOT/de\\040bian rw,xattr,posixacl
23 22 0:21 / /var rw,relatime shared:2 - zfs rpool/ROOT/de\\040bian/var rw
24 22 0:22 / /home/a\\134b rw master:1 propagate_from:2 - zfs rpool/home rw
25 22 0:23 / /proc rw - proc proc rw
26 22 0:24 / /.zfs/snapshot/x ro - zfs rpool/ROOT/debian@x ro
27 22 8:1 / /boot/efi rw - vfat /dev/vda1 rw
";

    #[test]
    fn the_last_mount_on_a_directory_tells_its_type() {
        assert_eq!(kind_of(MOUNTINFO, "/boot/efi").as_deref(), Some("vfat"));
        assert_eq!(kind_of(MOUNTINFO, "/").as_deref(), Some("zfs"));
        assert_eq!(kind_of(MOUNTINFO, "/efi"), None);
        assert_eq!(kind_of("rubbish", "/"), None);
    }
}
