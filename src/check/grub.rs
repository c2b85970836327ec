//! Whether GRUB can read the pool its files lie in.

use super::finding::{Findings, GRUB_CANNOT_READ_POOL};
use super::tree::Tree;
use crate::zfs::{DatasetName, PoolName};

/// The features a pool may have active for GRUB 2.12 to read it: those it knows
/// and those that only matter for writing (`spa_feature_names` in its `zfs.c`;
/// `compatibility.d/grub2-2.12` and the flags in `zfeature_common.c` of
/// OpenZFS). Seen to be so in practice: `vdev_zaps_v2` and `head_errlog`, which
/// are active in every pool made with all features, are enough to make GRUB say
/// "unknown filesystem".
const READABLE: [&str; 27] = [
    "allocation_classes",
    "async_destroy",
    "block_cloning",
    "block_cloning_endian",
    "bookmarks",
    "device_rebuild",
    "embedded_data",
    "empty_bpobj",
    "enabled_txg",
    "extensible_dataset",
    "fast_dedup",
    "filesystem_limits",
    "hole_birth",
    "large_blocks",
    "large_microzap",
    "livelist",
    "log_spacemap",
    "lz4_compress",
    "obsolete_counts",
    "physical_rewrite",
    "project_quota",
    "resilver_defer",
    "spacemap_histogram",
    "spacemap_v2",
    "userobj_accounting",
    "zilsaxattr",
    "zpool_checkpoint",
];

/// The pool GRUB would have to read: that with its configuration, where that
/// lies in the environment itself.
pub(super) fn pool(tree: &Tree<'_>) -> Option<PoolName> {
    ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"]
        .iter()
        .filter_map(|path| tree.file(path))
        .find_map(|entry| {
            let part = tree.part_of(&entry).filter(|part| !part.foreign)?;
            Some(part.name.parse::<DatasetName>().ok()?.pool())
        })
}

pub(super) fn findings(pool: &PoolName, active: &[String], found: &mut Findings) {
    let unreadable: Vec<&str> = active
        .iter()
        .map(String::as_str)
        .filter(|feature| !READABLE.contains(feature))
        .collect();
    if unreadable.is_empty() {
        return;
    }
    found.add(
        &GRUB_CANNOT_READ_POOL,
        format!(
            "/boot/grub is in pool {pool}, whose active features GRUB cannot read: {}",
            unreadable.join(", ")
        ),
        "boot from a pool made with -o compatibility=grub2, or from kernels on the ESP",
    );
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn what_is_active_and_unknown_to_grub_is_named() {
        let told = |features: &[&str]| {
            let features: Vec<String> = features.iter().map(ToString::to_string).collect();
            let mut found = Findings::about(None);
            findings(&"rpool".parse().unwrap(), &features, &mut found);
            found.list.pop().map(|finding| finding.what)
        };
        assert_eq!(told(&["lz4_compress", "hole_birth", "async_destroy"]), None);
        let what = told(&["lz4_compress", "head_errlog", "vdev_zaps_v2"]).unwrap();
        assert!(what.ends_with(": head_errlog, vdev_zaps_v2"), "{what}");
    }
}
