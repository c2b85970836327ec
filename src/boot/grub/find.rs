//! Whether it is GRUB with this program's menu that boots this machine.

use camino::Utf8Path;

use super::picture::is_ours;
use crate::boot::copies::IMAGES;
use crate::boot::place::Place;
use crate::check::root_of;
use crate::os::Platform;

/// Whether a kernel's command line says that GRUB started it: that puts the
/// kernel's own file there (`grub_cmd_linux` in `loader/i386/linux.c`), which
/// neither systemd-boot nor a kexec(8) of ZFSBootMenu's does.
fn by_grub(command_line: &str) -> bool {
    command_line
        .split_ascii_whitespace()
        .any(|word| word.starts_with("BOOT_IMAGE="))
}

/// It was not systemd-boot that the firmware started.
fn not_by_systemd_boot(platform: &dyn Platform) -> bool {
    let started = platform.variable("LoaderInfo").unwrap_or_default();
    !started.starts_with("systemd-boot")
}

/// Whether GRUB surely boots this machine's environments by this program's menu:
/// block and lines are there, and GRUB started what runs. From a rescue system
/// only the first can be seen.
#[must_use]
pub fn is_certain(
    platform: &dyn Platform,
    altroot: Option<&Utf8Path>,
    esp: Option<&Utf8Path>,
) -> bool {
    let place = Place::new(altroot, esp.map(Utf8Path::to_owned));
    let found = place.partitions(platform, is_ours);
    if !found.is_ok_and(|found| !found.is_empty()) {
        return false;
    }
    let started = || by_grub(&platform.facts().command_line) && not_by_systemd_boot(platform);
    altroot.is_some() || started()
}

/// Whether a kernel's command line says that it is a copy of this program's, on
/// whatever partition: `BOOT_IMAGE=(hd0,gpt1)/beadm-rs/HASH/linux`.
fn is_copy(command_line: &str) -> bool {
    let image = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("BOOT_IMAGE="));
    let path = image.map(|image| image.split_once(')').map_or(image, |(_, path)| path));
    path.and_then(|path| path.strip_prefix('/'))
        .and_then(|path| path.strip_prefix(IMAGES)?.strip_prefix('/'))
        .is_some_and(|copy| copy.ends_with("/linux"))
}

/// Whether this program's menu started what runs: then it is GRUB, seen or not. A
/// switch with the partition not mounted would else be one of `bootfs`, which
/// GRUB does not look at.
#[must_use]
pub fn started_it(platform: &dyn Platform) -> bool {
    is_copy(&platform.facts().command_line) && not_by_systemd_boot(platform)
}

/// Whether GRUB started the environment that runs, by its name: whatever `bootfs`
/// says, it does so again.
#[must_use]
pub fn names_what_runs(platform: &dyn Platform) -> bool {
    let command_line = platform.facts().command_line;
    let running = platform.root_dataset().ok().flatten();
    by_grub(&command_line)
        && not_by_systemd_boot(platform)
        && running.is_some()
        && root_of(&command_line) == running
}

#[cfg(test)]
mod tests {
    use super::is_copy;

    #[test]
    fn a_copy_is_known_by_where_it_is() {
        for (command_line, is) in [
            ("BOOT_IMAGE=(hd0,gpt1)/beadm-rs/00ff/linux root=ZFS=a", true),
            ("quiet BOOT_IMAGE=/beadm-rs/00ff/linux", true),
            ("BOOT_IMAGE=(hd0,gpt1)/beadm-rs/00ff/initrd", false),
            ("BOOT_IMAGE=(hd0,gpt2)/ROOT/a@/boot/vmlinuz", false),
            ("BOOT_IMAGE=/boot/beadm-rs/00ff/linux", false),
            ("initrd=/beadm-rs/00ff/linux", false),
            ("", false),
        ] {
            assert_eq!(is_copy(command_line), is, "{command_line}");
        }
    }
}
