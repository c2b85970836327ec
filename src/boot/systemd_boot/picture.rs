//! What systemd-boot would see: entries of both kinds, its configuration, its
//! variables; and what it would make of them.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use super::entry::{self, Entry, Own, SORT_KEY, STAGED};
use super::{failback, order};
use crate::boot::copies::{self, IMAGES, Store, names};
use crate::check::image;
use crate::os::loader::LoaderPartition;
use crate::os::{Error, Platform, Result};
use crate::zfs::{DatasetName, Guid};

/// Where entries are, from a partition's root.
pub(super) const ENTRIES: &str = "loader/entries";

/// Where unified images are.
const UNIFIED: &str = "EFI/Linux";

/// The picture.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    /// The partition that is written to.
    pub store: Store,
    /// The entries, in systemd-boot's order.
    pub entries: Vec<Entry>,
    /// This program's own on the partition that is written to which systemd-boot passes
    /// over: what they start is not there any more.
    pub stale: Vec<Entry>,
    /// The greatest number of an entry of this program, also of one that
    /// systemd-boot passes over.
    pub generation: u64,
    /// Files of this program's that are not finished, in [`ENTRIES`].
    pub staged: Vec<String>,
    /// What is in the file of the entry that fails back, whoever made it; nothing
    /// where it is there and cannot be read.
    pub failback: Option<String>,
    /// What is to boot whatever the order says: the first that matches counts.
    pub defaults: Vec<Default_>,
    /// `LoaderEntryOneShot`.
    pub once: Option<String>,
    /// Secure Boot is on: a unified image's own command line counts.
    pub secure_boot: bool,
}

/// Where a default comes from, and its pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Default_ {
    /// "loader.conf", or the variable's name.
    pub source: &'static str,
    /// The pattern.
    pub pattern: String,
    /// One without tries left is not taken.
    pub counts: bool,
}

/// What becomes of the entries when one is added.
pub(super) fn with(entries: &[Entry], new: Entry) -> Vec<Entry> {
    let mut entries = entries.to_vec();
    entries.retain(|entry| entry.file != new.file);
    entries.push(new);
    entries.sort_by(order::entries);
    entries
}

fn read(dir: &Dir, file: &Utf8Path) -> Option<String> {
    let bytes = copies::read(dir, file)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A unified image as an entry: its release file says how it is ordered.
fn unified(dir: &Dir, name: &str) -> Option<Entry> {
    let file = dir.open(Utf8Path::new(UNIFIED).join(name)).ok()?.into_std();
    let image = image::read(file)?;
    let release = image.release.unwrap_or_default();
    let value = |key: &str| {
        release.lines().find_map(|line| {
            let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
            let value = value.trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        })
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key));
    let mut lines = vec![("uki".to_owned(), format!("/{UNIFIED}/{name}"))];
    let found = [
        ("sort-key", first(&["IMAGE_ID", "ID"])),
        (
            "version",
            first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]),
        ),
        ("options", image.command_line),
    ];
    for (key, value) in found {
        lines.extend(value.map(|value| (key.to_owned(), value)));
    }
    Some(Entry {
        file: name.to_owned(),
        here: false,
        lines,
        added: Vec::new(),
        text: String::new(),
    })
}

/// The entries of one partition that systemd-boot would show, and those that it would
/// not: what they start has to be there.
fn entries(partition: &LoaderPartition, here: bool) -> Result<(Vec<Entry>, Vec<Entry>)> {
    let dir = &partition.dir;
    let attempted = |what: &str| Error::io(format!("read {}", partition.directory.join(what)));
    let (mut found, passed): (Vec<Entry>, Vec<Entry>) = names(dir, ENTRIES)
        .map_err(attempted(ENTRIES))?
        .iter()
        .filter_map(|name| {
            let text = read(dir, &Utf8Path::new(ENTRIES).join(name))?;
            Entry::parse(name, here, &text)
        })
        .partition(|entry| {
            entry.image().is_some_and(|image| {
                let path = image.trim_start_matches(['/', '\\']).replace('\\', "/");
                entry.value("uki-url").is_some() || dir.is_file(path)
            })
        });
    let images = names(dir, UNIFIED).map_err(attempted(UNIFIED))?;
    found.extend(
        images
            .iter()
            .filter(|name| name.to_ascii_lowercase().ends_with(".efi"))
            .filter_map(|name| unified(dir, name)),
    );
    Ok((found, passed))
}

