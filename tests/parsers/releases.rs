//! Each fixture, parsed to an exact value: `tests/parsers/expected/`, written
//! anew with `SNAPSHOTS=overwrite` and then to be looked at.

use std::fmt::{Debug, Write as _};

use beadm_rs::be::rewrite;
use beadm_rs::zfs::parse;
use snapbox::{Data, assert_data_eq};

use super::{RELEASES, fixture, lacking, openzfs, root};

/// Compares with `expected/RELEASE/COMMAND.txt`.
fn compare(release: &str, command: &str, found: &str) {
    let path = root().join(format!("tests/parsers/expected/{release}/{command}.txt"));
    assert_data_eq!(found.to_owned(), Data::read_from(&path, None).raw());
}

/// One line for each.
fn lines<T: Debug>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        writeln!(text, "{item:?}").expect("memory");
    }
    text
}

/// Every release that has the fixture; how many there are.
fn each(command: &str, shown: impl Fn(&str, &str) -> String) -> usize {
    let mut count = 0;
    for release in RELEASES {
        if let Some(text) = fixture(release, command) {
            compare(release, command, &shown(release, &text));
            count += 1;
        }
    }
    count
}

#[test]
fn pools_of_every_release_are_read() {
    let count = each("zpool-list", |_, text| lines(parse::pools(text).unwrap()));
    assert_eq!(count, 6);
}

#[test]
fn datasets_of_every_release_are_read() {
    let count = each("zfs-list", |release, text| {
        let listing = parse::tree(text, lacking(release)).unwrap();
        assert_eq!(listing.cut, []);
        listing
            .datasets
            .into_iter()
            .map(|mut dataset| {
                let snapshots = std::mem::take(&mut dataset.snapshots);
                lines([dataset]) + &lines(snapshots)
            })
            .collect()
    });
    assert_eq!(count, 6);
}

#[test]
fn properties_of_every_release_are_read() {
    for (command, expected) in [
        ("zfs-get", 6),
        ("zfs-get-all", 4),
        ("zfs-get-all-readonly", 4),
    ] {
        let count = each(command, |_, text| lines(parse::properties(text).unwrap()));
        assert_eq!(count, expected, "{command}");
    }
}

#[test]
fn the_properties_that_can_be_set_are_those_of_the_release() {
    let count = each("zfs-get-usage", |_, text| {
        parse::settable(text).join("\n") + "\n"
    });
    assert_eq!(count, 6);
}

#[test]
fn user_properties_of_every_release_are_read() {
    let count = each("zfs-program-user-properties", |_, text| {
        lines(parse::user_properties(text).unwrap())
    });
    assert_eq!(count, 4);
}

#[test]
fn what_channel_programs_of_every_release_return_is_read() {
    for command in ["zfs-program-done", "zfs-program-failed"] {
        let count = each(command, |_, text| lines([parse::outcome(text).unwrap()]));
        assert_eq!(count, 4);
    }
}

#[test]
fn clones_of_every_release_are_read_whole() {
    let count = each("zfs-program-clones", |_, text| {
        lines(parse::clones(text).unwrap())
    });
    assert_eq!(count, 4);
}

#[test]
fn holds_of_every_release_are_read() {
    let count = each("zfs-holds", |release, text| {
        let snapshot = if release.starts_with("illumos") {
            "rpool/ROOT/omnios@2019-10-17-12:47:03"
        } else {
            "tank/ROOT/de bian@first"
        };
        lines(parse::holds(text, &snapshot.parse().unwrap()).unwrap())
    });
    assert_eq!(count, 6);
}

#[test]
fn estimates_of_every_release_are_read() {
    for (command, release_count) in [("zfs-send", 6), ("zfs-send-raw", 4)] {
        let count = each(command, |_, text| lines([parse::send_size(text).unwrap()]));
        assert_eq!(count, release_count);
    }
}

#[test]
fn the_generators_cache_of_every_release_is_rewritten() {
    let moves = [
        ("tank/ROOT/de bian", "tank/ROOT/new"),
        ("tank/secret", "tank/moved"),
    ]
    .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    let names = rewrite::Names::moved(moves.into());
    for (release, text) in openzfs("zfs-list-cache") {
        let new = rewrite::list_cache(text.as_bytes(), &names);
        compare(release, "zfs-list-cache", &String::from_utf8(new).unwrap());
    }
}
