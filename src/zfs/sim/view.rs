//! The machine as `zfs list`, `zfs get` and `zpool list` show it: inherited
//! values, names for numbers, sums of sizes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::rc::Rc;

use camino::Utf8PathBuf;

use super::files::Files;
use super::state::{Head, ObjectId, Origin, Properties, Snap, Space, State};
use crate::zfs::{
    Canmount, Dataset, DatasetName, Mountpoint, PREFIX, Pool, Property, SURVEYED, Snapshot,
    SnapshotName, Source,
};

/// What a dataset hands on to those below it and to its snapshots.
#[derive(Clone, Default)]
struct Inherited<'a> {
    marks: BTreeMap<&'static str, &'a str>,
    /// The value, and where it is set.
    mountpoint: Option<(&'a str, &'a DatasetName)>,
    readonly: bool,
}

impl<'a> Inherited<'a> {
    /// What is handed on from an object with these properties set.
    fn with(inherited: &Rc<Self>, name: &'a DatasetName, set: &'a Properties) -> Rc<Self> {
        if set.is_empty() {
            return Rc::clone(inherited);
        }
        let mut own = Self::clone(inherited);
        for key in SURVEYED {
            match surveyed(set, key) {
                // As `zfs list` prints what is not set.
                Some("-") => {
                    own.marks.remove(key);
                }
                Some(value) => {
                    own.marks.insert(key, value);
                }
                None => {}
            }
        }
        if let Some(value) = set.get("mountpoint") {
            own.mountpoint = Some((&value.value, name));
        }
        if let Some(value) = set.get("readonly") {
            own.readonly = value.value == "on";
        }
        Rc::new(own)
    }

    fn marks(&self) -> BTreeMap<String, String> {
        self.marks
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }
}

fn surveyed<'a>(set: &'a Properties, key: &str) -> Option<&'a str> {
    // Compared in two parts: this is the innermost loop of a survey.
    set.range::<str, _>((Bound::Included(PREFIX), Bound::Unbounded))
        .take_while(|(name, _)| name.starts_with(PREFIX))
        .find(|(name, _)| name.get(PREFIX.len()..) == Some(key))
        .map(|(_, value)| value.value.as_str())
}

/// A mountpoint out of where it is set and for whom it is asked: below `/x` of
/// `p/a`, `p/a/b` is `/x/b` (zfsprops(7)); without any, the dataset's name.
fn mountpoint(
    set: Option<(&str, &DatasetName)>,
    name: &DatasetName,
    altroot: Option<&Utf8PathBuf>,
) -> Mountpoint {
    let root = altroot.map_or("", |root| root.as_str().trim_end_matches('/'));
    let path = match set {
        Some(("none", _)) => return Mountpoint::None,
        Some(("legacy", _)) => return Mountpoint::Legacy,
        Some((value, at)) => {
            let rest = name.below(at).unwrap_or_default();
            // Kept as it was written, but for `/` before something.
            match value {
                "/" if !root.is_empty() || !rest.is_empty() => format!("{root}{rest}"),
                value => format!("{root}{value}{rest}"),
            }
        }
        None => format!("{root}/{name}"),
    };
    Mountpoint::Path(path.into())
}

/// The mountpoint of one dataset, without the pool's altroot.
pub(super) fn mountpoint_of(state: &State, name: &DatasetName) -> Mountpoint {
    let mut at = Some(name.clone());
    while let Some(place) = at {
        let set = state
            .datasets
            .get(&place)
            .and_then(|head| head.properties.get("mountpoint"));
        if let Some(value) = set {
            return mountpoint(Some((&value.value, &place)), name, None);
        }
        at = place.parent();
    }
    mountpoint(None, name, None)
}

/// The value of an inherited property of one dataset, where it is set.
pub(super) fn inherited<'a>(
    state: &'a State,
    name: &DatasetName,
    property: &str,
) -> Option<&'a str> {
    let mut at = Some(name.clone());
    while let Some(place) = at {
        let head = state.datasets.get(&place)?;
        if let Some(value) = head.properties.get(property) {
            return Some(&value.value);
        }
        at = place.parent();
    }
    None
}

/// The `readonly` of one dataset, set or inherited.
pub(super) fn is_readonly(state: &State, name: &DatasetName) -> bool {
    inherited(state, name, "readonly") == Some("on")
}

