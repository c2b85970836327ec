//! What belongs to the running environment and has to be mounted: its child
//! datasets, and its `/boot` in a pool of its own. Never what belongs to another
//! one, and `canmount` is not asked but for `off`: every environment's datasets
//! are `noauto`, so that nobody else mounts them.
//!
//! - [`decide`]: what is to be mounted and what is left alone; pure.
//! - [`unit`]: the children as mount units; pure.
//! - [`generator`]: systemd's generator, which writes these.

pub mod generator;
pub mod unit;

use std::collections::BTreeSet;
use std::fmt;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::be::BootEnvironment;
use crate::execute::mount::prepare;
use crate::host::Host;
use crate::os::mountinfo::unescape;
use crate::os::{Error, MountRequest};
use crate::survey::{Survey, SurveyError};
use crate::zfs::{Canmount, Dataset, DatasetName, Kind, Mountpoint};

/// A dataset and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Own {
    /// The dataset.
    pub dataset: DatasetName,
    /// The directory of the running system.
    pub directory: Utf8PathBuf,
}

/// Why something is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The key of this encryption root is not loaded.
    Locked(DatasetName),
    /// `org.openzfs.systemd:ignore=on`.
    Ignored,
    /// Another own dataset has the same place.
    Taken(DatasetName),
    /// Something else is mounted on the place.
    Covered,
    /// This is mounted below the place, and would be hidden.
    Hides(Utf8PathBuf),
    /// Files lie in the place, and would be hidden.
    NotEmpty,
    /// Several pools have one for this environment: these.
    Several(Vec<DatasetName>),
    /// Its mountpoint cannot be written in a unit, or leads elsewhere.
    Odd,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(root) => write!(f, "its key is not loaded (zfs load-key {root})"),
            Self::Ignored => f.write_str("org.openzfs.systemd:ignore is on"),
            Self::Taken(dataset) => write!(f, "{dataset} has the same place"),
            Self::Covered => f.write_str("something else is mounted there"),
            Self::Hides(below) => write!(f, "it would hide what is mounted on {below}"),
            Self::NotEmpty => f.write_str("files lie there, which it would hide"),
            Self::Several(all) => {
                let all: Vec<&str> = all.iter().map(DatasetName::as_str).collect();
                write!(f, "there are several for it: {}", all.join(", "))
            }
            Self::Odd => f.write_str("its mountpoint is no plain path"),
        }
    }
}

/// What is to be mounted, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// In this order.
    pub mounts: Vec<Own>,
    /// What belongs to the environment, is not mounted, and will not be.
    pub left: Vec<(Own, Why)>,
}

/// What there is around the datasets.
#[derive(Debug, Clone, Default)]
pub struct Around<'a> {
    /// The running system's fstab; what it mounts is its affair.
    pub fstab: &'a [u8],
    /// The datasets that are mounted.
    pub mounted: BTreeSet<DatasetName>,
    /// The directories on which anything is mounted.
    pub occupied: BTreeSet<Utf8PathBuf>,
    /// Datasets with `org.openzfs.systemd:ignore=on`.
    pub ignored: BTreeSet<DatasetName>,
}

/// A path without what may be written in several ways; `None` where it is not
/// absolute, leads upwards, or holds what a line of a unit cannot.
fn plain(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let upwards = |part: &Utf8Component<'_>| matches!(part, Utf8Component::ParentDir);
    let path: Utf8PathBuf = path.components().collect();
    let text = path.as_str();
    let writable = !text.chars().any(char::is_control) && !text.ends_with([' ', '\\']);
    (path.is_absolute() && writable && !path.components().any(|part| upwards(&part)))
        .then_some(path)
}

/// The datasets of trees that have a place below `/`, parents first; beside each
/// its place, and `None` for one that is no plain path.
pub fn placed<'a>(
    datasets: impl IntoIterator<Item = &'a Dataset>,
    altroot: Option<&Utf8PathBuf>,
) -> Vec<(&'a Dataset, Utf8PathBuf, bool)> {
    let mut found: Vec<(&Dataset, Utf8PathBuf, bool)> = datasets
        .into_iter()
        .filter(|dataset| dataset.kind == Kind::Filesystem && dataset.canmount != Canmount::Off)
        .filter_map(
            |dataset| match dataset.mountpoint.clone().without(altroot) {
                Mountpoint::Path(path) => Some(match plain(&path) {
                    Some(plain) => (dataset, plain, true),
                    None => (dataset, path, false),
                }),
                Mountpoint::Legacy | Mountpoint::None => None,
            },
        )
        .filter(|(_, path, _)| path != "/")
        .collect();
    found.sort_by(|(one, at, _), (other, place, _)| (at, &one.name).cmp(&(place, &other.name)));
    found
}

