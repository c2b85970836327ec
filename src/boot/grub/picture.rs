//! What GRUB would see: the lines that lead to this program's menu, the block,
//! and the menu that it names.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::block::{self, Block, BlockError};
use super::envblock::EnvBlockError;
use super::menu::{self, Entry, Menu, MenuError};
use super::stub::{self, CUSTOM, Stub};
use crate::boot::copies::{self, IMAGES, Store, names};
use crate::boot::place::Place;
use crate::os::loader::{LoaderChange, LoaderPartition};
use crate::os::{Error, Platform};
use crate::plan::{Action, Refusal};
use crate::zfs::Guid;

/// GRUB's own configuration, which grub-mkconfig(8) makes.
const CONFIGURATION: &str = "grub/grub.cfg";

/// Why GRUB would not do what this program's files say, or why that cannot be
/// told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unready {
    #[error("no FAT partition with GRUB's directory is mounted on {0}")]
    Nowhere(Place),
    #[error(transparent)]
    Unreadable(#[from] Error),
    #[error("there is no {0}")]
    NoBlock(Utf8PathBuf),
    #[error("{file} is not as beadm-rs or its menu wrote it: {why}")]
    Block { file: Utf8PathBuf, why: BlockError },
    #[error("the block names the menu {0}, which is not there")]
    NoMenu(Utf8PathBuf),
    #[error("{file} is not as beadm-rs wrote it: {why}")]
    Menu { file: Utf8PathBuf, why: MenuError },
    #[error("the lines that lead GRUB to the menu of beadm-rs are not whole in {0}")]
    Stub(Utf8PathBuf),
    #[error("{0} does not read custom.cfg, so GRUB does not come to the menu of beadm-rs")]
    NotRead(Utf8PathBuf),
    #[error(
        "{0} is on a RAID or a mapped device, to which GRUB cannot write that a try was made, or \
         that something has booted once"
    )]
    Layered(Utf8PathBuf),
    #[error("'{line}' in {file} comes after the lines of beadm-rs and overrules them")]
    Overruled { line: String, file: Utf8PathBuf },
}

impl Unready {
    /// A refusal of what was attempted, with what to do.
    pub(super) fn refusal(self, attempted: &str) -> Refusal {
        let remedy = self.remedy();
        Refusal::new(attempted, self).remedy(remedy)
    }

    /// What to do about it.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Nowhere(_) | Self::Unreadable(_) => "mount it, and try again".to_owned(),
            Self::Block {
                file,
                why: BlockError::Foreign(name),
            } => format!("grub-editenv {file} unset {name}; or beadm-rs init, which makes it anew"),
            Self::NoBlock(_)
            | Self::Block { .. }
            | Self::NoMenu(_)
            | Self::Menu { .. }
            | Self::Stub(_) => "beadm-rs init makes it anew for what runs".to_owned(),
            Self::NotRead(file) => {
                format!("grub-mkconfig -o {file}, with /etc/grub.d/41_custom executable")
            }
            Self::Layered(_) => "--no-trial".to_owned(),
            Self::Overruled { file, .. } => format!("take that line out of {file}"),
        }
    }
}

/// The picture.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// The partition.
    pub store: Store,
    /// The block.
    pub block: Block,
    /// The same as it stands in its file.
    text: String,
    /// The menu that it names.
    pub menu: Menu,
    /// The numbers of all menus there are, sorted.
    menus: Vec<u64>,
}

/// The menus on a partition.
pub(super) fn menus(partition: &LoaderPartition) -> Result<Vec<u64>, Error> {
    let attempted = Error::io(format!("read {}", partition.directory.join(IMAGES)));
    let found = names(&partition.dir, IMAGES).map_err(attempted)?;
    let mut menus: Vec<u64> = found.iter().filter_map(|name| menu::number(name)).collect();
    menus.sort_unstable();
    Ok(menus)
}

