//! Archives, and streams of `zfs send`.

use std::io::Cursor;

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
