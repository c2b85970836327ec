//! What this program's own environment block says: which menu there is, what
//! boots by default, once and on trial.

use std::collections::BTreeMap;

use super::envblock::{EnvBlock, EnvBlockError};
use crate::zfs::Guid;

/// Where the block is, from the partition's root.
pub(super) const FILE: &str = "beadm-rs/grubenv";

/// Its variables, in the order they stand in it.
pub(super) const VARIABLES: [&str; 6] = [MENU, GOOD, TRIAL, ONCE, TRIES, DONE];

pub(super) const MENU: &str = "beadm_rs_menu";
pub(super) const GOOD: &str = "beadm_rs_good";
pub(super) const TRIAL: &str = "beadm_rs_trial";
pub(super) const ONCE: &str = "beadm_rs_once";
/// GRUB cannot count: there is a 1 for each.
pub(super) const TRIES: &str = "beadm_rs_tries";
pub(super) const DONE: &str = "beadm_rs_done";

/// The block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// The number of the menu that is shown.
    pub menu: u64,
    /// What boots by default.
    pub good: Option<Guid>,
    /// What is being tried.
    pub trial: Option<Guid>,
    /// What boots once.
    pub once: Option<Guid>,
    /// How many tries there are left.
    pub tries: u32,
    /// How many were made.
    pub done: u32,
}

/// Why a block is not this program's, or was changed by somebody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No block at all.
    #[error(transparent)]
    Format(#[from] EnvBlockError),
    /// A variable that is not there.
    #[error("{0} is not in it")]
    Missing(&'static str),
    /// A variable of somebody else's, or one that is there twice.
    #[error("{0} in it is not beadm-rs's")]
    Foreign(String),
    /// A value that this program does not write.
    #[error("{0} in it says '{1}'")]
    Value(&'static str, String),
}

impl Block {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is not as this program, or GRUB by this program's menu, wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut said = BTreeMap::new();
        for (name, value) in EnvBlock::parse(bytes)?.variables {
            let Some(known) = VARIABLES.iter().find(|known| **known == name) else {
                return Err(BlockError::Foreign(name));
            };
            if said.insert(*known, value).is_some() {
                return Err(BlockError::Foreign(name));
            }
        }
        let mut of = |name: &'static str| said.remove(name).ok_or(BlockError::Missing(name));
        let number = |name, value: String| {
            let canonical = |number: &u64| number.to_string() == value;
            let number = value.parse::<u64>().ok().filter(canonical);
            number.ok_or(BlockError::Value(name, value))
        };
        let guid = |name, value: String| {
            if value.is_empty() {
                Ok(None)
            } else {
                number(name, value).map(|number| Some(Guid(number)))
            }
        };
        let unary = |name, value: String| match u32::try_from(value.len()) {
            Ok(count) if value.bytes().all(|byte| byte == b'1') => Ok(count),
            _ => Err(BlockError::Value(name, value)),
        };
        Ok(Self {
            menu: number(MENU, of(MENU)?)?,
            good: guid(GOOD, of(GOOD)?)?,
            trial: guid(TRIAL, of(TRIAL)?)?,
            once: guid(ONCE, of(ONCE)?)?,
            tries: unary(TRIES, of(TRIES)?)?,
            done: unary(DONE, of(DONE)?)?,
        })
    }

    /// The file, byte for byte.
    ///
    /// # Errors
    /// Where there are more tries than fit.
    pub fn text(&self) -> Result<String, EnvBlockError> {
        let guid = |guid: Option<Guid>| guid.map_or_else(String::new, |guid| guid.to_string());
        let unary = |count: u32| "1".repeat(usize::try_from(count).unwrap_or(usize::MAX).min(1024));
        let values = [
            self.menu.to_string(),
            guid(self.good),
            guid(self.trial),
            guid(self.once),
            unary(self.tries),
            unary(self.done),
        ];
        let variables = VARIABLES
            .iter()
            .map(|name| (*name).to_owned())
            .zip(values)
            .collect();
        EnvBlock { variables }.text()
    }

    /// Nothing is tried any more.
    pub(super) fn without_trial(self) -> Self {
        Self {
            trial: None,
            tries: 0,
            done: 0,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SET: &[u8] = include_bytes!("../../../tests/fixtures/grub/set");
    const COUNTED: &[u8] = include_bytes!("../../../tests/fixtures/grub/counted");
    const ENDED: &[u8] = include_bytes!("../../../tests/fixtures/grub/ended");
    const ODD: &[u8] = include_bytes!("../../../tests/fixtures/grub/odd");
    const CREATED: &[u8] = include_bytes!("../../../tests/fixtures/grub/created");

    fn set() -> Block {
        Block {
            menu: 12,
            good: Some(Guid(17_363_634_134_137_000_111)),
            trial: Some(Guid(555)),
            once: None,
            tries: 3,
            done: 0,
        }
    }

    #[test]
    fn what_the_tool_set_and_counted_is_read_and_written_the_same() {
        let counted = Block {
            tries: 2,
            done: 1,
            ..set()
        };
        let ended = Block {
            menu: 13,
            good: Some(Guid(555)),
            ..set().without_trial()
        };
        for (bytes, block) in [(SET, set()), (COUNTED, counted), (ENDED, ended)] {
            assert_eq!(Block::parse(bytes), Ok(block.clone()));
            assert_eq!(block.text().unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_told() {
        let told = |bytes: &[u8]| Block::parse(bytes).unwrap_err().to_string();
        assert_eq!(told(CREATED), "beadm_rs_menu is not in it");
        assert_eq!(told(ODD), "saved_entry in it is not beadm-rs's");
        let changed = |from: &str, to: &str| {
            let text = std::str::from_utf8(SET).unwrap().replacen(from, to, 1);
            told(text.as_bytes())
        };
        assert_eq!(changed("=12", "=+1"), "beadm_rs_menu in it says '+1'");
        assert_eq!(changed("=12", "=01"), "beadm_rs_menu in it says '01'");
        assert_eq!(changed("=111", "=1x1"), "beadm_rs_tries in it says '1x1'");
        assert_eq!(
            changed("beadm_rs_done", "beadm_rs_menu"),
            "beadm_rs_menu in it is not beadm-rs's"
        );
        assert_eq!(
            told(b"x"),
            "it has 1 bytes, and an environment block has 1024"
        );
    }

    #[test]
    fn everything_that_changes_lies_in_the_first_sector() {
        // Every variable as long as it can be: a write of it changes one sector.
        let most = Some(Guid(u64::MAX));
        let block = Block {
            menu: u64::MAX,
            good: most,
            trial: most,
            once: most,
            tries: 99,
            done: 99,
        };
        let text = block.text().unwrap();
        assert!(text[512..].bytes().all(|byte| byte == b'#'));
        assert_eq!(Block::parse(text.as_bytes()), Ok(block));
    }

    proptest! {
        #[test]
        fn a_block_is_read_as_it_was_written(
            menu: u64, good: Option<u64>, trial: Option<u64>, once: Option<u64>,
            tries in 0..100u32, done in 0..100u32,
        ) {
            let block = Block {
                menu,
                good: good.map(Guid),
                trial: trial.map(Guid),
                once: once.map(Guid),
                tries,
                done,
            };
            let text = block.text().unwrap();
            prop_assert_eq!(Block::parse(text.as_bytes()), Ok(block));
        }
    }
}