/// A text file of a partition; what is no text in it is replaced.
fn text(partition: &LoaderPartition, file: &str) -> Option<String> {
    let bytes = copies::read(&partition.dir, Utf8Path::new(file))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// It has GRUB's directory, or this program's block.
pub(super) fn holds_loader(partition: &LoaderPartition) -> bool {
    [CONFIGURATION, CUSTOM, block::FILE]
        .iter()
        .any(|file| partition.dir.is_file(file))
}

/// It has the block, and the lines that lead to it.
pub(super) fn is_ours(partition: &LoaderPartition) -> bool {
    let led = text(partition, CUSTOM).is_some_and(|custom| is_led(&custom));
    led && partition.dir.is_file(block::FILE)
}

/// The lines are there; those of another version lead to the menu as well.
fn is_led(custom: &str) -> bool {
    matches!(stub::state(custom), Stub::Current | Stub::Other)
}

impl Picture {
    /// Takes it where a loader's partition is looked for.
    pub(super) fn take(place: &Place, platform: &dyn Platform) -> Result<Self, Unready> {
        let mut partitions = place.partitions(platform, is_ours)?;
        if partitions.is_empty() {
            partitions = place.partitions(platform, holds_loader)?;
        }
        let partition = partitions
            .first()
            .ok_or_else(|| Unready::Nowhere(place.clone()))?;
        Self::of(partition)
    }

    /// Takes it of a partition.
    fn of(partition: &LoaderPartition) -> Result<Self, Unready> {
        let at = |file: &str| partition.directory.join(file);
        let custom = text(partition, CUSTOM).unwrap_or_default();
        if !is_led(&custom) {
            return Err(Unready::Stub(at(CUSTOM)));
        }
        let configuration = text(partition, CONFIGURATION).unwrap_or_default();
        let Some((_, rest)) = configuration.rsplit_once("custom.cfg") else {
            return Err(Unready::NotRead(at(CONFIGURATION)));
        };
        for (file, behind) in [(CUSTOM, stub::behind(&custom)), (CONFIGURATION, rest)] {
            if let Some(line) = stub::overruled(behind) {
                return Err(Unready::Overruled {
                    line: line.to_owned(),
                    file: at(file),
                });
            }
        }
        Self::files(partition)
    }

    /// Block and menu, wherever they lead from.
    pub(super) fn files(partition: &LoaderPartition) -> Result<Self, Unready> {
        let at = |file: &str| partition.directory.join(file);
        let bytes = copies::read(&partition.dir, Utf8Path::new(block::FILE))
            .ok_or_else(|| Unready::NoBlock(at(block::FILE)))?;
        let failed = |why| Unready::Block {
            file: at(block::FILE),
            why,
        };
        let block = Block::parse(&bytes).map_err(failed)?;
        let not_text = |_| failed(BlockError::Format(EnvBlockError::NotText));
        let block_text = String::from_utf8(bytes).map_err(not_text)?;
        let file = menu::file(block.menu);
        let found = text(partition, &file).ok_or_else(|| Unready::NoMenu(at(&file)))?;
        let menu = Menu::parse(&found).map_err(|why| Unready::Menu {
            file: at(&file),
            why,
        })?;
        Ok(Self {
            store: Store::of(partition)?,
            block,
            text: block_text,
            menu,
            menus: menus(partition)?,
        })
    }

    /// The number of the next menu: none that is there has it.
    pub(super) fn next(&self) -> u64 {
        let newest = self.menus.last().copied().unwrap_or_default();
        newest.max(self.block.menu).saturating_add(1)
    }

    /// The entry that GRUB starts for a boot that is not for good.
    pub(super) fn provisional(&self, guid: Option<Guid>) -> Option<&Entry> {
        let entry = self.menu.of(guid?)?;
        entry.provisional.is_some().then_some(entry)
    }

    /// The change of the block, and what takes it back.
    ///
    /// # Errors
    /// Where it does not fit.
    pub(super) fn change(&self, to: &Block) -> Result<(Action, Action), EnvBlockError> {
        let to = to.text()?;
        let block = |from: &str, to: &str| {
            Action::Loader(LoaderChange::Block {
                partition: self.store.directory.clone(),
                file: block::FILE.into(),
                from: from.to_owned(),
                to: to.to_owned(),
            })
        };
        Ok((block(&self.text, &to), block(&to, &self.text)))
    }

    /// What is not needed where a menu of that number is shown: other menus, and
    /// the copies that it does not name.
    pub(super) fn leftovers(&self, number: u64, menu: &Menu) -> Vec<Utf8PathBuf> {
        let mut files: Vec<Utf8PathBuf> = self
            .menus
            .iter()
            .chain([&self.block.menu])
            .filter(|other| **other != number)
            .map(|other| menu::file(*other).into())
            .collect();
        files.dedup();
        let provisional = menu.entries.iter().flat_map(|entry| &entry.provisional);
        let switches = provisional
            .flat_map(|more| &more.initrds)
            .filter_map(|path| Utf8Path::new(path).file_name());
        let needed: BTreeSet<&str> = menu
            .entries
            .iter()
            .map(|entry| entry.image.as_str())
            .chain(switches)
            .collect();
        files.extend(self.store.unneeded(&needed));
        files
    }

    /// What is not needed now.
    pub(super) fn orphans(&self) -> Vec<Utf8PathBuf> {
        self.leftovers(self.block.menu, &self.menu)
    }
}
