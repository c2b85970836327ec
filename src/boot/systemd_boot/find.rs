//! Whether it is systemd-boot that decides which environment boots, and where
//! its partition is.

use camino::Utf8Path;

use super::picture::{self, Picture};
use super::{entry, failback, order};
use crate::boot::command_line::FAILBACK;
use crate::boot::place::Place;
use crate::os::loader::LoaderPartition;
use crate::os::{Platform, Result};

/// What is there; `None` where no partition with systemd-boot is mounted.
pub(super) fn picture(place: &Place, platform: &dyn Platform) -> Result<Option<Picture>> {
    Picture::take(platform, &place.partitions(platform, holds_loader)?)
}

/// The directory in which bootctl(1) installs it has it.
fn holds_loader(partition: &LoaderPartition) -> bool {
    let Ok(names) = partition.dir.read_dir("EFI/systemd") else {
        return false;
    };
    names.flatten().any(|name| {
        let name = name.file_name().to_string_lossy().to_ascii_lowercase();
        name.starts_with("systemd-boot") && name.ends_with(".efi")
    })
}

/// Whether this machine's environments are surely booted by systemd-boot's
/// entries. It may be on the disk beside another loader, and it may be what
/// starts another one: ZFSBootMenu, say, which follows bootfs. So the entry that
/// was booted has to name the root that runs.
pub(crate) fn is_certain(
    platform: &dyn Platform,
    altroot: Option<&Utf8Path>,
    esp: Option<&Utf8Path>,
) -> bool {
    let place = Place::new(altroot, esp.map(Utf8Path::to_owned));
    if altroot.is_some() {
        // What runs is another system. Where this program wrote entries, it was
        // certain then.
        let picture = picture(&place, platform).ok().flatten();
        return picture.is_some_and(|picture| !picture.own().is_empty());
    }
    let started = platform.variable("LoaderInfo").unwrap_or_default();
    if !started.starts_with("systemd-boot") {
        return false;
    }
    let selected = platform.variable("LoaderEntrySelected").unwrap_or_default();
    // The entry that fails back leads elsewhere, once that was done.
    let failed_back = || {
        let line = platform.facts().command_line;
        failback::is_it(&selected) && line.split_whitespace().any(|word| word == FAILBACK)
    };
    if entry::own(&selected).is_some() || failed_back() {
        return true;
    }
    let (Ok(partitions), Ok(Some(running))) = (
        place.partitions(platform, holds_loader),
        platform.root_dataset(),
    ) else {
        return false;
    };
    let booted_from = platform
        .variable("LoaderDevicePartUUID")
        .map(|uuid| uuid.to_ascii_lowercase());
    let is_other = partitions.first().is_some_and(
        |first| matches!((&first.uuid, &booted_from), (Some(uuid), Some(from)) if uuid != from),
    );
    let Ok(Some(picture)) = Picture::take(platform, &partitions) else {
        return false;
    };
    let names_it = |entry: &entry::Entry| picture::root(entry).as_ref() == Some(&running);
    // The loader counted, and renamed what it had selected.
    let (name, _) = entry::counted(&selected);
    let of_that_name = picture
        .entries
        .iter()
        .find(|entry| entry.counted().0.eq_ignore_ascii_case(name));
    let certain = match of_that_name {
        Some(entry) => names_it(entry),
        // It is gone since: an update removed the kernel that runs.
        None => {
            platform.facts().root().as_ref() == Some(&running)
                && picture.entries.iter().any(names_it)
                && !order::matches("auto-*", &selected)
        }
    };
    certain && !is_other
}
