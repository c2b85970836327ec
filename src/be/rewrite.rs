//! Dataset names inside a boot environment's own files: fstab(5) and
//! zfs-list.cache (zfs-mount-generator(8)). A clone must name its own datasets
//! there and not those it was cloned from.
//!
//! Pure functions over text; everything that is not one of the names stays as
//! it is, byte for byte.

use crate::zfs::DatasetName;

/// Where in a boot environment such names stand.
pub const FSTAB: &str = "etc/fstab";

/// The directory of the generator's cache, one file per pool.
pub const LIST_CACHE: &str = "etc/zfs/zfs-list.cache";

/// From which dataset to which; everything below follows.
pub type Move = (DatasetName, DatasetName);

fn moved(name: &str, moves: &[Move]) -> Option<String> {
    let name = name.parse::<DatasetName>().ok()?;
    moves
        .iter()
        .find(|(from, _)| name.is_within(from))
        .and_then(|(from, to)| name.moved(from, to).ok())
        .map(|name| name.to_string())
}

/// fstab(5): the first field names the dataset where the third is `zfs`.
#[must_use]
pub fn fstab(text: &str, moves: &[Move]) -> String {
    lines(text, |line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        if device.starts_with('#') || fields.nth(1) != Some("zfs") {
            return None;
        }
        // fstab writes a space inside a name as \040.
        let new = moved(&device.replace("\\040", " "), moves)?;
        Some(line.replacen(device, &new.replace(' ', "\\040"), 1))
    })
}

/// The field of zfs-list.cache that holds the encryption root, counted from 0
/// (`PROPS` in `history_event-zfs-list-cacher.sh`).
const ENCRYPTION_ROOT_FIELD: usize = 10;

/// zfs-list.cache: tab-separated, the dataset first; its encryption root may be
/// one of the moved datasets too.
#[must_use]
pub fn list_cache(text: &str, moves: &[Move]) -> String {
    lines(text, |line| {
        let mut changed = false;
        let fields: Vec<String> = line
            .split('\t')
            .enumerate()
            .map(|(index, field)| match moved(field, moves) {
                Some(new) if index == 0 || index == ENCRYPTION_ROOT_FIELD => {
                    changed = true;
                    new
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

    fn moves() -> Vec<Move> {
        vec![(
            "rpool/ROOT/old".parse().unwrap(),
            "rpool/ROOT/new".parse().unwrap(),
        )]
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
