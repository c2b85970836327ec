//! Dataset names inside a boot environment's own files: fstab(5) and
//! zfs-list.cache (zfs-mount-generator(8)). A clone must name its own datasets
//! there and not those it was cloned from.
//!
//! Pure functions over bytes: a comment in another encoding must not keep a
//! file from being rewritten. Everything that is not one of the names stays as
//! it is, byte for byte.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::os::mountinfo::unescape;
use crate::zfs::DatasetName;

/// Where in a boot environment such names stand.
pub const FSTAB: &str = "etc/fstab";

/// The directory of the generator's cache, one file per pool.
pub const LIST_CACHE: &str = "etc/zfs/zfs-list.cache";

/// From which dataset to which; everything below follows.
pub type Move = (DatasetName, DatasetName);

/// Which names are written anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// From which to which.
    pub moves: Vec<Move>,
    /// The environment's own datasets, where its files may be older than its
    /// name (a snapshot's, from before a rename or a promotion): the same place
    /// below another name beside it means them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub own: BTreeSet<DatasetName>,
}

impl Names {
    /// Of moves alone.
    #[must_use]
    pub fn moved(moves: Vec<Move>) -> Self {
        Self {
            moves,
            own: BTreeSet::new(),
        }
    }

    fn new_name(&self, name: &[u8]) -> Option<DatasetName> {
        let name = parsed(name)?;
        self.moves
            .iter()
            .find(|(from, _)| name.is_within(from))
            .and_then(|(from, to)| name.moved(from, to).ok())
            .or_else(|| self.own_for(&name))
    }

    /// The roots among the own datasets.
    fn roots(&self) -> impl Iterator<Item = &DatasetName> {
        self.own
            .iter()
            .filter(|name| !name.parent().is_some_and(|above| self.own.contains(&above)))
    }

    /// The own dataset that a name of another environment stands for.
    fn own_for(&self, name: &DatasetName) -> Option<DatasetName> {
        self.roots().find_map(|root| {
            let former = sibling(root, name)?;
            let own = name.moved(&former, root).ok()?;
            (former != *root && self.own.contains(&own)).then_some(own)
        })
    }
}

/// What lies beside a root and has the name at or below it.
fn sibling(root: &DatasetName, name: &DatasetName) -> Option<DatasetName> {
    let parent = root.parent()?;
    let mut at = name.clone();
    loop {
        let above = at.parent()?;
        if above == parent {
            return Some(at);
        }
        at = above;
    }
}

fn parsed(name: &[u8]) -> Option<DatasetName> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// A ZFS line of fstab(5): what stands before the dataset, the dataset and the
/// directory as they are written there, and everything after the dataset.
struct Entry<'a> {
    indent: &'a [u8],
    device: &'a [u8],
    directory: &'a [u8],
    rest: &'a [u8],
}

/// The first field names the dataset where the third is `zfs`. Fields are
/// separated by spaces and tabs (getmntent(3)).
fn entry(line: &[u8]) -> Option<Entry<'_>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !blank(byte))?;
    let (indent, text) = line.split_at_checked(begin)?;
    let mut fields = text.split(blank).filter(|field| !field.is_empty());
    let (device, directory, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let is_zfs = kind == b"zfs" && !device.starts_with(b"#");
    is_zfs.then_some(Entry {
        indent,
        device,
        directory,
        rest: text.get(device.len()..).unwrap_or_default(),
    })
}

/// fstab(5) with other names in its ZFS lines.
#[must_use]
pub fn fstab(text: &[u8], names: &Names) -> Vec<u8> {
    lines(text, |line| {
        let entry = entry(line)?;
        let new = names.new_name(&unescape(entry.device))?;
        let new = new.as_str().replace(' ', "\\040");
        Some([entry.indent, new.as_bytes(), entry.rest].concat())
    })
}

/// Where an fstab mounts ZFS datasets: the dataset, and the directory, which
/// need not be UTF-8.
#[must_use]
pub fn mounts(fstab: &[u8]) -> Vec<(DatasetName, Vec<u8>)> {
    fstab
        .split(|byte| *byte == b'\n')
        .filter_map(entry)
        .filter_map(|entry| {
            let name = String::from_utf8(unescape(entry.device)).ok()?;
            Some((name.parse().ok()?, unescape(entry.directory)))
        })
        .collect()
}

