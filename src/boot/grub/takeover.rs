//! The first files on a partition: what GRUB needs to boot the environment that
//! runs by this program's menu. Nothing reads them until GRUB's own directory
//! is on that partition and the loader was installed to read it.

use camino::Utf8PathBuf;

use super::block::{self, Block};
use super::menu::{self, Menu};
use super::picture::{Picture, holds_loader, menus};
use super::steps::entry;
use super::stub::{self, CUSTOM};
use crate::be::BootEnvironment;
use crate::boot::Switch;
use crate::boot::copies::{self, Copied, Purpose, Said, Store};
use crate::boot::place::Place;
use crate::config;
use crate::os::Platform;
use crate::os::loader::LoaderPartition;
use crate::plan::{Refusal, Step};
use crate::survey::Survey;

/// What is to be done on the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// Where it is mounted.
    pub partition: Utf8PathBuf,
    /// The steps; none where everything is there already.
    pub steps: Vec<Step>,
}

/// The lines in `custom.cfg`, around what somebody else has there.
fn lead(partition: &LoaderPartition, store: &Store, attempted: &str) -> Result<Vec<Step>, Refusal> {
    let file = partition.directory.join(CUSTOM);
    let bytes = copies::read(&partition.dir, CUSTOM.into());
    let old = bytes
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| Refusal::new(attempted, format!("{file} is not UTF-8")))?;
    let text = stub::inserted(old.as_deref().unwrap_or_default()).ok_or_else(|| {
        Refusal::new(
            attempted,
            format!("what beadm-rs wrote in {file} cannot be told from the rest"),
        )
        .remedy("take its lines out, and those that mark them")
    })?;
    let Some(old) = old else {
        let away = vec![store.remove(vec![CUSTOM.into()])];
        return Ok(vec![
            Step::new("lead", store.write(CUSTOM.into(), text)).undone_by(away),
        ]);
    };
    if old == text {
        return Ok(Vec::new());
    }
    let new: Utf8PathBuf = format!("{CUSTOM}.new").into();
    let back = vec![
        store.remove(vec![new.clone(), CUSTOM.into()]),
        store.write(CUSTOM.into(), old),
    ];
    Ok(vec![
        Step::new("stage-lead", store.write(new.clone(), text))
            .undone_by(vec![store.remove(vec![new.clone()])]),
        Step::new("replace-lead", store.remove(vec![CUSTOM.into()])).undone_by(back),
        Step::new("lead", store.rename(new, CUSTOM.into())),
    ])
}

/// The files for the environment that runs: copies of its kernel, a menu with
/// it, the block, and the lines in `custom.cfg`. Whatever of them is there and
/// in order stays.
///
/// # Errors
/// Why they cannot be made: no partition, it is full or read-only, the
/// environment has no kernel of its own.
pub fn takeover(
    platform: &dyn Platform,
    config: &config::Boot,
    survey: &Survey,
    running: &BootEnvironment<'_>,
) -> Result<Takeover, Refusal> {
    let attempted = "have GRUB boot by a menu of beadm-rs";
    let place = Place::new(None, config.esp.clone());
    let looked = |error| Refusal::new(attempted, error);
    let mut found = place.partitions(platform, holds_loader).map_err(looked)?;
    if found.is_empty() {
        found = place.partitions(platform, |_| true).map_err(looked)?;
    }
    let partition = found.first().ok_or_else(|| {
        Refusal::new(
            attempted,
            format!("no FAT partition is mounted on {place}, where GRUB could note what to boot"),
        )
        .remedy("mount the EFI system partition there; where there is none, make one (FAT)")
    })?;
    let store = Store::of(partition).map_err(looked)?;
    store.writable(attempted)?;
    let mut steps = Vec::new();
    let boots = Picture::files(partition).is_ok_and(|picture| {
        let good = picture.block.good;
        good.is_some_and(|good| picture.menu.of(good).is_some())
    });
    if !boots {
        steps = files(platform, survey, running, partition, &store, attempted)?;
    }
    steps.extend(lead(partition, &store, attempted)?);
    Ok(Takeover {
        partition: partition.directory.clone(),
        steps,
    })
}

/// Copies, menu and block.
fn files(
    platform: &dyn Platform,
    survey: &Survey,
    running: &BootEnvironment<'_>,
    partition: &LoaderPartition,
    store: &Store,
    attempted: &str,
) -> Result<Vec<Step>, Refusal> {
    let said = Said {
        loader: super::NAME,
        attempted,
    };
    let purpose = Purpose {
        switch: Switch::Good,
        watch: 0,
        unified: false,
    };
    let Copied {
        image, mut steps, ..
    } = store.copied(platform, survey, running, purpose, Vec::new(), said)?;
    let menu = Menu {
        entries: vec![entry(platform, survey, None, running, image)],
        ..Menu::default()
    };
    let menus = menus(partition).map_err(|error| Refusal::new(attempted, error))?;
    let number = menus.last().map_or(1, |newest| newest.saturating_add(1));
    let block = Block {
        menu: number,
        good: Some(running.guid()),
        ..Block::default()
    };
    let failed = |error: &dyn std::fmt::Display| Refusal::new(attempted, error.to_string());
    let menu_text = menu.text().map_err(|error| failed(&error))?;
    let block_text = block.text().map_err(|error| failed(&error))?;
    let menu_file: Utf8PathBuf = menu::file(number).into();
    let away = |file: Utf8PathBuf| vec![store.remove(vec![file])];
    steps.push(
        Step::new("stage-menu", store.write(menu_file.clone(), menu_text))
            .undone_by(away(menu_file)),
    );
    let write = store.write(block::FILE.into(), block_text);
    let old = copies::read(&partition.dir, block::FILE.into());
    let undo = match old.map(String::from_utf8) {
        Some(Ok(old)) => vec![store.write(block::FILE.into(), old)],
        _ => away(block::FILE.into()),
    };
    steps.push(Step::new("block", write).undone_by(undo));
    Ok(steps)
}
