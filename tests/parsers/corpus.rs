//! The corpora of the fuzzer, replayed.

use std::collections::BTreeSet;

use beadm_rs::zfs::sim::Sim;

use super::properties;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 29] = [
    ("archive_input", properties::archive_input),
    ("archive_list", properties::archive_list),
    ("archive_manifest", properties::archive_manifest),
    ("archive_rest", properties::archive_rest),
    ("archive_token", properties::archive_token),
    ("fstab", properties::fstab),
    ("grub_block", properties::grub_block),
    ("grub_menu", properties::grub_menu),
    ("holds", properties::holds),
    ("intent", properties::intent),
    ("label", properties::label),
    ("list_cache", properties::list_cache),
    ("marker", properties::marker),
    ("mountinfo", properties::mountinfo),
    ("names", properties::names),
    ("pools", properties::pools),
    ("program", properties::program),
    ("properties", properties::properties),
    ("properties_values", properties::properties_values),
    ("send_size", properties::send_size),
    ("settable", properties::settable),
    ("sim_state", sim_state),
    ("sync_append", properties::sync_append),
    ("sync_records", properties::sync_records),
    ("synclist", properties::synclist),
    ("tree", properties::tree),
    ("tree_values", properties::tree_values),
    ("trial", properties::trial),
    ("user_properties", properties::user_properties),
];

/// From a file, as people open it; the fuzzer reads it from memory.
fn sim_state(data: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("state.json"), data).expect("a state file");
    let path = camino::Utf8Path::from_path(directory.path()).expect("UTF-8");
    if let Ok(sim) = Sim::open(path) {
        properties::sim_state(&sim);
    }
}

#[test]
fn every_parser_stands_what_the_fuzzer_found() {
    let root = super::root().join("fuzz");
    for (name, run) in TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(root.join("corpus").join(name))
            .unwrap_or_else(|error| panic!("the corpus of {name}: {error}"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for input in inputs {
            let data = std::fs::read(&input).expect("an input");
            let ran = std::panic::catch_unwind(|| run(&data));
            assert!(ran.is_ok(), "{} is not stood", input.display());
        }
    }
}

#[test]
fn every_fuzz_target_is_replayed() {
    let targets: BTreeSet<String> = std::fs::read_dir(super::root().join("fuzz/fuzz_targets"))
        .expect("the targets")
        .filter_map(|entry| {
            let name = entry.expect("an entry").file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    let replayed: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(targets, replayed);
}