/// The field of zfs-list.cache that holds the encryption root, counted from 0
/// (`PROPS` in `history_event-zfs-list-cacher.sh`). It stands later where the
/// mountpoint holds tabs; no other field after it can be a dataset's name.
const ENCRYPTION_ROOT_FIELD: usize = 10;

/// zfs-list.cache: tab-separated, the dataset first; its encryption root may be
/// one of the moved datasets too.
///
/// It lists every dataset of a pool, other environments too: a former name is
/// told by being the only one there, beside no line with the own name.
#[must_use]
pub fn list_cache(text: &[u8], names: &Names) -> Vec<u8> {
    let listed: BTreeSet<DatasetName> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| parsed(line.split(|byte| *byte == b'\t').next()?))
        .collect();
    let one_former_name = names.roots().all(|root| {
        let beside: BTreeSet<DatasetName> = listed
            .iter()
            .filter_map(|name| sibling(root, name))
            .collect();
        beside.len() <= 1
    });
    let exact = Names::moved(names.moves.clone());
    let names = if one_former_name { names } else { &exact };
    lines(text, |line| {
        let mut changed = false;
        let fields: Vec<Vec<u8>> = line
            .split(|byte| *byte == b'\t')
            .enumerate()
            .map(|(index, field)| match names.new_name(field) {
                Some(new) if index == 0 || index >= ENCRYPTION_ROOT_FIELD => {
                    changed = true;
                    new.to_string().into_bytes()
                }
                _ => field.to_owned(),
            })
            .collect();
        changed.then(|| fields.join(&b'\t'))
    })
}

