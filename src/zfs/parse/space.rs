//! What the space of datasets is for.

use std::collections::BTreeMap;

use super::{ParseError, fail, number};
use crate::zfs::{DatasetName, UsedBy};

/// The columns to ask `zfs list -Hp` for; nothing in them is free text.
pub const USED_BY_COLUMNS: &str = "name,usedbydataset,usedbysnapshots,usedbyrefreservation";

/// What `zfs list -Hp -o` these columns prints.
///
/// # Errors
/// A line that does not have them.
pub fn used_by(text: &str) -> Result<BTreeMap<DatasetName, UsedBy>, ParseError> {
    let mut used = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: &dyn ToString| fail(index + 1, why.to_string(), line);
        let [name, dataset, snapshots, refreservation] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            return Err(wrong(&"it does not have four columns"));
        };
        let name: DatasetName = name.parse().map_err(|error| wrong(&error))?;
        let [dataset, snapshots, refreservation] =
            [dataset, snapshots, refreservation].map(|text| number(text).ok_or(text));
        let not = |text: &str| wrong(&format!("'{text}' is no number"));
        let one = UsedBy {
            dataset: dataset.map_err(not)?,
            snapshots: snapshots.map_err(not)?,
            refreservation: refreservation.map_err(not)?,
        };
        used.insert(name, one);
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dataset_has_three_numbers() {
        let used = used_by("p/ROOT\t98304\t0\t0\np/ROOT/a\t512\t1024\t7\n").unwrap();
        assert_eq!(
            used.get(&"p/ROOT/a".parse().unwrap()),
            Some(&UsedBy {
                dataset: 512,
                snapshots: 1024,
                refreservation: 7
            })
        );
        assert_eq!(used.len(), 2);
    }

    #[test]
    fn what_is_no_number_or_no_dataset_is_an_error() {
        for text in [
            "p\t1\t2\n",
            "p\t1\t2\t-\n",
            "p\t1\t2\t3\t4\n",
            "9\t1\t2\t3\n",
        ] {
            assert!(used_by(text).is_err(), "{text:?}");
        }
    }
}