/// The directories that an fstab(5) has a line for.
#[must_use]
pub fn directories(fstab: &[u8]) -> BTreeSet<Utf8PathBuf> {
    fstab
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let mut fields = line.split(blank).filter(|field| !field.is_empty());
            let device = fields.next()?;
            let directory = String::from_utf8(unescape(fields.next()?)).ok()?;
            (!device.starts_with(b"#")).then(|| Utf8Path::new(&directory).components().collect())
        })
        .collect()
}

/// What of an environment's children is to be mounted. `children` are the
/// datasets below its root.
pub fn decide<'a>(
    children: impl IntoIterator<Item = &'a Dataset>,
    altroot: Option<&Utf8PathBuf>,
    around: &Around<'_>,
) -> Decided {
    let fstab = directories(around.fstab);
    let mut decided = Decided::default();
    for (dataset, directory, is_plain) in placed(children, altroot) {
        if around.mounted.contains(&dataset.name) || fstab.contains(&directory) {
            continue;
        }
        let own = Own {
            dataset: dataset.name.clone(),
            directory,
        };
        match why_not(dataset, &own, is_plain, around, &decided) {
            None => decided.mounts.push(own),
            Some(why) => decided.left.push((own, why)),
        }
    }
    decided
}

fn why_not(
    dataset: &Dataset,
    own: &Own,
    is_plain: bool,
    around: &Around<'_>,
    decided: &Decided,
) -> Option<Why> {
    if !is_plain {
        return Some(Why::Odd);
    }
    if around.ignored.contains(&own.dataset) {
        return Some(Why::Ignored);
    }
    if !dataset.key_loaded {
        let root = dataset.encryption_root.as_ref().unwrap_or(&dataset.name);
        return Some(Why::Locked(root.clone()));
    }
    let same = |other: &&Own| other.directory == own.directory;
    if let Some(other) = decided.mounts.iter().find(same) {
        return Some(Why::Taken(other.dataset.clone()));
    }
    if around.occupied.contains(&own.directory) {
        return Some(Why::Covered);
    }
    let below = |path: &&Utf8PathBuf| path.starts_with(&own.directory);
    around
        .occupied
        .iter()
        .find(below)
        .map(|path| Why::Hides(path.clone()))
}

/// Adds `/boot` of the environment in a pool of its own: its datasets in the
/// pools that have a namesake. `empty` tells whether `/boot` has no files now.
///
/// More is asked than of a child, since a namesake may be another machine's: it
/// is taken only where it is the only one and hides nothing.
pub fn decide_boot<'a>(
    trees: &[Vec<&'a Dataset>],
    altroot: Option<&Utf8PathBuf>,
    around: &Around<'_>,
    empty: bool,
    decided: &mut Decided,
) {
    let root = |tree: &Vec<&'a Dataset>| tree.first().copied();
    let roots: Vec<&Dataset> = trees.iter().filter_map(root).collect();
    let is_mounted = |root: &&Dataset| around.mounted.contains(&root.name);
    let all: Vec<DatasetName> = roots.iter().map(|root| root.name.clone()).collect();
    let several = roots.len() > 1 && !roots.iter().any(is_mounted);
    for tree in trees {
        let mut found = decide(tree.iter().copied(), altroot, around);
        let is_boot = |own: &Own| own.directory == "/boot";
        if let Some(own) = found.mounts.iter().find(|own| is_boot(own)).cloned() {
            let why = if several {
                Some(Why::Several(all.clone()))
            } else {
                (!empty).then_some(Why::NotEmpty)
            };
            if let Some(why) = why {
                // What lies below it belongs into it.
                found.mounts.clear();
                found.left.insert(0, (own, why));
            }
        }
        let boot = tree.first().map(|root| &root.name);
        let has_boot = boot.is_some_and(|boot| around.mounted.contains(boot))
            || found.mounts.iter().any(is_boot);
        if !has_boot {
            found.mounts.clear();
        }
        decided.mounts.extend(found.mounts);
        decided.left.extend(found.left);
    }
}

