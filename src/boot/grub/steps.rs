//! The steps of a switch: copies, a menu more, and the block that names it.

use super::Grub;
use super::block::Block;
use super::menu::{self, Entry, Menu, Provisional};
use super::picture::{Picture, Unready};
use super::script::as_given;
use crate::be::BootEnvironment;
use crate::boot::command_line::{PANIC, says_panic, with_root};
use crate::boot::copies::{self, Copied, Purpose, Said};
use crate::boot::{Loader as _, Switch};
use crate::os::Platform;
use crate::plan::{Refusal, Step};
use crate::survey::Survey;
use crate::zfs::{Dataset, Guid};

/// What the block says after a switch to a menu of that number.
pub(super) fn switched(block: &Block, number: u64, target: Guid, switch: Switch) -> Block {
    let block = Block {
        menu: number,
        ..block.clone()
    };
    match switch {
        Switch::Good => Block {
            good: Some(target),
            once: None,
            ..block.without_trial()
        },
        Switch::Trial { tries } => Block {
            trial: Some(target),
            once: None,
            tries,
            done: 0,
            ..block
        },
        Switch::Once => Block {
            once: Some(target),
            ..block
        },
    }
}

/// The menu with everything in it that is still there, called as it is called
/// now, and no entry that `block` does not boot provisionally.
pub(super) fn kept(survey: &Survey, menu: &Menu, block: &Block) -> Menu {
    let is_gone = |entry: &Entry| {
        entry.root.parent().as_ref() == Some(&survey.beroot)
            && survey.environment_with(entry.guid).is_none()
    };
    let entries = menu
        .entries
        .iter()
        .filter(|entry| !is_gone(entry))
        .cloned()
        .map(|mut entry| {
            if let Some(environment) = survey.environment_with(entry.guid) {
                call(&mut entry, environment.root);
            }
            let guid = Some(entry.guid);
            if block.trial != guid && block.once != guid {
                entry.provisional = None;
            }
            entry
        })
        .collect();
    Menu {
        entries,
        ..Menu::default()
    }
    .leading_back_to(menu.failback)
}

/// Names an entry after its root.
fn call(entry: &mut Entry, root: &Dataset) {
    if entry.root != root.name {
        entry.options = with_root(&entry.options, root.name.as_str());
        entry.root = root.name.clone();
    }
    entry.title = root.name.leaf().to_owned();
}

/// The command line an environment gets: its own, else that of what runs, else
/// of what boots, else the one that the kernel was started with.
fn options(
    platform: &dyn Platform,
    survey: &Survey,
    picture: Option<&Picture>,
    environment: &BootEnvironment<'_>,
) -> String {
    let of = |guid: Guid| picture?.menu.of(guid).map(|entry| entry.options.clone());
    let found = of(environment.guid())
        .or_else(|| of(survey.running()?.guid()))
        .or_else(|| of(picture?.block.good?))
        .unwrap_or_else(|| as_given(&platform.facts().command_line));
    with_root(&found, environment.root.name.as_str())
}

/// An environment's entry, for good.
pub(super) fn entry(
    platform: &dyn Platform,
    survey: &Survey,
    picture: Option<&Picture>,
    environment: &BootEnvironment<'_>,
    image: String,
) -> Entry {
    Entry {
        guid: environment.guid(),
        root: environment.root.name.clone(),
        title: environment.name().to_owned(),
        image,
        options: options(platform, survey, picture, environment),
        provisional: None,
    }
}

impl Grub {
    /// The step that makes a menu, which nothing names yet.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn stage_menu(
        picture: &Picture,
        number: u64,
        menu: &Menu,
        attempted: &str,
    ) -> Result<Step, Refusal> {
        let text = menu
            .text()
            .map_err(|error| Refusal::new(attempted, error))?;
        let file = menu::file(number);
        let away = vec![picture.store.remove(vec![file.clone().into()])];
        Ok(Step::new("stage-menu", picture.store.write(file.into(), text)).undone_by(away))
    }

    /// The step that changes the block.
    ///
    /// # Errors
    /// Where it does not fit.
    pub(super) fn change_block(
        name: &'static str,
        picture: &Picture,
        block: &Block,
        attempted: &str,
    ) -> Result<Step, Refusal> {
        let (action, undo) = picture
            .change(block)
            .map_err(|error| Refusal::new(attempted, error))?;
        Ok(Step::new(name, action).undone_by(vec![undo]))
    }

    pub(super) fn staged(
        &self,
        survey: &Survey,
        target: &Dataset,
        switch: Switch,
        back: Option<Guid>,
    ) -> Result<Vec<Step>, Refusal> {
        let name = target.name.leaf();
        let attempted = match switch {
            Switch::Once => format!("activate {name} for one boot"),
            Switch::Good | Switch::Trial { .. } => format!("activate {name}"),
        };
        let picture = self.changeable(&attempted)?;
        if switch != Switch::Good && picture.store.layered {
            let directory = picture.store.directory.clone();
            return Err(Unready::Layered(directory).refusal(&attempted));
        }
        let environment = survey
            .environment_at(&target.name)
            .ok_or_else(|| Refusal::new(&attempted, format!("{} is none", target.name)))?;
        let platform = self.site.platform.as_ref();
        let said = Said {
            loader: self.name(),
            attempted: &attempted,
        };
        let purpose = Purpose {
            switch,
            watch: self.site.watch,
            unified: false,
        };
        let Copied {
            image,
            mut steps,
            watch,
            notes,
            ..
        } = picture.store.copied(
            platform,
            survey,
            &environment,
            purpose,
            picture.orphans(),
            said,
        )?;
        *self.site.told() = notes;
        let mut entry = entry(platform, survey, Some(&picture), &environment, image);
        if switch != Switch::Good {
            let panic = (!says_panic(&entry.options)).then(|| PANIC.to_owned());
            let of_watch = watch.iter().flat_map(|watch| watch.options.clone());
            let options: Vec<String> = panic.into_iter().chain(of_watch).collect();
            entry.provisional = Some(Provisional {
                initrds: watch.iter().map(|watch| watch.file.to_string()).collect(),
                options: options.join(" "),
            });
        }
        let number = picture.next();
        let block = switched(&picture.block, number, target.guid, switch);
        let mut menu = kept(survey, &picture.menu, &block);
        menu.entries.retain(|other| other.guid != target.guid);
        menu.entries.insert(0, entry);
        let menu = menu.leading_back_to(back);
        steps.push(Self::stage_menu(&picture, number, &menu, &attempted)?);
        *self.made() = Some(menu);
        Ok(steps)
    }

    pub(super) fn committing(&self, target: &Dataset, switch: Switch) -> Result<Step, Refusal> {
        let attempted = format!("activate {}", target.name.leaf());
        let picture = self.changeable(&attempted)?;
        let block = switched(&picture.block, picture.next(), target.guid, switch);
        Self::change_block("commit", &picture, &block, &attempted).map(Step::commits)
    }

    /// Whether what boots starts the newest kernel that its environment has.
    pub(super) fn has_its_kernel(&self, survey: &Survey, next: &Dataset) -> Result<bool, Refusal> {
        let attempted = format!("look which kernel {} boots with", next.name.leaf());
        let picture = self.changeable(&attempted)?;
        let entry = picture.menu.of(next.guid);
        let (Some(entry), Some(environment)) = (entry, survey.environment_at(&next.name)) else {
            return Ok(true);
        };
        let newest = copies::newest(self.site.platform.as_ref(), survey, &environment)
            .map_err(|error| Refusal::new(&attempted, error))?;
        Ok(newest.is_none_or(|image| image == entry.image))
    }
}
