//! A second partition for a loader, with the same files of this program as the
//! first: the machine starts from whichever disk is left.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use crate::boot::failback;

use super::loader::{digest_of, make, open, remove, unfinished};

/// Where this program's files are, how the names of those begin that count there,
/// and whether they are nobody else's. In this order they are made, and in the
/// other one they go: what is needed is there before what needs it.
const PLACES: [(&str, &str, bool); 3] = [
    ("beadm-rs", "", true),
    ("grub", "custom.cfg", false),
    ("loader/entries", "beadm-rs-", true),
];

/// The files at a place and in the directories there.
fn files(dir: &Dir, place: &str, begin: &str) -> io::Result<BTreeMap<Utf8PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut places = vec![Utf8PathBuf::from(place)];
    while let Some(at) = places.pop() {
        let entries = match dir.read_dir(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = at.join(&name);
            let metadata = entry.metadata()?;
            if metadata.is_dir() && at == place && begin.is_empty() {
                places.push(path);
            } else if metadata.is_file() && (at != place || name.starts_with(begin)) {
                found.insert(path, metadata.len());
            }
        }
    }
    Ok(found)
}

/// A copy of a kernel or an initramfs is larger, and is in a directory that is
/// named by what it holds, bytes.
const LARGE: u64 = 1 << 20;

/// Whether a file of a size is the same on both.
fn is_same(from: &Dir, to: &Dir, file: &Utf8Path, size: u64) -> io::Result<bool> {
    Ok(size > LARGE || digest_of(open(from, file)?)? == digest_of(open(to, file)?)?)
}

/// Whether there is, on one of them, a file in the place of the entry that fails back which
/// somebody else made. It is neither copied nor overwritten.
fn is_foreign(dirs: [&Dir; 2], file: &Utf8Path) -> io::Result<bool> {
    if !file.file_name().is_some_and(failback::is_it) {
        return Ok(false);
    }
    let [one, other] = dirs.map(|dir| is_somebody_elses(dir, file));
    Ok(one? || other?)
}

fn is_somebody_elses(dir: &Dir, file: &Utf8Path) -> io::Result<bool> {
    match dir.symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Ok(found) if !found.is_file() => return Ok(true),
        other => other?,
    };
    let mut bytes = Vec::new();
    open(dir, file)?.take(LARGE).read_to_end(&mut bytes)?;
    Ok(failback::leads_to(&String::from_utf8_lossy(&bytes)).is_none())
}

/// What has to be copied, and what has to go, in these orders.
fn differences(from: &Dir, to: &Dir) -> io::Result<(Vec<Utf8PathBuf>, Vec<Utf8PathBuf>)> {
    let (mut copied, mut gone) = (Vec::new(), Vec::new());
    for (place, begin, own) in PLACES {
        let (here, there) = (files(from, place, begin)?, files(to, place, begin)?);
        for (file, size) in &here {
            if own && is_foreign([from, to], file)? {
                continue;
            }
            if there.get(file) != Some(size) || !is_same(from, to, file, *size)? {
                copied.push(file.clone());
            }
        }
        let mut stale = Vec::new();
        for file in there.into_keys() {
            if own && !here.contains_key(&file) && !is_foreign([from, to], &file)? {
                stale.push(file);
            }
        }
        gone.splice(0..0, stale);
    }
    Ok((copied, gone))
}

