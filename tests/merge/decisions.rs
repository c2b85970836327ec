//! What is decided about files.

use std::collections::BTreeMap;

use beadm_rs::sync::content::How;
use beadm_rs::sync::decide::{Action, Content, Decision, Four, Kind, Metadata, Version, decide};
use beadm_rs::sync::list::Policy;
use beadm_rs::sync::records::Format;
use beadm_rs::sync::settle::settle;

/// "f CONTENT [MODE[,USER[,ATTRIBUTE]]]", "d [MODE…]", "l TARGET", "p"; "" for none.
fn version(text: &str) -> Option<Version> {
    let mut words = text.split(' ');
    let kind = match words.next()? {
        "f" => Kind::File,
        "d" => Kind::Directory,
        "l" => Kind::Link,
        "p" => Kind::Special,
        _ => return None,
    };
    let content = match kind {
        Kind::File | Kind::Link => words.next().unwrap(),
        _ => "",
    };
    let mut rest = words.next().unwrap_or("644").split(',');
    let mode = u32::from_str_radix(rest.next().unwrap(), 8).unwrap();
    let uid = rest.next().map_or(0, |uid| uid.parse().unwrap());
    let xattrs: BTreeMap<Vec<u8>, Vec<u8>> = rest
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    Some(Version {
        kind,
        content: Content::new(content),
        size: if content == "huge" { 17 << 20 } else { 10 },
        metadata: Metadata {
            mode,
            uid,
            gid: 0,
            xattrs,
        },
    })
}

/// Of the source's base, the source, the target's base, the target.
fn decided_at(path: &str, policy: Policy, four: [&str; 4]) -> Decision {
    let [base_source, source, base_target, target] = four.map(version);
    let four = Four {
        base_source: base_source.as_ref(),
        source: source.as_ref(),
        base_target: base_target.as_ref(),
        target: target.as_ref(),
    };
    decide(policy, path.as_bytes(), &four)
}

fn decided(policy: Policy, four: [&str; 4]) -> Decision {
    decided_at("srv/x", policy, four)
}

#[test]
fn the_table_of_what_both_sides_did() {
    use Action::{Conflict, Copy, Delete, Keep, Merge, Nothing};
    let text = Merge(How::Text);
    for (four, action) in [
        // Unchanged in the source.
        (["f 1", "f 1", "f 1", "f 1"], Nothing),
        (["f 1", "f 1", "f 1", "f 2"], Keep),
        (["f 1", "f 1", "f 1", "l x"], Keep),
        (["f 1", "f 1", "f 1", ""], Keep),
        (["", "", "", "f 2"], Keep),
        (["", "", "f 1", ""], Nothing),
        // Changed.
        (["f 1", "f 2", "f 1", "f 1"], Copy),
        (["", "f 2", "", ""], Copy),
        (["f 1", "l x", "f 1", "f 1"], Copy),
        (["l x", "l y", "l x", "l x"], Copy),
        (["l x", "d 755", "l x", "l x"], Copy),
        // On both sides.
        (["f 1", "f 2", "f 1", "f 2"], Nothing),
        (["f 1", "f 2", "f 1", "f 3"], text),
        (["", "f 2", "", "f 3"], text),
        (["", "f 2", "", "f 2"], Nothing),
        (["f 1", "l x", "f 1", "f 2"], Conflict),
        (["f 1", "f 2", "f 1", "l x"], Conflict),
        (["l x", "l y", "l x", "l z"], Conflict),
        (["f 1", "f huge", "f 1", "f 3"], Conflict),
        // Deleted.
        (["f 1", "", "f 1", "f 1"], Delete),
        (["f 1", "", "f 1", "f 2"], Conflict),
        (["f 1", "", "", "f 2"], Conflict),
        (["f 1", "f 2", "f 1", ""], Conflict),
        (["", "f 2", "f 1", ""], Conflict),
        (["f 1", "", "f 1", ""], Nothing),
        (["d 755", "d 700", "d 755", ""], Keep),
        // Different before.
        (["f 1", "f 1", "f 2", "f 2"], Keep),
        (["f 1", "f 3", "f 2", "f 2"], Copy),
        (["f 1", "f 3", "f 2", "f 4"], text),
        (["f 1", "", "f 2", "f 2"], Delete),
        (["f 1", "f 2", "", ""], Copy),
        // What is never carried.
        (["", "p", "", ""], Keep),
        (["f 1", "p", "f 1", "f 1"], Keep),
        (["f 1", "f 2", "f 1", "p"], Conflict),
        (["f 1", "f 1", "f 1", "p"], Keep),
    ] {
        let decision = decided(Policy::Overwrite, four);
        assert_eq!(decision.action, action, "{four:?}: {}", decision.why);
        assert!(!decision.why.is_empty());
        let written = matches!(action, Copy | Merge(_));
        assert_eq!(decision.metadata.is_some(), written, "{four:?}");
    }
}

