//! `/boot` in a pool of its own.

use std::io::Cursor;

use serde_json::{Value, json};

use super::super::manifest::{Entry, Tree};
use super::super::{Input, Manifest, simulated};
use super::{archive, changed, entry, manifest, read, refused, sent};
use crate::zfs::Guid;

/// The same with `/boot` in a pool of its own.
fn with_boot() -> Manifest {
    let boot = |path: &str, guid| Entry {
        tree: Tree::Boot,
        source: format!("bpool/BOOT/a/{path}")
            .trim_end_matches('/')
            .parse()
            .unwrap(),
        mountpoint: path.is_empty().then(|| "/boot".to_owned()),
        ..entry(path, guid)
    };
    let mut made = manifest();
    made.datasets.extend([boot("", 9), boot("var", 10)]);
    made.boot_needs = vec!["lz4_compress".to_owned()];
    made
}

#[test]
fn a_tree_of_boot_is_read_as_it_was_written() {
    let boot = |path: &str, guid| {
        let name = format!("bpool/BOOT/a{path}@s").parse().unwrap();
        simulated::simulated(&name, Guid(guid), None, b"kernel")
    };
    let streams = [
        sent("", 7, b"root"),
        sent("/var", 8, b""),
        boot("", 9),
        boot("/var", 10),
    ];
    let bytes = archive(&with_boot(), &streams);
    assert_eq!(read(bytes.clone()).unwrap(), streams);
    let input = Input::open(Box::new(Cursor::new(bytes))).unwrap();
    assert_eq!(input.manifest(), Some(&with_boot()));
    let offer = input.offer();
    assert_eq!(offer.boot().unwrap().source.as_str(), "bpool/BOOT/a");
    assert_eq!(offer.boot_needs, ["lz4_compress"]);
    // One without it is written as it always was.
    let text = String::from_utf8(manifest().encode().unwrap()).unwrap();
    assert!(!text.contains("boot") && !text.contains("tree"), "{text}");
}

#[test]
fn what_a_manifest_may_not_say_of_boot_is_refused() {
    let said = |at: &'static str, value: Value, why: &str| {
        let (object, key) = at.rsplit_once('/').unwrap();
        let bytes = changed(&with_boot(), |it| {
            it.pointer_mut(object).unwrap()[key] = value
        });
        refused(bytes, why);
    };
    for (at, value, why) in [
        // Two of them.
        ("/datasets/3/path", json!(""), "a dataset '' of /boot twice"),
        // One without a root, and one that is not last.
        ("/datasets/2/path", json!("x"), "in nothing before it"),
        (
            "/datasets/0/tree",
            json!("boot"),
            "does not begin with a root",
        ),
        ("/datasets/1/tree", json!("boot"), "in nothing before it"),
        ("/datasets/2/tree", json!("root"), "a dataset '' twice"),
        ("/datasets/3/tree", json!("root"), "does not end with"),
        ("/datasets/3/tree", json!("efi"), "not understood"),
        ("/datasets/3/path", json!(".."), "cannot be"),
        (
            "/datasets/3/path",
            json!("../../ROOT/a"),
            "in nothing before",
        ),
        ("/datasets/2/guid", json!("7"), "twice"),
        ("/datasets/2/canmount", json!("on"), "canmount=on"),
        ("/datasets/2/mountpoint", json!(null), "no mountpoint"),
        ("/datasets/2/mountpoint", json!("/"), "not that of /boot"),
        (
            "/datasets/2/mountpoint",
            json!("/boot/x"),
            "not that of /boot",
        ),
        ("/datasets/3/mountpoint", json!("/boot"), "not within /boot"),
        ("/datasets/3/mountpoint", json!("/etc"), "not within /boot"),
        (
            "/datasets/3/mountpoint",
            json!("/boot/../etc"),
            "not written as",
        ),
        (
            "/datasets/2/properties",
            json!([["exec", "on"]]),
            "it sets exec=on",
        ),
        ("/boot_needs", json!(["a\nb"]), "a text that is none"),
        ("/boot_needs", json!(vec!["x"; 1001]), "too many"),
    ] {
        said(at, value, why);
    }
    // A tree of /boot and no other.
    let bytes = changed(&with_boot(), |it| {
        it["datasets"].as_array_mut().unwrap().drain(..2);
    });
    refused(bytes, "does not begin with a root");
}