/// The `canmount` of one dataset.
pub(super) fn canmount_of(head: &Head) -> Canmount {
    match head.properties.get("canmount").map(|v| v.value.as_str()) {
        Some("off") => Canmount::Off,
        Some("noauto") => Canmount::Noauto,
        _ => Canmount::On,
    }
}

/// `zpool list`.
pub(super) fn pools(state: &State) -> Vec<Pool> {
    let mut used: HashMap<&str, u64> = HashMap::new();
    for (name, head) in &state.datasets {
        let pool = name.as_str().split('/').next().unwrap_or_default();
        *used.entry(pool).or_default() += State::own_used(head);
    }
    state
        .pools
        .iter()
        .map(|(name, pool)| Pool {
            name: name.clone(),
            guid: pool.guid,
            health: pool.health.clone(),
            readonly: pool.readonly,
            altroot: pool.altroot.clone(),
            bootfs: pool
                .bootfs
                .and_then(|object| state.name_of(object))
                .cloned(),
            free: pool
                .size
                .saturating_sub(used.get(name.as_str()).copied().unwrap_or_default()),
            size: pool.size,
        })
        .collect()
}

/// What is counted once for all datasets.
struct Index<'a> {
    names: HashMap<ObjectId, &'a DatasetName>,
    /// The dataset and the snapshot of a snapshot's number.
    snapshots: HashMap<ObjectId, (&'a DatasetName, &'a Snap)>,
    /// By the origin's number.
    clones: HashMap<ObjectId, Vec<(&'a DatasetName, &'a Head)>>,
    /// Sizes as they are now.
    spaces: HashMap<ObjectId, Space>,
    /// `used`, by name.
    used: HashMap<&'a str, u64>,
}

impl<'a> Index<'a> {
    fn new(state: &'a State, files: &Files) -> Self {
        let mut index = Self {
            names: HashMap::with_capacity(state.datasets.len()),
            snapshots: HashMap::new(),
            clones: HashMap::new(),
            spaces: HashMap::new(),
            used: HashMap::with_capacity(state.datasets.len()),
        };
        for (name, head) in &state.datasets {
            index.names.insert(head.object, name);
            for snap in &head.snapshots {
                index.snapshots.insert(snap.object, (name, snap));
            }
            if let Some(origin) = head.origin {
                index.clones.entry(origin).or_default().push((name, head));
            }
        }
        for head in state.datasets.values().filter(|head| head.dirty) {
            let before = match (head.snapshots.last(), head.origin) {
                (Some(snap), _) => Some(snap.tree),
                (None, Some(origin)) => index.snapshots.get(&origin).map(|(_, s)| s.tree),
                (None, None) => None,
            };
            // Where they cannot be read now, the sizes last known.
            let space = files.measure(head.tree, before, head.space);
            index
                .spaces
                .insert(head.object, space.unwrap_or(head.space));
        }
        // Children come after their parents in the order of names.
        for (name, head) in state.datasets.iter().rev() {
            let own = State::own_used(head) - head.space.written + index.space(head).written;
            let used = index.used.entry(name.as_str()).or_default();
            *used += own;
            let used = *used;
            if let Some((parent, _)) = name.as_str().rsplit_once('/') {
                *index.used.entry(parent).or_default() += used;
            }
        }
        index
    }

    fn space(&self, head: &Head) -> Space {
        self.spaces.get(&head.object).copied().unwrap_or(head.space)
    }

    fn origin(&self, head: &Head) -> Option<SnapshotName> {
        let (dataset, snap) = self.snapshots.get(&head.origin?)?;
        dataset.snapshot(&snap.name).ok()
    }

