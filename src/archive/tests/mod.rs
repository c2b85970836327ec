//! What is read is whole, or it is refused: small archives and streams with every kind
//! of damage.

mod boot;

use std::io::{Cursor, Read};

use chrono::DateTime;
use serde_json::{Value, json};

use super::manifest::{FORMAT, Kind, Machine, Tree};
use super::offer::Form;
use super::record::{HEADER, Header, Kind as RecordKind, MAGIC};
use super::stream::{Begin, RECORD, Walker};
use super::{Error, Input, Manifest, Writer, manifest, simulated};
use crate::zfs::{Canmount, Guid};

fn entry(path: &str, guid: u64) -> manifest::Entry {
    let slash = if path.is_empty() { "" } else { "/" };
    manifest::Entry {
        tree: Tree::Root,
        path: path.to_owned(),
        source: format!("rpool/ROOT/a{slash}{path}").parse().unwrap(),
        guid: Guid(guid),
        base: None,
        mountpoint: path.is_empty().then(|| "/".to_owned()),
        canmount: Canmount::Noauto,
        properties: vec![("compression".to_owned(), "lz4".to_owned())],
        encryption: None,
        bytes: 100,
    }
}

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        program: "beadm-rs 0".to_owned(),
        kind: Kind::Environment,
        name: "a".to_owned(),
        description: None,
        created: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        machine: Machine {
            hostname: None,
            system: "Linux".to_owned(),
            architecture: "x86_64".to_owned(),
        },
        release: None,
        snapshot: "s".to_owned(),
        temporary: true,
        zstd: true,
        needs: Vec::new(),
        boot_needs: Vec::new(),
        datasets: vec![entry("", 7), entry("var", 8)],
        left_out: Vec::new(),
    }
}

/// A stream of a dataset, with some contents.
fn sent(path: &str, guid: u64, contents: &[u8]) -> Vec<u8> {
    let name = format!("rpool/ROOT/a{path}@s").parse().unwrap();
    simulated::simulated(&name, Guid(guid), None, contents)
}

fn archive(manifest: &Manifest, streams: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), manifest).unwrap();
    for stream in streams {
        writer
            .stream(&mut stream.as_slice(), &mut |_| true)
            .unwrap();
    }
    writer.finish().unwrap().0
}

fn small() -> Vec<u8> {
    archive(
        &manifest(),
        &[sent("", 7, b"root root root root"), sent("/var", 8, b"")],
    )
}

/// Reads all of it; the streams.
fn read(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
    let mut input = Input::open(Box::new(Cursor::new(bytes)))?;
    let mut streams = Vec::new();
    let datasets = input.offer().datasets.clone();
    for dataset in datasets {
        let mut stream = Vec::new();
        let guid = dataset.snapshots.first().map(|(_, guid)| *guid);
        input.stream(guid, &mut |part| {
            stream.extend_from_slice(part);
            Ok(())
        })?;
        streams.push(stream);
    }
    input.finish()?;
    Ok(streams)
}

#[track_caller]
fn refused(bytes: Vec<u8>, why: &str) {
    match read(bytes) {
        Ok(_) => panic!("it was taken: {why}"),
        Err(error) => assert!(error.to_string().contains(why), "{error} and not {why}"),
    }
}

/// The records of an archive: header and what follows.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[MAGIC.len()..];
    let mut found = Vec::new();
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let (header, _) = Header::decode(header).unwrap();
        let (one, others) = rest.split_at(HEADER + header.stored as usize);
        found.push(one.to_vec());
        rest = others;
    }
    found
}

fn joined(records: &[Vec<u8>]) -> Vec<u8> {
    [MAGIC.to_vec(), records.concat()].concat()
}

#[test]
fn an_archive_is_read_as_it_was_written() {
    let large: Vec<u8> = (0..3_500_000_u32).map(|i| (i / 7 % 251) as u8).collect();
    for zstd in [true, false] {
        let manifest = Manifest { zstd, ..manifest() };
        let streams = [sent("", 7, &large), sent("/var", 8, b"x")];
        let bytes = archive(&manifest, &streams);
        assert_eq!(bytes.len() < 200_000, zstd);
        assert_eq!(read(bytes.clone()).unwrap(), streams);
        let packed = zstd::stream::encode_all(bytes.as_slice(), 1).unwrap();
        assert_eq!(read(packed).unwrap(), streams);
    }
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let whole = small();
    for length in 0..whole.len() {
        assert!(read(whole[..length].to_vec()).is_err(), "{length}");
    }
    assert!(read(whole).is_ok());
}

