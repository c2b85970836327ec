//! The labels of the simulated pools as the loaders of FreeBSD and illumos use
//! them, where the machine's directory says that it has one of them:
//! `DIR/label.vendor` names it (`freebsd`, `illumos`), and `DIR/labels/POOL` is
//! what its command prints of the pool's, which is an empty block of GRUB's where
//! there is no such file.

use std::io;

use camino::Utf8PathBuf;

use super::Sim;
use crate::os::label::{Label, Vendor, dataset, nothing_reads, reading};
use crate::os::{Error, Result};
use crate::zfs::{DatasetName, PoolName};

/// What is printed of a pool that nothing was written to.
const NEW: &str = "nvlist version: 0\n\tversion = 0x0\n\tgrub:envmap = \n";

/// What is printed of an empty list.
const LIST: &str = "nvlist version: 0\n\tversion = 0x1\n";

impl Sim {
    pub(super) fn vendor(&self) -> Option<Vendor> {
        let text = std::fs::read_to_string(self.below("label.vendor")?).ok()?;
        text.trim().parse().ok()
    }

    fn label_file(&self, pool: &PoolName) -> Result<(Utf8PathBuf, Vendor)> {
        let file = self
            .below("labels")
            .map(|labels| labels.join(pool.as_str()));
        file.zip(self.vendor()).ok_or_else(|| nothing_reads(pool))
    }

    fn printed(&self, pool: &PoolName) -> Result<String> {
        let (file, _) = self.label_file(pool)?;
        match std::fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NEW.to_owned()),
            text => text.map_err(Error::io(reading(pool))),
        }
    }

    pub(super) fn read_label(&self, pool: &PoolName) -> Result<Label> {
        let (_, vendor) = self.label_file(pool)?;
        Label::parse(&self.printed(pool)?, vendor).map_err(|detail| Error::Unexpected {
            attempted: reading(pool),
            detail,
        })
    }

    /// As `lzbe_set_boot_device` does it.
    pub(super) fn write_label(&self, pool: &PoolName, once: Option<&str>) -> Result<()> {
        let (file, vendor) = self.label_file(pool)?;
        let before = self.printed(pool)?;
        let list = if before.starts_with(LIST) {
            &before
        } else {
            LIST
        };
        let key = format!("\t{} = ", vendor.key());
        let mut text: String = list
            .split_inclusive('\n')
            .filter(|line| !line.starts_with(&key))
            .collect();
        if let Some(once) = once {
            text.push_str(&format!("{key}{once}\n"));
        }
        let written = || {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)?;
            }
            std::fs::write(&file, text)
        };
        written().map_err(Error::io(format!("write the labels of pool {pool}")))
    }

    /// What the loader boots once: it takes that out of the labels first.
    pub(super) fn take_once(&self, pool: &PoolName) -> Option<DatasetName> {
        let once = self.read_label(pool).ok()?.once?;
        self.write_label(pool, None).ok()?;
        dataset(&once)
    }
}