/// Makes the second what the first is. What is not this program's stays.
///
/// # Errors
/// Where one cannot be read, or the second not be written.
pub(super) fn equalize(from: &Dir, to: &Dir) -> io::Result<()> {
    let (copied, gone) = differences(from, to)?;
    for file in copied {
        let begun = unfinished(&file);
        make(to, &begun, |made| {
            let mut source = open(from, &file)?;
            io::copy(&mut source, made)?;
            made.flush()
        })
        .inspect_err(|_| {
            // What is left of it is in nobody's way but for the space.
            let _ = to.remove_file(&begun);
        })?;
        to.rename(&begun, to, &file)?;
    }
    for file in gone {
        remove(to, &file)?;
        if let Some(directory) = file.parent().filter(|at| at.components().count() > 1) {
            remove(to, directory)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cap_std_ext::cap_std::ambient_authority;

    use super::*;

    fn place(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
        for (file, text) in files {
            let parent = Utf8Path::new(file).parent().unwrap();
            dir.create_dir_all(parent).unwrap();
            dir.write(file, text).unwrap();
        }
        (directory, dir)
    }

    #[test]
    fn the_second_becomes_what_the_first_is_but_for_what_is_somebody_elses() {
        let (_from, from) = place(&[
            ("beadm-rs/x/linux", "a kernel"),
            ("beadm-rs/x/initrd", "new"),
            ("beadm-rs/block", "1"),
            ("loader/entries/beadm-rs-7-1+2-1.conf", "tried once"),
            ("loader/entries/mine.conf", "the first's"),
            ("EFI/BOOT/BOOTX64.EFI", "the first's"),
        ]);
        let (_to, to) = place(&[
            ("beadm-rs/x/initrd", "old"),
            ("beadm-rs/y/linux", "not needed"),
            ("grub/custom.cfg", "the second's"),
            ("loader/entries/beadm-rs-7-1+3.conf", "tried once"),
            ("loader/entries/other.conf", "the second's"),
        ]);
        equalize(&from, &to).unwrap();
        assert_eq!(differences(&from, &to).unwrap(), Default::default());
        for (file, text) in [
            ("beadm-rs/x/linux", "a kernel"),
            ("beadm-rs/x/initrd", "new"),
            ("beadm-rs/block", "1"),
            ("loader/entries/beadm-rs-7-1+2-1.conf", "tried once"),
            ("loader/entries/other.conf", "the second's"),
            ("grub/custom.cfg", "the second's"),
        ] {
            assert_eq!(to.read_to_string(file).unwrap(), text, "{file}");
        }
        for file in [
            "beadm-rs/y",
            "loader/entries/beadm-rs-7-1+3.conf",
            "EFI",
            "loader/entries/mine.conf",
        ] {
            assert!(!to.exists(file), "{file}");
        }
    }

    #[test]
    fn an_entry_that_fails_back_takes_nobody_elses_place() {
        let file = "loader/entries/beadm-rs-failback.conf";
        let (own, newer, foreign) = (
            "# beadm-rs: fails back to 7\n",
            "# beadm-rs: fails back to 8\n",
            "title mine\n",
        );
        for (first, second, then) in [
            (Some(own), None, Some(own)),
            (Some(newer), Some(own), Some(newer)),
            (None, Some(own), None),
            (Some(own), Some(foreign), Some(foreign)),
            (None, Some(foreign), Some(foreign)),
            (Some(foreign), None, None),
        ] {
            let with = |text: Option<&'static str>| {
                let files: Vec<_> = text.map(|text| (file, text)).into_iter().collect();
                place(&files)
            };
            let ((_from, from), (_to, to)) = (with(first), with(second));
            equalize(&from, &to).unwrap();
            assert_eq!(
                to.read_to_string(file).ok().as_deref(),
                then,
                "{first:?} {second:?}"
            );
        }
        // What is no file is left alone, too.
        let ((_from, from), (_to, to)) = (place(&[(file, own)]), place(&[]));
        to.create_dir_all(file).unwrap();
        equalize(&from, &to).unwrap();
        assert!(to.is_dir(file));
    }

    #[test]
    fn links_are_not_copied() {
        let (_from, from) = place(&[("secret", "x"), ("beadm-rs/x/linux", "k")]);
        from.symlink("../../secret", "beadm-rs/x/initrd").unwrap();
        let (_to, to) = place(&[]);
        equalize(&from, &to).unwrap();
        assert_eq!(to.read_to_string("beadm-rs/x/linux").unwrap(), "k");
        assert!(!to.exists("beadm-rs/x/initrd"));
    }
}