impl Picture {
    /// Takes it of the partitions, the first of which is written to.
    ///
    /// # Errors
    /// Where something is there and cannot be read.
    pub(super) fn take(
        platform: &dyn Platform,
        partitions: &[LoaderPartition],
    ) -> Result<Option<Self>> {
        let Some(first) = partitions.first() else {
            return Ok(None);
        };
        let mut picture = Self {
            store: Store::of(first)?,
            ..Self::default()
        };
        for (index, partition) in partitions.iter().enumerate() {
            let (shown, passed) = entries(partition, index == 0)?;
            picture.entries.extend(shown);
            let own = |entry: &Entry| entry.here && entry.own().is_some();
            picture.stale.extend(passed.into_iter().filter(own));
        }
        picture.entries.sort_by(order::entries);
        let attempted = |what: &str| Error::io(format!("read {}", first.directory.join(what)));
        let files = names(&first.dir, ENTRIES).map_err(attempted(ENTRIES))?;
        picture.generation = files
            .iter()
            .filter_map(|name| entry::own(name.strip_suffix(STAGED).unwrap_or(name)))
            .map(|own| own.generation)
            .max()
            .unwrap_or_default();
        picture.failback = files
            .iter()
            .find(|name| failback::is_it(name))
            .map(|name| read(&first.dir, &Utf8Path::new(ENTRIES).join(name)).unwrap_or_default());
        picture.staged = files
            .into_iter()
            .filter(|name| {
                name.strip_suffix(STAGED)
                    .is_some_and(|name| entry::own(name).is_some() || failback::is_it(name))
            })
            .collect();
        picture.once = platform.variable("LoaderEntryOneShot");
        let text = read(&first.dir, "loader/loader.conf".into()).unwrap_or_default();
        picture.defaults = defaults(platform, &text);
        picture.secure_boot = platform.facts().secure_boot;
        Ok(Some(picture))
    }

    /// What boots when these are the entries.
    pub(super) fn chosen<'a>(&self, entries: &'a [Entry]) -> Option<&'a Entry> {
        let matching = |default: &Default_| {
            entries.iter().find(|entry| {
                order::matches(&default.pattern, &entry.file)
                    && !(default.counts && entry.is_exhausted())
            })
        };
        self.defaults
            .iter()
            .find_map(matching)
            .or_else(|| entries.first())
    }

    /// The default that decides when these are the entries, if one does.
    pub(super) fn deciding(&self, entries: &[Entry]) -> Option<&Default_> {
        self.defaults.iter().find(|default| {
            entries
                .iter()
                .any(|entry| order::matches(&default.pattern, &entry.file))
        })
    }

    /// The entry that boots once.
    pub(super) fn once(&self) -> Option<&Entry> {
        let once = self.once.as_deref()?;
        self.entries
            .iter()
            .find(|entry| order::matches(once, &entry.file))
    }

    /// This program's own entries on the partition that is written to, the
    /// newest first.
    pub(super) fn own(&self) -> Vec<(&Entry, Own)> {
        own(&self.entries)
    }
}

/// This program's own among entries, the newest first.
pub(super) fn own(entries: &[Entry]) -> Vec<(&Entry, Own)> {
    let mut own: Vec<(&Entry, Own)> = entries
        .iter()
        .filter(|entry| entry.here && entry.value("sort-key") == Some(SORT_KEY))
        .filter_map(|entry| Some((entry, entry.own()?)))
        .collect();
    own.sort_by_key(|(_, own)| std::cmp::Reverse(own.generation));
    own
}