#[test]
fn with_any_byte_changed_it_is_refused() {
    let whole = small();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            assert!(read(bytes).is_err(), "byte {at}");
        }
    }
}

#[test]
fn records_in_another_order_or_number_are_refused() {
    let whole = records(&small());
    assert_eq!(whole.len(), 6);
    for one in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(one);
        assert!(read(joined(&without)).is_err(), "without {one}");
        let mut twice = whole.clone();
        twice.insert(one, whole[one].clone());
        assert!(read(joined(&twice)).is_err(), "{one} twice");
        for other in 0..one {
            let mut swapped = whole.clone();
            swapped.swap(one, other);
            assert!(read(joined(&swapped)).is_err(), "{one} and {other}");
        }
    }
    let mut beyond = small();
    beyond.push(0);
    refused(beyond, "something follows its end");
    // A record of another archive, which has the same number and a right checksum.
    let other = archive(
        &manifest(),
        &[sent("", 7, b"another"), sent("/var", 8, b"")],
    );
    let mut mixed = whole;
    mixed[1].clone_from(&records(&other)[1]);
    assert!(read(joined(&mixed)).is_err());
}

#[test]
fn a_length_is_not_believed() {
    let mut header = Header {
        kind: RecordKind::Data,
        dataset: 0,
        number: 1,
        stored: u32::MAX,
        raw: u32::MAX,
        zstd: true,
    };
    let whole = records(&small());
    let after = |record: Vec<u8>| joined(&[whole[0].clone(), record]);
    refused(
        after(header.encode(b"").0.to_vec()),
        "lengths that no such record has",
    );
    // What unpacks to more than it says.
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
    header.stored = u32::try_from(bomb.len()).unwrap();
    header.raw = 1000;
    let record = [header.encode(&bomb).0.to_vec(), bomb.clone()].concat();
    refused(after(record), "does not unpack");
    header.raw = 2 << 20;
    let record = [header.encode(&bomb).0.to_vec(), bomb].concat();
    refused(after(record), "unpacks to 1048576 bytes");
}

#[test]
fn streams_are_of_what_was_announced_and_nothing_else() {
    let var = sent("/var", 8, b"");
    let with = |root: Vec<u8>| archive(&manifest(), &[root, var.clone()]);
    refused(
        with(sent("", 9, b"x")),
        "not of the snapshot it should be of",
    );
    refused(with(Vec::new()), "amid a stream");
    refused(with(sent("", 7, b"x")[..700].to_vec()), "amid a stream");
    refused(
        with([sent("", 7, b"x"), var.clone()].concat()),
        "something follows the end",
    );
    let mut package = sent("", 7, b"x");
    package[16] = 2;
    refused(with(package), "one of several");
    refused(with(vec![0; 1000]), "no stream of ZFS");
}

/// The archive's manifest with one thing in it changed, in JSON.
fn saying(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    changed(&manifest(), change)
}

fn changed(manifest: &Manifest, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::to_value(manifest).unwrap();
    change(&mut value);
    let text = serde_json::to_vec(&value).unwrap();
    let length = u32::try_from(text.len()).unwrap();
    let header = Header {
        kind: RecordKind::Manifest,
        dataset: 0,
        number: 0,
        stored: length,
        raw: length,
        zstd: false,
    };
    let (head, _) = header.encode(&text);
    [MAGIC.to_vec(), head.to_vec(), text].concat()
}

