//! Which environment GRUB's own directory lies in, where GRUB was not installed
//! to a partition of its own. Without that directory it starts nothing at all.

use camino::Utf8Path;

use super::find::names_what_runs;
use crate::be::BootEnvironment;
use crate::boot::copies::{self, names};
use crate::boot::place::Place;
use crate::config;
use crate::os::Platform;
use crate::plan::Refusal;
use crate::zfs::DatasetName;

/// The dataset, without its pool, that a path of GRUB's is in: what stands
/// before the `@` of `/ROOT/debian@/boot/grub` (`grub-core/fs/zfs/zfs.c`).
fn dataset(path: &str) -> Option<&str> {
    let (dataset, _) = path.split_once('@')?;
    let dataset = dataset.strip_prefix('/')?;
    (!dataset.is_empty()).then_some(dataset)
}

/// Where the file that grub-install(8) puts beside GRUB's image on an ESP says
/// that its directory is: `set prefix=($root)'/ROOT/debian@/boot/grub'`.
fn prefix(configuration: &str) -> Option<&str> {
    configuration.lines().find_map(|line| {
        let value = line.trim().strip_prefix("set prefix=")?;
        let path = value.split_once(')').map_or(value, |(_, path)| path);
        Some(path.trim_matches(['\'', '"']))
    })
}

/// The kernel that GRUB loaded, as it says on its command line.
fn kernel(command_line: &str) -> Option<&str> {
    let path = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("BOOT_IMAGE="))?;
    Some(path.split_once(')').map_or(path, |(_, path)| path))
}

/// The datasets that GRUB reads at a boot, without their pools, as far as that
/// can be seen: where the ESP has no word of it (a machine that starts by
/// BIOS), the one that the kernel came from.
fn read_at_boot(platform: &dyn Platform, config: &config::Boot) -> Vec<String> {
    let place = Place::new(None, config.esp.clone());
    let mut found = Vec::new();
    for partition in place.partitions(platform, |_| true).unwrap_or_default() {
        for vendor in names(&partition.dir, "EFI").unwrap_or_default() {
            let file = Utf8Path::new("EFI").join(vendor).join("grub.cfg");
            let text = copies::read(&partition.dir, &file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            found.extend(prefix(&text).map(|path| path.to_owned()));
        }
    }
    let command_line = platform.facts().command_line;
    if found.is_empty() {
        found.extend(kernel(&command_line).map(str::to_owned));
    }
    found
        .iter()
        .filter_map(|path| dataset(path).map(str::to_owned))
        .collect()
}

/// The dataset of an environment that GRUB reads at each boot, if it has one:
/// only where GRUB started the machine, and not by this program's menu.
fn held(
    platform: &dyn Platform,
    config: &config::Boot,
    environment: &BootEnvironment<'_>,
) -> Option<DatasetName> {
    if !names_what_runs(platform) {
        return None;
    }
    let read = read_at_boot(platform, config);
    let is_read = |name: &DatasetName| {
        let (_, rest) = name.as_str().split_once('/').unwrap_or_default();
        read.iter().any(|path| path == rest)
    };
    let mut datasets = environment.everything().map(|dataset| &dataset.name);
    datasets.find(|name| is_read(name)).cloned()
}

/// Refuses what would take GRUB's directory away.
///
/// # Errors
/// The environment has it.
pub fn not_held(
    platform: &dyn Platform,
    config: &config::Boot,
    environment: &BootEnvironment<'_>,
    attempted: &str,
) -> Result<(), Refusal> {
    match held(platform, config, environment) {
        None => Ok(()),
        Some(dataset) => Err(Refusal::new(
            attempted,
            format!(
                "GRUB starts this machine from its files in {dataset}, and would start nothing \
                 without them"
            ),
        )
        .remedy("beadm-rs init, which has GRUB start from the EFI system partition")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dataset_is_what_stands_before_the_at() {
        let debian = "search.fs_uuid 0123 root hd0,gpt3\n\
                      set prefix=($root)'/ROOT/debian@/boot/grub'\nconfigfile $prefix/grub.cfg\n";
        let boot = debian.replace("ROOT/debian@/boot/grub", "BOOT/debian@/grub");
        for (text, found) in [
            (debian, Some("ROOT/debian")),
            (&boot, Some("BOOT/debian")),
            ("set prefix=($root)'/grub'\n", None),
            ("set prefix=($root)/ROOT/a@/boot/grub\n", Some("ROOT/a")),
            ("set root=hd0\n", None),
        ] {
            assert_eq!(prefix(text).and_then(dataset), found, "{text}");
        }
        for (text, found) in [
            ("BOOT_IMAGE=/ROOT/a@/boot/vmlinuz ro", Some("ROOT/a")),
            ("BOOT_IMAGE=(hd0,gpt2)/BOOT/a@/vmlinuz ro", Some("BOOT/a")),
            ("BOOT_IMAGE=/vmlinuz root=ZFS=a@b", None),
            ("root=ZFS=a", None),
        ] {
            assert_eq!(kernel(text).and_then(dataset), found, "{text}");
        }
    }
}
