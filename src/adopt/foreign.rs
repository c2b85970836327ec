//! Properties of other tools: read to know a layout by, named, left alone.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::zfs::{DatasetName, Property};

/// The beginnings of property names, and whose they are.
///
/// Sources: zsys `internal/zfs/libzfs/properties.go`, zfsbootmenu(7), illumos
/// `libbe_priv.h`, zectl, kamacite beadm, zfs-auto-snapshot, Debian's
/// `zfs-linux.cron`, syncoid.
const TOOLS: [(&str, &str); 9] = [
    ("com.ubuntu.zsys:", "zsys"),
    ("org.zfsbootmenu:", "ZFSBootMenu"),
    ("org.opensolaris.libbe:", "beadm of illumos"),
    ("com.oracle.libbe:", "beadm of Solaris"),
    ("org.zectl", "zectl"),
    ("ca.kamacite:", "beadm of kamacite"),
    ("com.sun:auto-snapshot", "zfs-auto-snapshot"),
    ("org.debian:periodic-", "Debian's periodic trim and scrub"),
    ("syncoid:", "syncoid"),
];

/// What one tool noted in the pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// Its name.
    pub tool: &'static str,
    /// Its properties.
    pub properties: Vec<Noted>,
}

/// One property of another tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// Where it is set.
    pub dataset: DatasetName,
    /// Its name.
    pub property: String,
    /// Its value.
    pub value: String,
}

/// What other tools noted, in the order of [`TOOLS`].
pub(super) fn of(properties: &BTreeMap<DatasetName, Vec<Property>>) -> Vec<Foreign> {
    TOOLS
        .iter()
        .filter_map(|(prefix, tool)| {
            let noted: Vec<Noted> = properties
                .iter()
                .flat_map(|(dataset, properties)| {
                    properties
                        .iter()
                        .filter(|property| property.name.starts_with(prefix))
                        .map(|property| Noted {
                            dataset: dataset.clone(),
                            property: property.name.clone(),
                            value: property.value.clone(),
                        })
                })
                .collect();
            (!noted.is_empty()).then_some(Foreign {
                tool,
                properties: noted,
            })
        })
        .collect()
}

impl Foreign {
    /// "zsys: com.ubuntu.zsys:bootfs on 4 datasets, …".
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, Vec<&DatasetName>> = BTreeMap::new();
        for noted in &self.properties {
            counts
                .entry(&noted.property)
                .or_default()
                .push(&noted.dataset);
        }
        let phrases: Vec<String> = counts
            .into_iter()
            .map(|(property, datasets)| match datasets.as_slice() {
                [only] => format!("{property} on {only}"),
                many => format!("{property} on {} datasets", many.len()),
            })
            .collect();
        format!("{}: {}", self.tool, phrases.join(", "))
    }
}
