//! Archives, and streams of `zfs send`.

use std::io::Cursor;

use beadm_rs::archive::manifest::Tree;
use beadm_rs::archive::resume::Rest;
use beadm_rs::archive::token::Token;
use beadm_rs::archive::{Input, Manifest, nvlist, package, stream::Walker};

/// A manifest that was taken is written and taken again, and names nothing outside of
/// the environment.
pub fn archive_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        let written = manifest.encode().expect("what was taken");
        assert_eq!(Manifest::decode(&written).ok().as_ref(), Some(&manifest));
        let root: beadm_rs::zfs::DatasetName = "p/ROOT/x".parse().expect("a name");
        for entry in &manifest.datasets {
            if let Ok(name) = entry.below(&root) {
                assert!(name.is_within(&root));
            }
            assert_ne!(entry.canmount, beadm_rs::zfs::Canmount::On);
            let mountpoint = entry.mountpoint.as_deref().unwrap_or("none");
            assert!(
                entry.tree == Tree::Root
                    || matches!(mountpoint, "none" | "legacy" | "/boot")
                    || mountpoint.starts_with("/boot/")
            );
        }
    }
}

/// Whatever comes in is read to its end or refused; what was handed on is one stream
/// of ZFS for each dataset.
pub fn archive_input(data: &[u8]) {
    let Ok(mut input) = Input::open(Box::new(Cursor::new(data.to_vec()))) else {
        return;
    };
    let datasets = input.offer().datasets.len();
    for _ in 0..datasets {
        let mut walker = Walker::new();
        let taken = input.stream(None, &mut |part| {
            let of_it = walker.push(part)?;
            assert_eq!(of_it, part.len());
            Ok(())
        });
        if taken.is_err() {
            return;
        }
        assert!(walker.ended());
    }
    let _ = input.finish();
}

/// A list is read or refused, and so is what it says of datasets.
pub fn archive_list(data: &[u8]) {
    let _ = nvlist::parse(data);
    let mut stream = beadm_rs::archive::simulated::simulated(
        &"p/ROOT/x@s".parse().expect("a name"),
        beadm_rs::zfs::Guid(7),
        None,
        b"",
    );
    // The same as the beginning of a package.
    stream[16] = 2;
    let first = stream.first_chunk().expect("a record");
    let begin = beadm_rs::archive::stream::Begin::decode(first).expect("a beginning");
    if let Ok(package) = package::parse(begin, data) {
        let root: beadm_rs::zfs::DatasetName = "p/ROOT/y".parse().expect("a name");
        for dataset in package.datasets {
            assert!(dataset.below(&root).is_ok_and(|name| name.is_within(&root)));
        }
    }
}

/// A token is read or refused; what was read is written and read again.
pub fn archive_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = Token::parse(text) {
        let again = Token::parse(&token.text()).expect("what was written");
        assert_eq!(
            again,
            Token {
                redacted: false,
                ..token
            }
        );
    }
}

/// Of whatever comes as a stream the rest is a stream, or nothing.
pub fn archive_rest(data: &[u8]) {
    for (object, offset) in [(1, 0), (2, 0), (2, 512)] {
        let mut rest = Rest::new(Token {
            name: "p/ROOT/x@s".parse().expect("a name"),
            guid: beadm_rs::zfs::Guid(7),
            base: None,
            object,
            offset,
            bytes: 0,
            large: false,
            embedded: false,
            compressed: false,
            raw: false,
            redacted: false,
        });
        let mut out = Vec::new();
        // Nothing is given after an error.
        let taken = data
            .chunks(100)
            .try_for_each(|part| rest.push(part, &mut out));
        let mut walker = Walker::new();
        let walked = walker.push(&out).expect("a stream");
        assert_eq!(walked, out.len());
        assert!(taken.is_ok() || !walker.ended());
    }
}