/// What of the running environment is to be mounted now.
///
/// # Errors
/// Where the system cannot be read.
pub fn of_running(
    host: &Host,
    survey: &Survey,
    environment: &BootEnvironment<'_>,
) -> Result<Decided, SurveyError> {
    let files = host.platform.running_files()?;
    let fstab = files
        .as_ref()
        .map(|files| generator::fstab(&files.root))
        .transpose()?;
    let trees: Vec<Vec<&Dataset>> = environment
        .roots()
        .into_iter()
        .map(|root| survey.within(&root.name).collect())
        .collect();
    let mut ignored = BTreeSet::new();
    for tree in trees.iter().filter_map(|tree| tree.first()) {
        let properties = host.zfs.effective(&tree.name, &unit::SETTINGS)?;
        let found = properties
            .into_iter()
            .filter(|(_, set)| unit::is_ignored(set));
        ignored.extend(found.map(|(dataset, _)| dataset));
    }
    let around = Around {
        fstab: fstab.as_deref().unwrap_or_default(),
        mounted: survey
            .own_mounts()
            .map(|mount| mount.dataset.clone())
            .collect(),
        occupied: host.platform.occupied()?.into_iter().collect(),
        ignored,
    };
    // A directory that cannot be read holds, for all that is known, files.
    let empty = files.is_some_and(|files| match files.root.read_dir("boot") {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    });
    let Some((own, boots)) = trees.split_first() else {
        return Ok(Decided::default());
    };
    let children = own
        .iter()
        .copied()
        .filter(|dataset| dataset.guid != environment.guid());
    let mut decided = decide(children, survey.altroot_of(&environment.root.name), &around);
    let boot = boots.iter().flatten().next();
    let altroot = boot.and_then(|root| survey.altroot_of(&root.name));
    decide_boot(boots, altroot, &around, empty, &mut decided);
    Ok(decided)
}