#[test]
fn what_a_manifest_may_not_say_is_refused() {
    let long = "x".repeat(256);
    let deep = vec!["x"; 130].join("/");
    let child = |value: Value| move |it: &mut Value| it["datasets"][1]["path"] = value;
    for path in [
        "..",
        ".",
        "../b",
        "var/..",
        "/var",
        "var/",
        "a//b",
        "a@b",
        "a b@c",
        "a#b",
        "a%b",
        "",
        "b/c",
        long.as_str(),
        deep.as_str(),
        "a\u{0}b",
        "ä",
    ] {
        let refused = read(saying(child(json!(path))));
        assert!(
            matches!(refused, Err(Error::Refused(_))),
            "{path:?}: {refused:?}"
        );
    }
    for (name, value) in [
        ("mountpoint", "/etc"),
        ("canmount", "on"),
        ("exec", "on"),
        ("setuid", "on"),
        ("devices", "on"),
        ("sharenfs", "on"),
        ("keylocation", "file:///etc/shadow"),
        ("org.beadm-rs:pinned", "1"),
        ("org.openzfs.systemd:wanted-by", "x"),
    ] {
        let bytes = saying(|it| it["datasets"][0]["properties"] = json!([[name, value]]));
        refused(bytes, &format!("it sets {name}={value}"));
    }
    let twice = json!([["atime", "on"], ["atime", "off"]]);
    refused(
        saying(|it| it["datasets"][0]["properties"] = twice),
        "it sets atime twice",
    );
    for (at, value, why) in [
        ("/name", json!("../x"), "names it wrongly"),
        ("/name", json!("a/b"), "names it wrongly"),
        ("/format", json!(2), "is of format 2"),
        ("/kind", json!("zone"), "not understood"),
        ("/snapshot", json!("a/b"), "cannot be"),
        ("/snapshot", json!("a@b"), "cannot be"),
        ("/description", json!("a\u{1b}[2J"), "a text that is none"),
        ("/machine/hostname", json!("a\nb"), "a text that is none"),
        ("/datasets", json!([]), "does not begin with a root"),
        ("/datasets/0/path", json!("x"), "does not begin with a root"),
        ("/datasets/1/guid", json!("7"), "twice"),
        ("/datasets/1/guid", json!("0"), "no guid"),
        ("/datasets/1/guid", json!(8), "not understood"),
        ("/datasets/1/canmount", json!("on"), "canmount=on"),
        ("/datasets/0/mountpoint", json!(null), "no mountpoint"),
        (
            "/datasets/0/mountpoint",
            json!("/mnt"),
            "not that of a root",
        ),
        (
            "/datasets/1/mountpoint",
            json!("/var/../etc"),
            "not written as",
        ),
        ("/datasets/1/mountpoint", json!("/proc"), "the kernel's"),
        ("/datasets/1/bytes", json!(-1), "not understood"),
        ("/datasets/1/source", json!("../x"), "not understood"),
    ] {
        let bytes = saying(|it| *it.pointer_mut(at).unwrap() = value);
        refused(bytes, why);
    }
    refused(saying(|it| it["more"] = json!(1)), "not understood");
    let many: Vec<Value> = (0..10_001).map(|_| json!({})).collect();
    refused(saying(|it| it["datasets"] = json!(many)), "not understood");
}

#[test]
fn a_stream_of_zfs_send_says_what_it_is() {
    let plain = sent("", 7, b"contents");
    let mut input = Input::open(Box::new(Cursor::new(plain.clone()))).unwrap();
    assert_eq!(input.offer().form, Form::Stream);
    let mut taken = Vec::new();
    input
        .stream(Some(Guid(7)), &mut |part| {
            taken.extend_from_slice(part);
            Ok(())
        })
        .unwrap();
    input.finish().unwrap();
    assert_eq!(taken, plain);
    for length in 0..plain.len() {
        assert!(read(plain[..length].to_vec()).is_err(), "{length}");
    }
    refused([&plain[..], b"x"].concat(), "something follows its end");
    refused(
        [&plain[..], &plain[..]].concat(),
        "something follows its end",
    );
    refused(
        b"#!/bin/sh\necho this is no stream\n".to_vec(),
        "neither an archive",
    );
    refused(
        b"beadm-rs archive 2\nand more of it".to_vec(),
        "a newer beadm-rs",
    );
    refused(Vec::new(), "before anything came");
    let packed = zstd::stream::encode_all(plain.as_slice(), 1).unwrap();
    assert_eq!(read(packed.clone()).unwrap(), [plain]);
    for length in 4..packed.len() {
        assert!(read(packed[..length].to_vec()).is_err(), "{length}");
    }
    // Packed twice is nobody's.
    let twice = zstd::stream::encode_all(packed.as_slice(), 1).unwrap();
    refused(twice, "neither an archive");
}

/// The same record as a machine of the other order of bytes writes it.
fn swapped(record: &[u8]) -> Vec<u8> {
    let mut other = record.to_vec();
    for range in [
        0..4,
        4..8,
        8..16,
        16..24,
        24..32,
        32..36,
        36..40,
        40..48,
        48..56,
    ] {
        other[range].reverse();
    }
    other
}