#[test]
fn what_is_merged_is_merged_into_what_the_target_had_of_its_own_before() {
    for (path, policy, four, action) in [
        (
            "etc/hosts",
            Policy::Merge,
            ["f 1", "f 3", "f 2", "f 2"],
            Action::Merge(How::Text),
        ),
        (
            "etc/hosts",
            Policy::Merge,
            ["f 1", "f 3", "f 1", "f 1"],
            Action::Copy,
        ),
        (
            "etc/shadow",
            Policy::Merge,
            ["f 1", "f 3", "f 2", "f 2"],
            Action::Merge(How::Records(Format::Shadow)),
        ),
        (
            "etc/shadow",
            Policy::Overwrite,
            ["f 1", "f 3", "f 1", "f 2"],
            Action::Merge(How::Records(Format::Shadow)),
        ),
        (
            "log",
            Policy::Append,
            ["f 1", "f 3", "f 1", "f 1"],
            Action::Merge(How::Append),
        ),
        (
            "log",
            Policy::Prepend,
            ["f 1", "f 3", "f 1", "f 2"],
            Action::Merge(How::Prepend),
        ),
        (
            "log",
            Policy::Append,
            ["f 1", "f huge", "f 1", "f 1"],
            Action::Copy,
        ),
        (
            "log",
            Policy::Append,
            ["f 1", "f huge", "f 1", "f 2"],
            Action::Conflict,
        ),
        (
            "log",
            Policy::Append,
            ["f 1", "f 1", "f 1", "f 2"],
            Action::Keep,
        ),
        ("log", Policy::Append, ["", "f 1", "", ""], Action::Copy),
    ] {
        let decision = decided_at(path, policy, four);
        assert_eq!(decision.action, action, "{path} {four:?}: {}", decision.why);
    }
}

/// The action and what the metadata become.
fn metadata(four: [&str; 4]) -> String {
    let decision = decided(Policy::Overwrite, four);
    let Some(metadata) = decision.metadata else {
        return format!("{:?}: {}", decision.action, decision.why);
    };
    let xattrs: String = metadata
        .xattrs
        .iter()
        .map(|(name, value)| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            format!(" {}={}", text(name.as_slice()), text(value.as_slice()))
        })
        .collect();
    format!(
        "{:?} {:o} {}{xattrs}",
        decision.action, metadata.mode, metadata.uid
    )
}

#[test]
fn metadata_are_decided_apart_from_contents() {
    for (four, result) in [
        (["f 1 644", "f 2 644", "f 1 644", "f 1 600"], "Copy 600 0"),
        (
            ["f 1 644", "f 1 600", "f 1 644", "f 2 644"],
            "Metadata 600 0",
        ),
        (
            ["f 1 644", "f 1 600", "f 1 644", "f 2 644,7"],
            "Metadata 600 7",
        ),
        (["d 755", "d 755,7", "d 755", "d 700"], "Metadata 700 7"),
        (
            ["f 1 644", "f 1 600", "f 1 644", "f 1 640"],
            "Conflict: the permissions were changed differently on both sides",
        ),
        (
            ["f 1 644,1", "f 1 644,2", "f 1 644,1", "f 1 644,3"],
            "Conflict: the owner was changed differently on both sides",
        ),
        (
            [
                "f 1 644,0,a=1,b=1",
                "f 1 644,0,a=2",
                "f 1 644,0,a=1,b=1",
                "f 1 644,0,a=1,b=1,c=1",
            ],
            "Metadata 644 0 a=2 c=1",
        ),
        (
            [
                "f 1 644,0,a=1",
                "f 1 644,0,a=2",
                "f 1 644,0,a=1",
                "f 1 644,0,a=3",
            ],
            "Conflict: an attribute was changed differently on both sides",
        ),
        // The list and the mode go together.
        (
            [
                "f 1 644",
                "f 1 664,0,system.posix_acl_access=x",
                "f 1 644",
                "f 2 644",
            ],
            "Metadata 664 0 system.posix_acl_access=x",
        ),
        (
            [
                "f 1 644",
                "f 1 664,0,system.posix_acl_access=x",
                "f 1 644",
                "f 1 600",
            ],
            "Conflict: the permissions were changed differently on both sides",
        ),
        (["f 1 644", "f 2 644", "f 1 600", "f 1 600"], "Copy 600 0"),
    ] {
        assert_eq!(metadata(four), result, "{four:?}");
    }
}

