//! Where a loader's partition is looked for.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::os::loader::LoaderPartition;
use crate::os::{Platform, Result};

/// Where it is looked for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: Utf8PathBuf,
    named: Option<Utf8PathBuf>,
}

impl Place {
    /// In the usual directories below a root, or in the one that is named.
    pub(super) fn new(root: Option<&Utf8Path>, named: Option<Utf8PathBuf>) -> Self {
        Self {
            root: root.unwrap_or(Utf8Path::new("/")).to_owned(),
            named,
        }
    }

    /// The partitions that are mounted there, the first one with the loader on it
    /// before the others; none where no partition has the loader.
    pub(super) fn partitions(
        &self,
        platform: &dyn Platform,
        holds_loader: impl Fn(&LoaderPartition) -> bool,
    ) -> Result<Vec<LoaderPartition>> {
        let mut found = platform.partitions(&self.root, self.named.as_deref())?;
        let Some(index) = found.iter().position(holds_loader) else {
            return Ok(Vec::new());
        };
        let own = found.remove(index);
        found.insert(0, own);
        Ok(found)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.named {
            Some(named) => named.fmt(f),
            None => {
                let root = &self.root;
                let [efi, boot_efi, boot] = ["efi", "boot/efi", "boot"].map(|at| root.join(at));
                write!(f, "{efi}, {boot_efi} or {boot}")
            }
        }
    }
}