/// Mounts one of them. Its directory is made where there is none; a symbolic link
/// on the way is refused.
///
/// # Errors
/// Whatever the system says.
pub fn mount(host: &Host, own: &Own) -> crate::os::Result<()> {
    let attempted = || format!("mount {} on {}", own.dataset, own.directory);
    if let Some(files) = host.platform.running_files()? {
        let below = own.directory.strip_prefix("/").unwrap_or(&own.directory);
        prepare(&files.root, below, false).map_err(Error::io(attempted()))?;
    }
    host.platform.mount(&MountRequest {
        dataset: own.dataset.clone(),
        directory: own.directory.clone(),
        readonly: false,
        legacy: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::Guid;
    use std::collections::BTreeMap;

    pub(super) fn dataset(name: &str, mountpoint: &str, canmount: Canmount) -> Dataset {
        Dataset {
            name: name.parse().unwrap(),
            kind: Kind::Filesystem,
            guid: Guid(1),
            createtxg: 1,
            creation: 0,
            used: 0,
            referenced: 0,
            written: 0,
            origin: None,
            canmount,
            mountpoint: mountpoint.parse().unwrap(),
            mounted: false,
            readonly: false,
            encryption_root: None,
            key_loaded: true,
            token: None,
            marks: BTreeMap::new(),
            snapshots: Vec::new(),
        }
    }

    fn noauto(name: &str, mountpoint: &str) -> Dataset {
        dataset(name, mountpoint, Canmount::Noauto)
    }

    fn shown(decided: &Decided) -> (Vec<String>, Vec<String>) {
        let mounts = decided.mounts.iter();
        let left = decided.left.iter();
        (
            mounts
                .map(|own| format!("{} {}", own.dataset, own.directory))
                .collect(),
            left.map(|(own, why)| format!("{} {}: {why}", own.dataset, own.directory))
                .collect(),
        )
    }

    fn names(list: &[&str]) -> BTreeSet<DatasetName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn children_are_mounted_parents_first_whatever_their_canmount_but_off() {
        let tree = [
            noauto("r/a/usr/local", "/usr/local"),
            noauto("r/a", "/"),
            dataset("r/a/usr", "/usr", Canmount::Off),
            noauto("r/a/var/lib/x", "/var/lib/x"),
            dataset("r/a/var", "/var/", Canmount::On),
            noauto("r/a/legacy", "legacy"),
            noauto("r/a/none", "none"),
            Dataset {
                kind: Kind::Volume,
                ..noauto("r/a/swap", "/swap")
            },
        ];
        let decided = decide(&tree, None, &Around::default());
        assert_eq!(
            shown(&decided),
            (
                vec![
                    "r/a/usr/local /usr/local".to_owned(),
                    "r/a/var /var".to_owned(),
                    "r/a/var/lib/x /var/lib/x".to_owned()
                ],
                vec![]
            )
        );
    }

    #[test]
    fn what_is_mounted_or_in_fstab_is_nobodys_affair_and_the_rest_is_told() {
        let locked = Dataset {
            key_loaded: false,
            encryption_root: Some("r/a/srv".parse().unwrap()),
            ..noauto("r/a/srv/x", "/srv/x")
        };
        let tree = [
            noauto("r/a/var", "/var"),
            noauto("r/a/opt", "/opt"),
            noauto("r/a/two", "/usr/local"),
            noauto("r/a/usr", "/usr/local"),
            noauto("r/a/lib", "/var/lib"),
            noauto("r/a/data", "/data"),
            noauto("r/a/up", "/data/../etc"),
            noauto("r/a/off", "/off"),
            noauto("r/a/spool", "/spool"),
            locked,
        ];
        let around = Around {
            fstab: b"# r/a/usr /usr/local zfs\n\tr/a/opt\t/opt/ zfs zfsutil 0 0\n",
            mounted: names(&["r/a/var"]),
            occupied: ["/data/disk", "/spool", "/var"]
                .map(Utf8PathBuf::from)
                .into(),
            ignored: names(&["r/a/off"]),
        };
        let decided = decide(&tree, None, &around);
        assert_eq!(
            shown(&decided),
            (
                vec![
                    "r/a/two /usr/local".to_owned(),
                    "r/a/lib /var/lib".to_owned()
                ],
                vec![
                    "r/a/data /data: it would hide what is mounted on /data/disk".to_owned(),
                    "r/a/up /data/../etc: its mountpoint is no plain path".to_owned(),
                    "r/a/off /off: org.openzfs.systemd:ignore is on".to_owned(),
                    "r/a/spool /spool: something else is mounted there".to_owned(),
                    "r/a/srv/x /srv/x: its key is not loaded (zfs load-key r/a/srv)".to_owned(),
                    "r/a/usr /usr/local: r/a/two has the same place".to_owned(),
                ]
            )
        );
    }

    #[test]
    fn an_altroot_is_no_part_of_the_place() {
        let tree = [noauto("r/a/var", "/mnt/var")];
        let decided = decide(&tree, Some(&"/mnt".into()), &Around::default());
        assert_eq!(decided.mounts[0].directory, "/var");
    }

    #[test]
    fn boot_is_mounted_where_there_is_one_and_it_hides_nothing() {
        let (boot, efi) = (noauto("b/BOOT/a", "/boot"), noauto("b/BOOT/a/x", "/boot/x"));
        let other = noauto("c/BOOT/a", "/boot");
        let decided = |trees: &[Vec<&Dataset>], around: &Around<'_>, empty| {
            let mut decided = Decided::default();
            decide_boot(trees, None, around, empty, &mut decided);
            shown(&decided)
        };
        let none = Around::default();
        let one = vec![&boot, &efi];
        let whole = (
            vec!["b/BOOT/a /boot".to_owned(), "b/BOOT/a/x /boot/x".to_owned()],
            vec![],
        );
        assert_eq!(decided(std::slice::from_ref(&one), &none, true), whole);
        assert_eq!(
            decided(std::slice::from_ref(&one), &none, false),
            (
                vec![],
                vec!["b/BOOT/a /boot: files lie there, which it would hide".to_owned()]
            )
        );
        let both = [one.clone(), vec![&other]];
        let (mounts, left) = decided(&both, &none, true);
        assert!(mounts.is_empty());
        assert_eq!(
            left,
            [
                "b/BOOT/a /boot: there are several for it: b/BOOT/a, c/BOOT/a",
                "c/BOOT/a /boot: there are several for it: b/BOOT/a, c/BOOT/a"
            ]
        );
        let mounted = Around {
            mounted: names(&["b/BOOT/a"]),
            occupied: ["/boot"].map(Utf8PathBuf::from).into(),
            ..Around::default()
        };
        assert_eq!(
            decided(std::slice::from_ref(&one), &mounted, false),
            (vec!["b/BOOT/a/x /boot/x".to_owned()], vec![])
        );
        let fstab = Around {
            fstab: b"b/BOOT/a /boot zfs zfsutil 0 0\n",
            ..Around::default()
        };
        assert_eq!(decided(&[one], &fstab, true), (vec![], vec![]));
    }
}
