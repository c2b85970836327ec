//! What an entry is made from, and whether systemd-boot will do with it what is
//! meant.

use super::entry::Entry;
use super::picture::{self, Picture, with};
use super::{lasting, root_under};
use crate::be::BootEnvironment;
use crate::boot::Switch;
use crate::plan::Refusal;
use crate::survey::Survey;

/// The entry whose keys and options a new one keeps: the environment's own
/// newest, another tool's for it, then those of what runs, then what boots.
pub(super) fn base<'a>(
    survey: &Survey,
    picture: &'a Picture,
    environment: &BootEnvironment<'_>,
) -> Option<&'a Entry> {
    let own = picture.own();
    let stale = picture::own(&picture.stale);
    let of = |environment: &BootEnvironment<'_>| {
        let newest = own
            .iter()
            .chain(&stale)
            .find(|(_, own)| own.guid == environment.guid())
            .map(|(entry, _)| *entry);
        let root = &environment.root.name;
        newest.or_else(|| {
            picture
                .entries
                .iter()
                .find(|entry| picture::root(entry).as_ref() == Some(root))
        })
    };
    of(environment)
        .or_else(|| of(&survey.running()?))
        .or_else(|| {
            picture
                .chosen(&picture.entries)
                .filter(|entry| root_under(entry, &survey.beroot).is_some())
        })
}

/// Whether systemd-boot will do what is meant when these are the entries.
pub(super) fn boots_as_meant(
    picture: &Picture,
    before: &[Entry],
    after: &[Entry],
    new: &Entry,
    switch: Switch,
    attempted: &str,
) -> Result<(), Refusal> {
    let chosen = |entries: &[Entry]| picture.chosen(entries).map(|entry| entry.file.clone());
    let refused = |entries: &[Entry], instead: Option<String>| {
        let instead = instead.unwrap_or_else(|| "nothing".to_owned());
        let refusal = |why: String| Refusal::new(attempted, why);
        match picture.deciding(entries) {
            Some(default) => {
                let remedy = match default.source.rsplit_once(' ') {
                    Some((_, "LoaderEntryDefault")) => "bootctl set-default ''".to_owned(),
                    Some((_, "loader.conf")) => format!(
                        "take that line out of {}, or let it say beadm-rs-*",
                        picture.store.directory.join("loader/loader.conf")
                    ),
                    _ => "bootctl set-preferred ''".to_owned(),
                };
                refusal(format!(
                    "{} says '{}', so systemd-boot boots {instead} whatever comes first, and \
                     counts no tries",
                    default.source, default.pattern
                ))
                .remedy(remedy)
            }
            None => refusal(format!("systemd-boot would boot {instead} before it"))
                .remedy(format!("give {instead} a sort-key that comes later")),
        }
    };
    match switch {
        Switch::Good => match chosen(after) {
            Some(file) if file == new.file => Ok(()),
            other => Err(refused(after, other)),
        },
        Switch::Once => match (chosen(before), chosen(after)) {
            (before, after) if before == after => Ok(()),
            (_, other) => Err(refused(after, other)),
        },
        Switch::Trial { .. } => {
            match chosen(after) {
                Some(file) if file == new.file => {}
                other => return Err(refused(after, other)),
            }
            // As it is when the tries are used up.
            let back = lasting(before);
            let mut exhausted = new.clone();
            let (name, _) = new.counted();
            exhausted.file = format!("{name}+0-1.conf");
            let later = with(&back, exhausted.clone());
            match (chosen(&back), chosen(&later)) {
                (Some(back), Some(then)) if back == then => Ok(()),
                (None, _) => Err(Refusal::new(
                    attempted,
                    "systemd-boot has no other entry to go back to",
                )
                .remedy("--no-trial")),
                (_, other) => Err(refused(&later, other)),
            }
        }
    }
}
