//! What `init` and `check` make of how kernels and loaders are kept:
//! `tests/fixtures/boot/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use beadm_rs::adopt::boot::{WAYS, ways};
use beadm_rs::os::inside::LoaderMount;
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;
use snapbox::{Assert, Data};

fn fixtures() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/boot");
    let mut found: Vec<PathBuf> = std::fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn mounts(fixture: &Path) -> Vec<LoaderMount> {
    let text = std::fs::read_to_string(fixture.join("mounts")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            LoaderMount {
                directory: fields[0].into(),
                kind: fields[1].to_owned(),
                source: fields[2].to_owned(),
            }
        })
        .collect()
}

#[test]
fn every_way_to_keep_kernels_is_told_or_refused() {
    let mut reached = BTreeSet::new();
    for fixture in fixtures() {
        let root = Dir::open_ambient_dir(&fixture, ambient_authority()).unwrap();
        let mut told = String::new();
        for way in ways(&root, &mounts(&fixture)) {
            reached.insert(way.name);
            let _ = writeln!(told, "{} {:?}", way.name, way.verdict);
            let _ = writeln!(told, "  {}\n  remedy: {}", way.text, way.remedy);
        }
        Assert::new().action_env("SNAPSHOTS").eq(
            Data::text(told).raw(),
            Data::read_from(&fixture.join("told.txt"), None).raw(),
        );
    }
    let all: BTreeSet<&str> = WAYS.iter().map(|way| way.name).collect();
    assert_eq!(reached, all);
}

/// A link in a system's files leads nowhere outside it.
#[test]
fn a_link_out_of_the_system_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    std::fs::create_dir_all(outside.join("default")).unwrap();
    std::fs::write(outside.join("NIXOS"), "").unwrap();
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink("../outside", root.join("etc")).unwrap();
    let root = Dir::open_ambient_dir(&root, ambient_authority()).unwrap();
    assert!(ways(&root, &[]).is_empty());
}