/// The root an entry names.
pub(super) fn root(entry: &Entry) -> Option<DatasetName> {
    crate::check::root_of(&entry.options())
}

/// What is configured to boot, the strongest first.
fn defaults(platform: &dyn Platform, loader_conf: &str) -> Vec<Default_> {
    let said = |wanted: &str| {
        loader_conf
            .lines()
            .filter_map(entry::line)
            .filter(|(key, value)| {
                key == wanted && (!value.starts_with('@') || value.eq_ignore_ascii_case("@saved"))
            })
            .map(|(_, value)| value)
            .next_back()
    };
    let saved = |pattern: String| {
        if pattern.eq_ignore_ascii_case("@saved") {
            platform.variable("LoaderEntryLastBooted")
        } else {
            Some(pattern)
        }
    };
    let sources = [
        (
            "the variable LoaderEntryPreferred",
            platform.variable("LoaderEntryPreferred"),
            true,
        ),
        ("'preferred' in loader.conf", said("preferred"), true),
        (
            "the variable LoaderEntryDefault",
            platform.variable("LoaderEntryDefault"),
            false,
        ),
        ("'default' in loader.conf", said("default"), false),
    ];
    sources
        .into_iter()
        .filter_map(|(source, pattern, counts)| {
            let pattern = saved(pattern.filter(|pattern| !pattern.is_empty())?)?;
            Some(Default_ {
                source,
                pattern,
                counts,
            })
        })
        .collect()
}

/// What is not needed any more when these are the entries: entries, then
/// copies, from the partition's root.
///
/// Of each environment the newest entry stays, what is to boot once, and the
/// one that is on trial; entries of environments that are not known here may be
/// another system's on the same partition, and stay.
pub(super) fn leftovers(
    picture: &Picture,
    entries: &[Entry],
    known: &dyn Fn(Guid) -> bool,
    trial: Option<Guid>,
    gone: &[Guid],
) -> Vec<Utf8PathBuf> {
    let own = own(entries);
    let mut seen = BTreeSet::new();
    let mut tried = BTreeSet::new();
    let goes = |(entry, own): &&(&Entry, Own)| {
        let Own { guid, .. } = own;
        if gone.contains(guid) {
            return true;
        }
        if !known(*guid) {
            return false;
        }
        let once = picture
            .once
            .as_deref()
            .is_some_and(|once| order::matches(once, &entry.file));
        match entry.counted().1 {
            _ if once => false,
            Some(_) => trial != Some(*guid) || !tried.insert(*guid),
            None => !seen.insert(*guid),
        }
    };
    let mut goes = goes;
    let going: BTreeSet<&str> = own
        .iter()
        .filter(|pair| goes(pair))
        .map(|(entry, _)| entry.file.as_str())
        .collect();
    let stale = picture.stale.iter().filter(|entry| {
        let guid = entry.own().map(|own| own.guid);
        guid.is_some_and(|guid| known(guid) || gone.contains(&guid))
    });
    let mut files: Vec<Utf8PathBuf> = going
        .iter()
        .copied()
        .chain(stale.map(|entry| entry.file.as_str()))
        .chain(picture.staged.iter().map(String::as_str))
        .map(|file| Utf8Path::new(ENTRIES).join(file))
        .collect();
    let needed: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| !going.contains(entry.file.as_str()))
        .flat_map(|entry| {
            let of = |key| entry.values(key);
            of("linux").chain(of("efi")).chain(of("initrd"))
        })
        .filter_map(|path| {
            let path = path.trim_start_matches(['/', '\\']);
            path.strip_prefix(IMAGES)?.split(['/', '\\']).nth(1)
        })
        .collect();
    files.extend(picture.store.unneeded(&needed));
    files
}