#[test]
fn a_beginning_is_read_in_either_order_of_bytes() {
    let mut record: [u8; RECORD] = *sent("", 7, b"").first_chunk().unwrap();
    // Compressed, with large blocks, raw, of a clone, since something.
    let flags: u64 = (1 << 22) | (1 << 19) | (1 << 24);
    record[16..24].copy_from_slice(&(1 | (flags << 2)).to_le_bytes());
    record[36] = 1;
    record[48..56].copy_from_slice(&6_u64.to_le_bytes());
    let begin = Begin::decode(&record).unwrap();
    assert_eq!(
        begin,
        Begin {
            name: "rpool/ROOT/a@s".parse().unwrap(),
            guid: Guid(7),
            base: Some(Guid(6)),
            clone: true,
            package: false,
            needs: vec!["encryption".to_owned(), "large_blocks".to_owned()],
            raw: true,
            payload: 0,
        }
    );
    let other = swapped(&record);
    assert_eq!(Begin::decode(other.first_chunk().unwrap()).unwrap(), begin);
    let unknown: u64 = 1 << 10;
    record[16..24].copy_from_slice(&(1 | (unknown << 2)).to_le_bytes());
    assert!(Begin::decode(&record).is_err());
    record[16..24].copy_from_slice(&3_u64.to_le_bytes());
    assert!(Begin::decode(&record).is_err());
}

#[test]
fn a_stream_is_followed_in_parts_of_any_length() {
    let stream = [sent("", 7, &[5; 200_000]), b"beyond".to_vec()].concat();
    for length in [1, 7, 311, 312, 313, 4096, 1 << 20] {
        let mut walker = Walker::new();
        let mut taken = 0;
        for part in stream.chunks(length) {
            taken += walker.push(part).unwrap();
        }
        assert!(walker.ended());
        assert_eq!(taken, stream.len() - 6, "{length}");
    }
}

#[test]
fn who_takes_a_stream_may_end_it() {
    let mut input = Input::open(Box::new(Cursor::new(small()))).unwrap();
    let ended = input.stream(Some(Guid(7)), &mut |_| Err(Error::Interrupted));
    assert!(matches!(ended, Err(Error::Interrupted)));
    let mut writer = Writer::new(Vec::new(), &manifest()).unwrap();
    let endless = std::io::repeat(7).take(1 << 40);
    let mut left = 5;
    let ended = writer.stream(&mut { endless }, &mut |_| {
        left -= 1;
        left > 0
    });
    assert!(matches!(ended, Err(Error::Interrupted)));
    // Not every dataset was written.
    assert!(writer.finish().is_err());
}

#[test]
fn a_package_is_read_whole_or_refused() {
    let whole = include_bytes!("../../../fuzz/corpus/archive_input/package").to_vec();
    let mut input = Input::open(Box::new(Cursor::new(whole.clone()))).unwrap();
    assert_eq!(input.offer().form, Form::Package);
    let begin = input.upcoming().unwrap().unwrap();
    assert_eq!(
        begin.name.as_str(),
        input.offer().datasets[0].source.as_str().to_owned() + "@" + begin.name.component()
    );
    input.skip(&mut |_| true).unwrap();
    assert_eq!(input.upcoming().unwrap(), None);
    input.finish().unwrap();
    for length in 0..whole.len() {
        assert!(read(whole[..length].to_vec()).is_err(), "{length}");
    }
    refused([&whole[..], b"x"].concat(), "something follows its end");
    // Nothing that a byte could say makes it take what is not in its list.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = read(bytes);
    }
}

#[test]
fn the_list_of_a_package_is_taken_as_far_as_it_may_go() {
    let first: [u8; RECORD] = *sent("", 7, b"").first_chunk().unwrap();
    let mut begin = Begin::decode(&first).unwrap();
    begin.name = "p/ROOT/x@s".parse().unwrap();
    let tree = include_bytes!("../../../fuzz/corpus/archive_list/tree");
    let package = super::package::parse(begin.clone(), tree).unwrap();
    let said: Vec<String> = package
        .datasets
        .iter()
        .map(|it| {
            format!(
                "{:?} {:?} {:?} {} {:?}",
                it.path,
                it.snapshots,
                it.mountpoint,
                it.canmount.as_str(),
                it.properties
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            r#""" [("s", Guid(7))] Some("/") noauto []"#,
            r#""var" [("s", Guid(8))] Some("/srv") off [("a:b", "c")]"#,
        ]
    );
    for length in 0..tree.len() {
        assert!(
            super::package::parse(begin.clone(), &tree[..length]).is_err(),
            "{length}"
        );
    }
    for (list, why) in [
        (
            &include_bytes!("../../../fuzz/corpus/archive_list/outside")[..],
            "p/ROOT/y is in it, and not below p/ROOT/x",
        ),
        (
            &include_bytes!("../../../fuzz/corpus/archive_list/since")[..],
            "which changes datasets that are there",
        ),
        (
            &include_bytes!("../../../fuzz/corpus/archive_list/deep")[..],
            "too deep",
        ),
    ] {
        let error = super::package::parse(begin.clone(), list).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
