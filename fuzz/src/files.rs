//! Files of the system and of boot environments.

use std::sync::LazyLock;

use beadm_rs::be::rewrite;
use beadm_rs::os::mountinfo;

/// Whatever a directory is called, its mount is found, and no other is hidden.
pub fn mountinfo(data: &[u8]) {
    let _ = mountinfo::entries(data);
    let _ = mountinfo::root(data);
    let mut escaped = Vec::new();
    for byte in data {
        match byte {
            // `mangle` in the kernel's fs/proc_namespace.c.
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                escaped.extend(format!("\\{byte:03o}").bytes());
            }
            byte => escaped.push(*byte),
        }
    }
    assert_eq!(mountinfo::unescape(&escaped), data);
    let text = [
        b"22 1 0:20 / / rw,relatime shared:1 - zfs p/a rw\n23 22 0:21 / /",
        escaped.as_slice(),
        b" rw,relatime shared:2 - zfs p/b\\040c rw\n24 22 0:22 / /d rw - zfs p/d rw\n",
    ]
    .concat();
    let found = mountinfo::entries(&text).expect("what the kernel writes");
    let names: Vec<&str> = found.iter().map(|entry| entry.dataset.as_str()).collect();
    assert_eq!(names, ["p/a", "p/b c", "p/d"]);
    let directory = format!("/{}", String::from_utf8_lossy(data));
    assert_eq!(found[1].directory.as_str(), directory);
}

static NAMES: LazyLock<rewrite::Names> = LazyLock::new(|| {
    let moves = [("r/R/a", "r/R/b c"), ("b/B/a", "b/B/b c")]
        .map(|(from, to)| (from.parse().expect("a name"), to.parse().expect("a name")))
        .into();
    rewrite::Names::moved(moves)
});

/// Lines that name no moved dataset stay as they are; the others stand where
/// they stood, and there is nothing left to do in them.
fn rewritten(data: &[u8], by: fn(&[u8], &rewrite::Names) -> Vec<u8>) -> Vec<u8> {
    let new = by(data, &NAMES);
    let mut after = new.split(|byte| *byte == b'\n');
    for before in data.split(|byte| *byte == b'\n') {
        let after = after.next().expect("as many lines");
        // A moved name holds a slash; an escape, which may be one, a backslash.
        if !before.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
            assert_eq!(before, after);
        }
    }
    assert_eq!(after.next(), None);
    assert_eq!(by(&new, &NAMES), new);
    new
}

/// fstab(5).
pub fn fstab(data: &[u8]) {
    let new = rewritten(data, rewrite::fstab);
    let (before, after) = (rewrite::mounts(data), rewrite::mounts(&new));
    // As many as before, in the same places, none of the old ones.
    assert_eq!(before.len(), after.len());
    for ((old, there), (new, here)) in before.iter().zip(&after) {
        assert_eq!(there, here);
        match NAMES.moves.iter().find(|(from, _)| old.is_within(from)) {
            Some((from, to)) => match old.moved(from, to) {
                Ok(moved) => assert_eq!(*new, moved),
                // Longer than a name can be: there is no such dataset.
                Err(_) => assert_eq!(new, old),
            },
            None => assert_eq!(new, old),
        }
    }
}

/// zfs-list.cache.
pub fn list_cache(data: &[u8]) {
    let new = rewritten(data, rewrite::list_cache);
    let tabs = |text: &[u8]| text.iter().filter(|byte| **byte == b'\t').count();
    assert_eq!(tabs(data), tabs(&new));
}
