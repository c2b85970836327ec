//! GRUB on the simulated machine: its programs leave on the partition what is
//! looked at afterwards, and no more.

use camino::Utf8Path;

use super::Sim;
use crate::os::grub::{
    CONFIGURATION, DIRECTORY, Firmware, GrubChange, GrubMachine, OTHER_INSTALL, REMOVABLE,
    bind_in_fstab, fstab_binds,
};
use crate::os::{Error, FileWork, Platform as _, Result};

/// What Debian's `41_custom` puts at the end of every configuration.
const CUSTOM: &str = "\
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
";

/// Where the firmware of a machine without variables finds GRUB.
const BIOS: &str = "grub/i386-pc";

impl Sim {
    fn with_root(&self, writable: bool, work: &mut FileWork<'_>) -> Result<()> {
        match self.root_dataset()? {
            Some(root) => self.with_files(&root, writable, work),
            None => Ok(()),
        }
    }

    /// A machine with the firmware's variables has UEFI. The running system has the
    /// programs of GRUB, unless it has those of other names.
    pub(super) fn how_grub_is_installed(&self, partition: &Utf8Path) -> Result<GrubMachine> {
        let dir = self.loader_partition(partition)?;
        let firmware = if self.has_variables() {
            Firmware::Uefi {
                variables: true,
                removable: dir.exists(REMOVABLE),
            }
        } else {
            Firmware::Bios {
                disks: vec!["/dev/sda".into()],
            }
        };
        let (mut bound, mut elsewhere) = (false, false);
        self.with_root(false, &mut |root| {
            bound = fstab_binds(root).map_err(std::io::Error::other)?;
            elsewhere = root.exists(format!("usr/sbin/{OTHER_INSTALL}"));
            Ok(())
        })?;
        Ok(GrubMachine {
            firmware,
            missing: Vec::new(),
            bound,
            elsewhere,
        })
    }

    /// A change counts as one change.
    pub(super) fn grub_change(&self, change: &GrubChange) -> Result<()> {
        let told = || Error::io(change.to_string());
        self.powered()
            .map_err(|refusal| refusal.platform(change.to_string()))?;
        match change {
            GrubChange::Configure { partition } => {
                let dir = self.loader_partition(partition)?;
                dir.create_dir_all(DIRECTORY).map_err(told())?;
                dir.write(CONFIGURATION, CUSTOM).map_err(told())?;
            }
            GrubChange::Bind { partition, off } => {
                // That is a change already.
                return self.with_root(true, &mut |root| {
                    root.create_dir_all("etc")?;
                    bind_in_fstab(root, partition, *off)
                });
            }
            GrubChange::Install {
                partition,
                firmware,
            } => {
                let dir = self.loader_partition(partition)?;
                let file = match firmware {
                    Firmware::Uefi { .. } => "EFI/debian/grubx64.efi".to_owned(),
                    Firmware::Bios { .. } => format!("{BIOS}/core.img"),
                };
                let parent = Utf8Path::new(&file).parent().unwrap_or("".into());
                dir.create_dir_all(parent).map_err(told())?;
                dir.write(&file, "GRUB, with its files in /grub\n")
                    .map_err(told())?;
            }
        }
        self.spend();
        Ok(())
    }
}
