//! What differs between two mounted trees, found in the plainest way: everything
//! read into memory and compared. What `diff` says is held against it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use beadm_rs::diff::summary::escaped;

/// One file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    content: Vec<u8>,
    target: Option<Vec<u8>>,
    device: u64,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A tree.
pub type Listing = BTreeMap<Vec<u8>, Seen>;

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut list) else {
        return BTreeMap::new();
    };
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let key = std::ffi::OsStr::from_bytes(name);
            let length = rustix::fs::lgetxattr(path, key, &mut value).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

fn look(path: &Path) -> Seen {
    let found = path.symlink_metadata().unwrap();
    let kind = found.file_type();
    Seen {
        kind: if kind.is_file() {
            "file"
        } else if kind.is_dir() {
            "directory"
        } else if kind.is_symlink() {
            "symlink"
        } else if kind.is_fifo() {
            "fifo"
        } else if kind.is_socket() {
            "socket"
        } else if kind.is_char_device() {
            "character-device"
        } else {
            "block-device"
        },
        mode: found.mode() & 0o7777,
        owner: (found.uid(), found.gid()),
        links: if kind.is_file() { found.nlink() } else { 0 },
        content: if kind.is_file() {
            std::fs::read(path).unwrap()
        } else {
            Vec::new()
        },
        target: kind.is_symlink().then(|| {
            std::fs::read_link(path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        }),
        device: if kind.is_char_device() || kind.is_block_device() {
            found.rdev()
        } else {
            0
        },
        attributes: attributes(path),
    }
}

/// Everything in a tree.
pub fn listing(root: &Path) -> Listing {
    let mut found = Listing::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let below = path.strip_prefix(root).unwrap();
        let seen = look(&path);
        if seen.kind == "directory" {
            left.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        found.insert(below.as_os_str().as_bytes().to_vec(), seen);
    }
    found
}

fn aspects(one: &Seen, other: &Seen) -> Vec<&'static str> {
    if one.kind != other.kind {
        return vec!["type"];
    }
    let acl = |seen: &Seen, wanted: bool| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let all = seen.attributes.clone().into_iter();
        all.filter(|(name, _)| name.starts_with(b"system.posix_acl") == wanted)
            .collect()
    };
    [
        (one.content != other.content, "content"),
        (one.target != other.target, "target"),
        (one.device != other.device, "device"),
        (one.kind != "symlink" && one.mode != other.mode, "mode"),
        (one.owner != other.owner, "owner"),
        (acl(one, true) != acl(other, true), "acl"),
        (acl(one, false) != acl(other, false), "attributes"),
        (one.links != other.links, "links"),
    ]
    .into_iter()
    .filter_map(|(differs, aspect)| differs.then_some(aspect))
    .collect()
}

/// What `diff -H --files` has to print.
pub fn difference(from: &Listing, to: &Listing) -> String {
    let mut paths: Vec<&Vec<u8>> = from.keys().chain(to.keys()).collect();
    paths.sort();
    paths.dedup();
    let mut lines = String::new();
    for path in paths {
        let (one, other) = (from.get(path), to.get(path));
        let kind = |seen: Option<&Seen>| seen.map_or("-", |seen| seen.kind);
        let (sign, aspects) = match (one, other) {
            (None, _) => ('+', vec!["-"]),
            (_, None) => ('-', vec!["-"]),
            (Some(one), Some(other)) => match aspects(one, other) {
                none if none.is_empty() => continue,
                some => ('M', some),
            },
        };
        lines.push_str(&format!(
            "file\t{sign}\t{}\t{}\t/{}\t{}\n",
            kind(one),
            kind(other),
            escaped(path),
            aspects.join(",")
        ));
    }
    lines
}
