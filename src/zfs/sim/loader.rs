//! The simulated machine's loader partition and firmware variables, where its
//! directory has them: `DIR/esp/` is mounted, its identity is its name, and
//! `DIR/efi/NAME` is what a variable says; where there is a `BootOrder`, the
//! firmware boots by options. `DIR/esp.free`, if there, says how many bytes are free, and
//! `DIR/cmdline` what command line the kernel was started with. With
//! `DIR/esp.layered` it is on a RAID. `DIR/watched` is the dead man's switch of
//! this boot.

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use super::Sim;
use crate::os::firmware::{Boots, NEXT, ORDER};
use crate::os::loader::{LoaderChange, LoaderPartition, perform};
use crate::os::{Error, Result};
use crate::zfs::DatasetName;

/// Free bytes where nothing is said.
const FREE: u64 = 1 << 30;

impl Sim {
    pub(super) fn below(&self, name: &str) -> Option<Utf8PathBuf> {
        Some(self.inner.store.directory.as_ref()?.join(name))
    }

    pub(super) fn command_line(&self) -> String {
        let text = self.below("cmdline").map(std::fs::read_to_string);
        text.and_then(std::result::Result::ok)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    }

    pub(super) fn loader_partitions(
        &self,
        named: Option<&Utf8Path>,
    ) -> Result<Vec<LoaderPartition>> {
        let place = named.map(Utf8Path::to_owned).or_else(|| self.below("esp"));
        let Some(directory) = place.filter(|directory| directory.is_dir()) else {
            return Ok(Vec::new());
        };
        let said = self
            .below("esp.free")
            .and_then(|path| std::fs::read_to_string(path).ok())
            .and_then(|text| text.trim().parse().ok());
        Ok(vec![LoaderPartition {
            dir: self.loader_partition(&directory)?,
            uuid: directory.file_name().map(str::to_owned),
            directory,
            free: said.unwrap_or(FREE),
            readonly: false,
            layered: self.below("esp.layered").is_some_and(|path| path.exists()),
        }])
    }

    pub(super) fn loader_partition(&self, directory: &Utf8Path) -> Result<Dir> {
        Dir::open_ambient_dir(directory, ambient_authority())
            .map_err(Error::io(format!("open {directory}")))
    }

    /// Whether it has any firmware variables.
    pub(super) fn has_variables(&self) -> bool {
        self.below("efi")
            .is_some_and(|directory| directory.is_dir())
    }

    pub(super) fn firmware_variable(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.below("efi")?.join(name)).ok()?;
        Some(text.trim_end_matches('\n').to_owned())
    }

    pub(super) fn set_firmware_variable(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        let attempted = || format!("change the EFI variable {name}");
        let Some(path) = self.below("efi").map(|directory| directory.join(name)) else {
            return Err(Error::Unexpected {
                attempted: attempted(),
                detail: "there is no such firmware".to_owned(),
            });
        };
        match value {
            Some(value) => std::fs::write(path, value),
            None => match std::fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        }
        .map_err(Error::io(attempted()))
    }

    /// The bytes of the firmware's own variables.
    pub(super) fn boots(&self) -> Result<Option<Boots>> {
        let Some(directory) = self.below("efi") else {
            return Ok(None);
        };
        if !directory.join(ORDER).exists() {
            return Ok(None);
        }
        let read = || -> std::io::Result<Vec<(String, Vec<u8>)>> {
            let mut variables = Vec::new();
            for entry in directory.read_dir_utf8()? {
                let entry = entry?;
                let bytes = std::fs::read(entry.path())?;
                variables.push((entry.file_name().to_owned(), bytes));
            }
            Ok(variables)
        };
        let variables = read().map_err(Error::io(format!("read {directory}")))?;
        Ok(Some(Boots::of(variables)))
    }

    /// What the firmware starts once: it deletes that first.
    pub(super) fn take_boot_next(&self) -> Option<DatasetName> {
        let boots = self.boots().ok()??;
        let (_, option) = boots.own_next()?;
        std::fs::remove_file(self.below("efi")?.join(NEXT)).ok()?;
        crate::check::root_of(&option.options)
    }

    /// The switch of a simulated boot is a file.
    pub(super) fn is_switch_there(&self) -> bool {
        self.below("watched").is_some_and(|file| file.exists())
    }

    pub(super) fn end_switch(&self) -> Result<bool> {
        let Some(file) = self.below("watched").filter(|file| file.exists()) else {
            return Ok(false);
        };
        std::fs::remove_file(file).map_err(Error::io("end the dead man's switch"))?;
        Ok(true)
    }

    /// A change of the loader counts as one change.
    pub(super) fn loader_change(&self, change: &LoaderChange) -> Result<()> {
        self.powered()
            .map_err(|refusal| refusal.platform(change.to_string()))?;
        perform(self, change)?;
        self.spend();
        Ok(())
    }
}