/// Replaces the lines for which `change` has something else.
fn lines(text: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| {
            let (body, end): (&[u8], &[u8]) = match line.strip_suffix(b"\n") {
                Some(body) => (body, b"\n"),
                None => (line, b""),
            };
            match change(body) {
                Some(new) => [&new, end].concat(),
                None => line.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(change: fn(&[u8], &Names) -> Vec<u8>, text: &str, names: &Names) -> String {
        String::from_utf8(change(text.as_bytes(), names)).unwrap()
    }

    fn name(text: &str) -> DatasetName {
        text.parse().unwrap()
    }

    fn moves() -> Names {
        Names::moved(vec![(name("rpool/ROOT/old"), name("rpool/ROOT/new"))])
    }

    fn own() -> Names {
        Names {
            moves: Vec::new(),
            own: ["rpool/ROOT/new", "rpool/ROOT/new/var", "bpool/BOOT/new"]
                .map(name)
                .into(),
        }
    }

    #[test]
    fn in_a_file_older_than_its_name_the_own_datasets_are_meant() {
        let text = "rpool/ROOT/old/var /var zfs defaults 0 0\n\
                    rpool/ROOT/new/var /var zfs defaults 0 0\n\
                    bpool/BOOT/older /boot zfs defaults 0 0\n\
                    rpool/ROOT/old/srv /srv zfs defaults 0 0\n\
                    rpool/home /home zfs defaults 0 0\n";
        assert_eq!(
            by(fstab, text, &own()),
            "rpool/ROOT/new/var /var zfs defaults 0 0\n\
             rpool/ROOT/new/var /var zfs defaults 0 0\n\
             bpool/BOOT/new /boot zfs defaults 0 0\n\
             rpool/ROOT/old/srv /srv zfs defaults 0 0\n\
             rpool/home /home zfs defaults 0 0\n"
        );
    }

    #[test]
    fn a_list_cache_with_several_environments_keeps_their_names() {
        let names = Names {
            own: [name("rpool/ROOT/new"), name("rpool/ROOT/new/var")].into(),
            ..Names::default()
        };
        let alone = "rpool\t/rpool\nrpool/ROOT/old\t/\nrpool/ROOT/old/var\t/var\n";
        assert_eq!(
            by(list_cache, alone, &names),
            "rpool\t/rpool\nrpool/ROOT/new\t/\nrpool/ROOT/new/var\t/var\n"
        );
        let beside = "rpool/ROOT/old\t/\nrpool/ROOT/older\t/\n";
        assert_eq!(by(list_cache, beside, &names), beside);
    }

    fn changed(change: fn(&[u8], &Names) -> Vec<u8>, text: &str) -> String {
        by(change, text, &moves())
    }

    #[test]
    fn a_line_that_is_not_utf8_does_not_keep_the_others_from_following() {
        assert_eq!(
            fstab(
                b"# caf\xe9\nrpool/ROOT/old/var /var/\xe9 zfs defaults 0 0\n",
                &moves()
            ),
            b"# caf\xe9\nrpool/ROOT/new/var /var/\xe9 zfs defaults 0 0\n"
        );
        assert_eq!(
            list_cache(b"rpool/ROOT/old/a\t/\xe9\tnoauto\n", &moves()),
            b"rpool/ROOT/new/a\t/\xe9\tnoauto\n"
        );
    }

    #[test]
    fn an_fstab_s_fields_are_separated_by_spaces_and_tabs_only() {
        // A no-break space is part of a field.
        let text = "rpool/ROOT/old/a\u{a0}/a zfs defaults 0 0\n";
        assert_eq!(changed(fstab, text), text);
        assert_eq!(
            changed(fstab, " \trpool/ROOT/old/b\\040c\\137d /b zfs"),
            " \trpool/ROOT/new/b\\040c_d /b zfs"
        );
    }

    #[test]
    fn the_mounts_of_an_fstab_are_read_with_their_escapes() {
        let text = b"# caf\xe9\n\
            rpool/de\\040bian/srv\t/srv/a\\040b zfs defaults\n\
            #rpool/x /x zfs\n\
            rpool/y /y ext4\n\
            rpool/z /\xff zfs";
        let found = |name: &str, directory: &[u8]| (name.parse().unwrap(), directory.to_vec());
        assert_eq!(
            mounts(text),
            [
                found("rpool/de bian/srv", b"/srv/a b"),
                found("rpool/z", b"/\xff")
            ]
        );
    }

    #[test]
    fn only_the_own_datasets_of_an_fstab_follow() {
        let text = "# rpool/ROOT/old/var /var zfs defaults 0 0\n\
                    rpool/ROOT/old/var\t/var  zfs nofail,x=rpool/ROOT/old 0 0\n\
                    rpool/ROOT/older/var /x zfs defaults 0 0\n\
                    UUID=1 /boot/efi vfat umask=0077 0 1\n\
                    rpool/ROOT/old/srv /srv zfs defaults 0 0";
        assert_eq!(
            changed(fstab, text),
            "# rpool/ROOT/old/var /var zfs defaults 0 0\n\
             rpool/ROOT/new/var\t/var  zfs nofail,x=rpool/ROOT/old 0 0\n\
             rpool/ROOT/older/var /x zfs defaults 0 0\n\
             UUID=1 /boot/efi vfat umask=0077 0 1\n\
             rpool/ROOT/new/srv /srv zfs defaults 0 0"
        );
    }

    #[test]
    fn a_list_cache_follows_in_name_and_encryption_root() {
        let text = "rpool/ROOT/old\t/\tnoauto\ton\ton\ton\ton\toff\ton\toff\trpool/ROOT/old\tprompt\n\
                    rpool/ROOT/old/a\t/a\tb\tnoauto\ton\ton\ton\ton\toff\ton\toff\trpool/ROOT/old\tprompt\n\
                    rpool/home\t/home\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\n";
        assert_eq!(
            changed(list_cache, text),
            "rpool/ROOT/new\t/\tnoauto\ton\ton\ton\ton\toff\ton\toff\trpool/ROOT/new\tprompt\n\
             rpool/ROOT/new/a\t/a\tb\tnoauto\ton\ton\ton\ton\toff\ton\toff\trpool/ROOT/new\tprompt\n\
             rpool/home\t/home\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\n"
        );
    }
}
