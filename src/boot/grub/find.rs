//! Whether it is GRUB with this program's menu that boots this machine.

use camino::Utf8Path;

use super::picture::is_ours;
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
