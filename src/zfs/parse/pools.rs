//! `zpool list`.

use std::collections::BTreeSet;

use super::{ParseError, fail, number};
use crate::zfs::{Guid, Pool};

/// The columns of [`pools`].
pub const POOL_COLUMNS: &str = "name,guid,health,readonly,free,size,bootfs,altroot";

/// Reads `zpool list -Hp -o` [`POOL_COLUMNS`].
///
/// # Errors
/// The first line that is not of that shape. An altroot with a newline in it is
/// an error too.
pub fn pools(text: &str) -> Result<Vec<Pool>, ParseError> {
    let mut seen = BTreeSet::new();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .enumerate()
        .map(|(index, line)| {
            let amiss = |why: String| fail(index + 1, why, line);
            let fields: Vec<&str> = line.splitn(8, '\t').collect();
            let [name, guid, health, readonly, free, size, bootfs, altroot] = fields[..] else {
                return Err(amiss("8 columns expected".to_owned()));
            };
            let number =
                |text: &str| number(text).ok_or_else(|| amiss(format!("{text:?} is no number")));
            // A pool that is not available shows "-" for all but name, guid and
            // health (`zpool_get_prop`).
            let bytes = |text: &str| match text {
                "-" => Ok(0),
                text => number(text),
            };
            if !seen.insert(name) {
                return Err(amiss("listed twice".to_owned()));
            }
            Ok(Pool {
                name: name
                    .parse()
                    .map_err(|error: crate::zfs::NameError| amiss(error.to_string()))?,
                guid: Guid(number(guid)?),
                health: health.to_owned(),
                readonly: match readonly {
                    "on" => true,
                    "off" | "-" => false,
                    other => return Err(amiss(format!("{other:?} is neither on nor off"))),
                },
                free: bytes(free)?,
                size: bytes(size)?,
                bootfs: match bootfs {
                    "-" | "" => None,
                    name => Some(
                        name.parse()
                            .map_err(|error: crate::zfs::NameError| amiss(error.to_string()))?,
                    ),
                },
                altroot: match altroot {
                    "-" | "" => None,
                    path if path.starts_with('/') => Some(path.into()),
                    other => return Err(amiss(format!("{other:?} is no directory"))),
                },
            })
        })
        .collect()
}

/// Reads the active features out of `zpool get -H -o property,value all`.
#[must_use]
pub fn active_features(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("feature@")?.strip_suffix("\tactive"))
        .map(str::to_owned)
        .collect()
}

/// The features that can be used or are (`enabled`, `active`), as `zpool get` lists
/// them, without `feature@`.
#[must_use]
pub fn usable_features(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("feature@")?.split_once('\t'))
        .filter(|(_, state)| matches!(*state, "enabled" | "active"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// What `zpool status` says of data that cannot be read any more.
#[must_use]
pub fn data_errors(text: &str) -> Option<String> {
    let said = text
        .lines()
        .find_map(|line| line.strip_prefix("errors: "))?;
    (said != "No known data errors").then(|| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_read_with_bootfs_and_altroot() {
        let text = "rpool\t12\tONLINE\toff\t100\t200\trpool/ROOT/a\t/mnt\r\nb\t13\tSUSPENDED\ton\t-\t-\t-\t-\n";
        let read = pools(text).unwrap();
        assert_eq!(read[0].bootfs.as_ref().unwrap().as_str(), "rpool/ROOT/a");
        assert_eq!(read[0].altroot.as_deref().unwrap(), "/mnt\r");
        assert!(read[1].readonly);
        assert_eq!(read[1].bootfs, None);
    }

    #[test]
    fn what_no_pool_shows_is_an_error() {
        for text in [
            "p\t-\tONLINE\toff\t1\t2\t-\t-\n",
            "p\t+1\tONLINE\toff\t1\t2\t-\t-\n",
            "p\t1\tONLINE\tperhaps\t1\t2\t-\t-\n",
            "p\t1\tONLINE\toff\t18446744073709551616\t2\t-\t-\n",
            "p\t1\tONLINE\toff\t1\t2\t-\tmnt\n",
            "p\t1\tONLINE\toff\t1\t2\t-\t/a\nb\n",
            "p\t1\tONLINE\toff\t1\t2\t-\t-\np\t1\tONLINE\toff\t1\t2\t-\t-\n",
        ] {
            assert!(pools(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn data_that_is_lost_is_told_and_nothing_else() {
        let status = |errors: &str| format!("  pool: p\n state: ONLINE\n\n{errors}");
        assert_eq!(data_errors(&status("errors: No known data errors\n")), None);
        assert_eq!(
            data_errors(&status("errors: 1 data errors, use '-v' for a list\n")),
            Some("1 data errors, use '-v' for a list".to_owned())
        );
        assert_eq!(data_errors(""), None);
    }

    #[test]
    fn the_active_features_are_those_and_no_others() {
        let text = "size\t1G\nfeature@lz4_compress\tactive\nfeature@edonr\tenabled\n\
            feature@draid\tdisabled\ncomment\tfeature@x active\nfeature@head_errlog\tactive\n";
        assert_eq!(active_features(text), ["lz4_compress", "head_errlog"]);
        assert_eq!(active_features(""), Vec::<String>::new());
        assert_eq!(
            usable_features(text),
            ["lz4_compress", "edonr", "head_errlog"]
        );
    }
}
