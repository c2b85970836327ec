//! Dataset names inside a boot environment's own files: fstab(5) and
//! zfs-list.cache (zfs-mount-generator(8)). A clone must name its own datasets
//! there and not those it was cloned from.
//!
//! Pure functions over text; everything that is not one of the names stays as
//! it is, byte for byte.

use std::collections::BTreeSet;

use serde::Serialize;

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

    fn new_name(&self, name: &str) -> Option<DatasetName> {
        let name = name.parse::<DatasetName>().ok()?;
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

/// fstab(5): the first field names the dataset where the third is `zfs`.
#[must_use]
pub fn fstab(text: &str, names: &Names) -> String {
    lines(text, |line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        if device.starts_with('#') || fields.nth(1) != Some("zfs") {
            return None;
        }
        // fstab writes a space inside a name as \040.
        let new = names.new_name(&device.replace("\\040", " "))?;
        Some(line.replacen(device, &new.as_str().replace(' ', "\\040"), 1))
    })
}

/// The field of zfs-list.cache that holds the encryption root, counted from 0
/// (`PROPS` in `history_event-zfs-list-cacher.sh`).
const ENCRYPTION_ROOT_FIELD: usize = 10;

/// zfs-list.cache: tab-separated, the dataset first; its encryption root may be
/// one of the moved datasets too.
///
/// It lists every dataset of a pool, other environments too: a former name is
/// told by being the only one there, beside no line with the own name.
#[must_use]
pub fn list_cache(text: &str, names: &Names) -> String {
    let listed: BTreeSet<DatasetName> = text
        .lines()
        .filter_map(|line| line.split('\t').next()?.parse().ok())
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
        let fields: Vec<String> = line
            .split('\t')
            .enumerate()
            .map(|(index, field)| match names.new_name(field) {
                Some(new) if index == 0 || index == ENCRYPTION_ROOT_FIELD => {
                    changed = true;
                    new.to_string()
                }
                _ => field.to_owned(),
            })
            .collect();
        changed.then(|| fields.join("\t"))
    })
}

/// Replaces the lines for which `change` has something else.
fn lines(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let (body, end) = match line.strip_suffix('\n') {
                Some(body) => (body, "\n"),
                None => (line, ""),
            };
            match change(body) {
                Some(new) => format!("{new}{end}"),
                None => line.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            fstab(text, &own()),
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
            list_cache(alone, &names),
            "rpool\t/rpool\nrpool/ROOT/new\t/\nrpool/ROOT/new/var\t/var\n"
        );
        let beside = "rpool/ROOT/old\t/\nrpool/ROOT/older\t/\n";
        assert_eq!(list_cache(beside, &names), beside);
    }

    #[test]
    fn only_the_own_datasets_of_an_fstab_follow() {
        let text = "# rpool/ROOT/old/var /var zfs defaults 0 0\n\
                    rpool/ROOT/old/var\t/var  zfs nofail,x=rpool/ROOT/old 0 0\n\
                    rpool/ROOT/older/var /x zfs defaults 0 0\n\
                    UUID=1 /boot/efi vfat umask=0077 0 1\n\
                    rpool/ROOT/old/srv /srv zfs defaults 0 0";
        assert_eq!(
            fstab(text, &moves()),
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
                    rpool/home\t/home\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\n";
        assert_eq!(
            list_cache(text, &moves()),
            "rpool/ROOT/new\t/\tnoauto\ton\ton\ton\ton\toff\ton\toff\trpool/ROOT/new\tprompt\n\
             rpool/home\t/home\ton\ton\ton\ton\ton\toff\ton\toff\t-\tnone\n"
        );
    }
}