    fn snapshots(&self, name: &DatasetName, head: &Head, own: &Rc<Inherited<'_>>) -> Vec<Snapshot> {
        let mut all = Vec::with_capacity(head.snapshots.len());
        for (place, snap) in head.snapshots.iter().enumerate() {
            let Ok(snapshot_name) = name.snapshot(&snap.name) else {
                continue;
            };
            let clones = self.clones.get(&snap.object);
            let after = match head.snapshots.get(place + 1) {
                Some(next) => next.space.freed,
                None => self.space(head).freed,
            };
            // What nothing after it has any more, of what came with it.
            let only = clones
                .into_iter()
                .flatten()
                .map(|(_, clone)| match clone.snapshots.first() {
                    Some(first) => first.space.freed,
                    None => self.space(clone).freed,
                })
                .fold(snap.space.written.min(after), u64::min);
            all.push(Snapshot {
                name: snapshot_name,
                guid: snap.guid,
                createtxg: snap.createtxg,
                creation: snap.creation,
                used: only,
                referenced: snap.space.referenced,
                written: snap.space.written,
                clones: clones
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| (*name).clone())
                    .collect(),
                holds: snap.holds.len() as u64,
                marks: Inherited::with(own, name, &snap.properties).marks(),
            });
        }
        all
    }
}

/// `zfs list -r`.
pub(super) fn tree(
    state: &State,
    files: &Files,
    roots: &[DatasetName],
    snapshots: bool,
) -> Vec<Dataset> {
    let index = Index::new(state, files);
    let mut inherited: HashMap<&str, Rc<Inherited<'_>>> = HashMap::new();
    let nothing = Rc::default();
    let mut datasets = Vec::new();
    for (name, head) in &state.datasets {
        let above = name
            .as_str()
            .rsplit_once('/')
            .and_then(|(parent, _)| inherited.get(parent))
            .unwrap_or(&nothing);
        let own = Inherited::with(above, name, &head.properties);
        inherited.insert(name.as_str(), Rc::clone(&own));
        if !roots.iter().any(|root| name.is_within(root)) {
            continue;
        }
        let pool = name.as_str().split('/').next().unwrap_or_default();
        let altroot = pool
            .parse()
            .ok()
            .and_then(|pool| state.pools.get(&pool))
            .and_then(|pool| pool.altroot.as_ref());
        let space = index.space(head);
        let filesystem = head.kind == crate::zfs::Kind::Filesystem;
        datasets.push(Dataset {
            name: name.clone(),
            kind: head.kind,
            guid: head.guid,
            createtxg: head.createtxg,
            creation: head.creation,
            used: index.used.get(name.as_str()).copied().unwrap_or_default(),
            referenced: space.referenced,
            written: space.written,
            origin: index.origin(head),
            canmount: canmount_of(head),
            mountpoint: if filesystem {
                mountpoint(own.mountpoint, name, altroot)
            } else {
                Mountpoint::None
            },
            mounted: state
                .mounts
                .iter()
                .any(|mount| mount.object == head.object && mount.elsewhere.is_none()),
            // The mount's own option is shown (`get_numeric_property`).
            readonly: own.readonly
                || state
                    .mounts
                    .iter()
                    .any(|m| m.object == head.object && m.elsewhere.is_none() && m.readonly),
            encryption_root: head
                .encryption_root
                .and_then(|root| index.names.get(&root))
                .map(|name| (*name).clone()),
            key_loaded: state.key_loaded(head),
            token: super::stream::token(head),
            marks: own.marks(),
            snapshots: if snapshots {
                index.snapshots(name, head, &own)
            } else {
                Vec::new()
            },
        });
    }
    datasets
}

/// `zfs get -r -s local,received all`.
pub(super) fn properties(
    state: &State,
    root: &DatasetName,
) -> BTreeMap<DatasetName, Vec<Property>> {
    let mut all = BTreeMap::new();
    for (name, head) in state
        .datasets
        .iter()
        .filter(|(name, _)| name.is_within(root))
    {
        if head.kind != crate::zfs::Kind::Filesystem {
            continue;
        }
        let altroot = state
            .pool(&name.pool())
            .ok()
            .and_then(|pool| pool.altroot.as_ref());
        let set: Vec<Property> = head
            .properties
            .iter()
            .filter_map(|(property, value)| {
                Some(Property {
                    name: property.clone(),
                    source: match value.source {
                        Origin::Local => Source::Local,
                        Origin::Received => Source::Received,
                        Origin::Fixed => return None,
                    },
                    value: if property == "mountpoint" {
                        mountpoint(Some((&value.value, name)), name, altroot).to_string()
                    } else {
                        value.value.clone()
                    },
                })
            })
            .collect();
        if !set.is_empty() {
            all.insert(name.clone(), set);
        }
    }
    all
}
