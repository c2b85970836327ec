//! The entry that fails back: for whoever cannot use any more what boots, and
//! stands before the loader's menu. It starts the environment that `failback`
//! leads to, as that one's own entry does, with a word more by which the boot
//! service knows that the rest is to be done.
//!
//! It has no sort key, so it comes behind that very entry, whatever becomes of
//! others, and is no default. It is there only together with it, and starts the
//! same copies.

use super::entry::{self, Entry};
use super::picture::{self, Picture, with};
use super::root_under;
use super::steps::{path, staged, write_back};
use crate::boot::command_line::FAILBACK;
use crate::boot::copies::failback_title;
use crate::plan::Step;
use crate::survey::Survey;
use crate::zfs::Guid;

/// The name of its file.
pub(super) const FILE: &str = "beadm-rs-failback.conf";

/// The comment that says whose it is, and where it leads.
const LEADS: &str = "# beadm-rs: fails back to ";

/// Whether a file of that name is it, or one that is in its place.
pub(crate) fn is_it(file: &str) -> bool {
    file.eq_ignore_ascii_case(FILE)
}

/// Where the text of one leads; `None` where it is somebody else's.
pub(crate) fn leads_to(text: &str) -> Option<Guid> {
    let guid = text.lines().find_map(|line| line.strip_prefix(LEADS))?;
    guid.trim().parse().ok()
}

/// Its text, from the entry of the environment that it leads to.
fn text(own: &Entry, name: &str, guid: Guid) -> String {
    let options = format!("{} {FAILBACK}", own.lasting_options());
    let text = own.edited(&options, |key, value, line| match key {
        _ if entry::is_for_trial(key, value, line) => None,
        "title" => Some(format!("title {}", failback_title(name))),
        // With one it would come before those of others that have none.
        "sort-key" | "version" => None,
        _ => Some(line.to_owned()),
    });
    format!("{LEADS}{guid}\n{text}")
}

/// The text of the one that leads to an environment; `None` where that has no
/// entry of its own that stays, or where the word more would not be read.
fn wanted(survey: &Survey, picture: &Picture, entries: &[Entry], guid: Guid) -> Option<String> {
    survey.environment_with(guid)?;
    let own = picture::own(entries);
    let (entry, _) = own.iter().find(|(entry, own)| {
        own.guid == guid && own.generation > 0 && entry.counted().1.is_none()
    })?;
    if picture.secure_boot && entry.is_unified() {
        return None;
    }
    let root = root_under(entry, &survey.beroot)?;
    Some(text(entry, root.leaf(), guid))
}

/// Another system on the same partition has one, too, and somebody may have made
/// a file of that name: neither is touched.
fn is_ours(survey: &Survey, text: &str) -> bool {
    leads_to(text).is_some_and(|guid| {
        let of_ours = || {
            let entry = Entry::parse(FILE, true, text)?;
            root_under(&entry, &survey.beroot)
        };
        survey.environment_with(guid).is_some() || of_ours().is_some()
    })
}

/// The steps after which it leads to an environment, or is not there; and all
/// entries then. Wherever they stop it leads where it led before, or is not
/// there.
pub(super) fn followed(
    survey: &Survey,
    picture: &Picture,
    mut entries: Vec<Entry>,
    back: Option<Guid>,
) -> (Vec<Step>, Vec<Entry>) {
    let there = picture.failback.as_deref();
    if there.is_some_and(|text| !is_ours(survey, text)) {
        return (Vec::new(), entries);
    }
    let wanted = back.and_then(|guid| wanted(survey, picture, &entries, guid));
    entries.retain(|entry| !(entry.here && is_it(&entry.file)));
    if let Some(text) = &wanted {
        entries = with(&entries, Entry::parse(FILE, true, text).unwrap_or_default());
    }
    let mut steps = Vec::new();
    if wanted.as_deref() == there {
        return (steps, entries);
    }
    let store = &picture.store;
    let away = |file| vec![store.remove(vec![file])];
    if let Some(text) = &wanted {
        let written = store.write(staged(FILE), text.clone());
        steps.push(Step::new("stage-failback", written).undone_by(away(staged(FILE))));
    }
    if let Some(text) = there {
        let gone = Step::new("drop-failback", store.remove(vec![path(FILE)]));
        steps.push(gone.undone_by(write_back(picture, FILE, text)));
    }
    if wanted.is_some() {
        let placed = store.rename(staged(FILE), path(FILE));
        steps.push(Step::new("place-failback", placed).undone_by(away(path(FILE))));
    }
    (steps, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_environments_own_entry_with_another_title_and_a_word_more() {
        let switch = format!("beadm-rs/watch-{}.img", "0a".repeat(32));
        let own = format!(
            "# Made by beadm-rs, which writes it anew at each activation.\n\
             # for the trial: panic=10\n\
             title debian\nsort-key 0beadm-rs\nversion 5\nlinux /beadm-rs/abc/linux\n\
             initrd /{switch}\ninitrd /ucode\ninitrd /beadm-rs/abc/initrd\n\
             options root=ZFS=rpool/ROOT/debian quiet panic=10\narchitecture x64\nx-own  1\n"
        );
        let own = Entry::parse("beadm-rs-7-5.conf", true, &own).unwrap();
        let made = text(&own, "debian", Guid(7));
        assert_eq!(
            made,
            "# beadm-rs: fails back to 7\n\
             # Made by beadm-rs, which writes it anew at each activation.\n\
             title Fail back to debian\nlinux /beadm-rs/abc/linux\n\
             initrd /ucode\ninitrd /beadm-rs/abc/initrd\n\
             options root=ZFS=rpool/ROOT/debian quiet beadm-rs.failback\n\
             architecture x64\nx-own  1\n"
        );
        assert_eq!(leads_to(&made), Some(Guid(7)));
        for other in ["", "title mine\n", "# beadm-rs: fails back to me\n"] {
            assert_eq!(leads_to(other), None, "{other}");
        }
        // It is no entry of an environment's own.
        let made = Entry::parse(FILE, true, &made).unwrap();
        assert!(made.own().is_none() && !made.is_provisional());
    }
}