#[test]
fn nobody_s_contents_get_the_rights_somebody_else_gave() {
    let why = "Conflict: a program that runs with others' rights, changed on both sides";
    for (four, result) in [
        // One side alone may do what it likes.
        (["f 1 755", "f 2 4755", "f 1 755", "f 1 755"], "Copy 4755 0"),
        (
            ["f 1 4755", "f 2 4755", "f 1 4755", "f 1 4755"],
            "Copy 4755 0",
        ),
        (["f 1 755", "f 2 755", "f 1 755", "f 1 4755"], why),
        (["f 1 755,7", "f 1 4755,7", "f 1 755,7", "f 1 755,0"], why),
        (
            [
                "f 1 755",
                "f 2 755",
                "f 1 755",
                "f 1 755,0,security.capability=x",
            ],
            why,
        ),
        (["f 1 4755", "f 2 4755", "f 1 4755", "f 3 4755"], why),
    ] {
        assert_eq!(metadata(four), result, "{four:?}");
    }
}

/// Decisions of paths, settled: "path: action, what is there afterwards".
fn settled(paths: &[(&str, [&str; 4])]) -> Vec<String> {
    let mut decisions: BTreeMap<Vec<u8>, Decision> = paths
        .iter()
        .map(|(path, four)| {
            let decision = decided_at(path, Policy::Overwrite, *four);
            (path.as_bytes().to_vec(), decision)
        })
        .collect();
    let target = |path: &[u8]| match path {
        b"" | b"srv" => Some(Kind::Directory),
        b"srv/link" => Some(Kind::Link),
        _ => {
            let (_, four) = paths.iter().find(|(other, _)| other.as_bytes() == path)?;
            version(four[3]).map(|version| version.kind)
        }
    };
    settle(&mut decisions, &target);
    decisions
        .iter()
        .map(|(path, decision)| {
            let path = String::from_utf8_lossy(path);
            format!("{path}: {:?}, {:?}", decision.action, decision.becomes)
        })
        .collect()
}

#[test]
fn a_directory_goes_only_where_nothing_in_it_stays() {
    let gone = ["d", "", "d", "d"];
    assert_eq!(
        settled(&[
            ("srv/a", gone),
            ("srv/a/b", gone),
            ("srv/a/b/c", ["f 1", "", "f 1", "f 1"]),
            ("srv/a-b", ["", "", "", "f 1"]),
        ]),
        [
            "srv/a: Delete, None",
            "srv/a-b: Keep, Some(File)",
            "srv/a/b: Delete, None",
            "srv/a/b/c: Delete, None",
        ]
    );
    assert_eq!(
        settled(&[
            ("srv/a", gone),
            ("srv/a/b", gone),
            ("srv/a/b/own", ["", "", "", "f 1"]),
            ("srv/a/c", gone),
        ]),
        [
            "srv/a: Keep, Some(Directory)",
            "srv/a/b: Keep, Some(Directory)",
            "srv/a/b/own: Keep, Some(File)",
            "srv/a/c: Delete, None",
        ]
    );
}

#[test]
fn a_file_takes_a_directory_s_place_only_where_nothing_in_it_stays() {
    let became = ["d", "f 1", "d", "d"];
    assert_eq!(
        settled(&[("srv/a", became), ("srv/a/b", ["f 1", "", "f 1", "f 1"])]),
        ["srv/a: Copy, Some(File)", "srv/a/b: Delete, None"]
    );
    assert_eq!(
        settled(&[("srv/a", became), ("srv/a/own", ["", "", "", "f 1"])]),
        [
            "srv/a: Conflict, Some(Directory)",
            "srv/a/own: Keep, Some(File)"
        ]
    );
}

#[test]
fn nothing_is_put_where_its_directory_is_not() {
    let new = ["", "f 1", "", ""];
    assert_eq!(
        settled(&[
            // Made with its directory.
            ("srv/a", ["", "d", "", ""]),
            ("srv/a/b", new),
            // The target deleted the directory.
            ("srv/c", ["d", "d", "d", ""]),
            ("srv/c/d", ["", "d", "", ""]),
            ("srv/c/d/e", new),
            // It is no directory there, or nobody made it.
            ("srv/link/f", new),
            ("srv/none/f", new),
            // A directory in the place of a file.
            ("srv/x", ["f 1", "d", "f 1", "f 1"]),
            ("srv/x/y", new),
        ]),
        [
            "srv/a: Copy, Some(Directory)",
            "srv/a/b: Copy, Some(File)",
            "srv/c: Keep, None",
            "srv/c/d: Conflict, None",
            "srv/c/d/e: Conflict, None",
            "srv/link/f: Conflict, None",
            "srv/none/f: Conflict, None",
            "srv/x: Copy, Some(Directory)",
            "srv/x/y: Copy, Some(File)",
        ]
    );
}
