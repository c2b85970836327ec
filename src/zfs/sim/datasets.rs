//! What `zfs clone`, `create`, `set`, `rename`, `receive` and `zpool set` do
//! to the state: `libzfs_dataset.c`, `dsl_dir.c`, `dmu_objset.c` of OpenZFS 2.3.

use nix::errno::Errno;

use super::change::Change;
use super::property::{self, When};
use super::refusal::{Refusal, Ruled, refusal, refuse};
use super::state::{Head, ObjectId, Origin, Properties, Snap, Space, State, TreeId, Value};
use crate::zfs::name::MAX_NAME_BYTES;
use crate::zfs::{CloneOf, DatasetName, Guid, Kind, PoolName, Setting, Transfer};

/// `zfs_max_dataset_nesting`.
const MAX_NESTING: usize = 50;

/// A number among a dataset's own properties; 0 where it is not set.
pub(super) fn number(head: &Head, property: &str) -> u64 {
    head.properties
        .get(property)
        .and_then(|value| value.value.parse().ok())
        .unwrap_or_default()
}

/// Whether a dataset can be made there.
pub(super) fn check_target(state: &State, target: &DatasetName) -> Ruled<()> {
    check_parent(state, target)?;
    check_free(state, target)
}

/// Whether there is nothing of that name.
fn check_free(state: &State, target: &DatasetName) -> Ruled<()> {
    if state.datasets.contains_key(target) {
        return refuse(Errno::EEXIST, format!("'{target}': dataset already exists"));
    }
    Ok(())
}

/// Whether there can be something of that name (`check_parents` in
/// `libzfs_dataset.c`, before anything else is looked at).
fn check_parent(state: &State, target: &DatasetName) -> Ruled<()> {
    let parent = match target.parent() {
        Some(parent) => match state.datasets.get(&parent) {
            Some(parent) => parent,
            None => return refuse(Errno::ENOENT, "parent does not exist"),
        },
        None => return refuse(Errno::EINVAL, "missing dataset name"),
    };
    if parent.kind != Kind::Filesystem {
        return refuse(Errno::EINVAL, "parent is not a filesystem");
    }
    if target.depth() >= MAX_NESTING {
        return refuse(Errno::ENAMETOOLONG, "too many levels");
    }
    Ok(())
}

/// The settings as they are kept.
pub(super) fn checked(settings: &[Setting], kind: Kind, when: When) -> Ruled<Properties> {
    settings
        .iter()
        .map(|(name, value)| {
            let (value, source) = property::check(name, value, kind, when)?;
            Ok((name.clone(), Value { value, source }))
        })
        .collect()
}

/// `dsl_dir_set_quota_check`, `dsl_dataset_set_refquota_check`,
/// `dsl_dir_set_reservation_check`.
fn check_space(state: &State, name: &DatasetName, properties: &Properties) -> Ruled<()> {
    let asked = |property: &str| {
        properties
            .get(property)
            .and_then(|value| value.value.parse::<u64>().ok())
            .filter(|number| *number != 0)
    };
    let head = state.head(name)?;
    let used = state.used(name);
    if asked("quota").is_some_and(|quota| quota < used || quota < number(head, "reservation"))
        || asked("refquota").is_some_and(|quota| quota < head.space.referenced)
    {
        return refuse(
            Errno::ENOSPC,
            "size is less than current used or reserved space",
        );
    }
    let pool = name.pool();
    let free = state
        .pool(&pool)?
        .size
        .saturating_sub(state.used(&pool.into()));
    let reservation = asked("reservation")
        .unwrap_or_default()
        .max(asked("refreservation").unwrap_or_default());
    let quota = asked("quota").unwrap_or_else(|| number(head, "quota"));
    if reservation.saturating_sub(used) > free || (quota != 0 && reservation > quota) {
        return refuse(Errno::ENOSPC, "size is greater than available space");
    }
    Ok(())
}

/// Makes a clone without its settings (`dsl_dataset_clone_check`).
pub(super) fn clone_one(change: &mut Change<'_>, clone: &CloneOf) -> Ruled<()> {
    let pool = clone.snapshot.dataset().pool();
    change.state.snap(&clone.snapshot)?;
    check_parent(&change.state, &clone.target)?;
    let kind = change.state.head(&clone.snapshot.dataset())?.kind;
    checked(&clone.settings, kind, When::Cloning)?;
    check_free(&change.state, &clone.target)?;
    if clone.target.pool() != pool {
        return refuse(Errno::EXDEV, "source and target pools differ");
    }
    change.begin(&pool)?;
    change.room_for_metadata(&pool)?;
    let snap = change.state.snap(&clone.snapshot)?;
    let (origin, tree, space) = (snap.object, snap.tree, snap.space.unchanged());
    let encryption_root = change
        .state
        .head(&clone.snapshot.dataset())?
        .encryption_root;
    let mut head = change.new_head(kind, tree, space);
    head.origin = Some(origin);
    head.encryption_root = encryption_root;
    change.state.datasets.insert(clone.target.clone(), head);
    Ok(())
}

/// `zfs create -u`.
pub(super) fn create(
    change: &mut Change<'_>,
    target: &DatasetName,
    settings: &[Setting],
) -> Ruled<()> {
    check_target(&change.state, target)?;
    let properties = checked(settings, Kind::Filesystem, When::Creating)?;
    let pool = target.pool();
    change.begin(&pool)?;
    change.room_for_metadata(&pool)?;
    let tree = change.empty_tree()?;
    let mut head = change.new_head(Kind::Filesystem, tree, Space::default());
    let inherited = target
        .parent()
        .and_then(|parent| change.state.datasets.get(&parent))
        .and_then(|parent| parent.encryption_root);
    head.encryption_root = match properties.get("encryption").map(|v| v.value.as_str()) {
        Some("off") => None,
        Some(_) => Some(head.object),
        None => inherited,
    };
    // `zfs_crypto_create`
    let key = ["keylocation", "keyformat", "pbkdf2iters"];
    if head.encryption_root.is_none()
        && properties
            .iter()
            .any(|(name, value)| key.contains(&name.as_str()) && value.value != "none")
    {
        return refuse(
            Errno::EACCES,
            "Encryption must be turned on to set encryption properties.",
        );
    }
    if head.encryption_root == inherited && !change.state.key_loaded(&head) {
        return refuse(Errno::EACCES, "its parent's key is not loaded");
    }
    change.state.datasets.insert(target.clone(), head);
    for (name, value) in &properties {
        property::check_length(name, &value.value)?;
    }
    check_space(&change.state, target, &properties)?;
    change.state.head_mut(target)?.properties = properties;
    Ok(())
}

/// `zfs set -u`.
pub(super) fn set(
    change: &mut Change<'_>,
    dataset: &DatasetName,
    settings: &[Setting],
    when: When,
) -> Ruled<()> {
    let head = change.state.head(dataset)?;
    let is_key_root = head.encryption_root == Some(head.object);
    let properties = checked(settings, head.kind, when)?;
    if properties.contains_key("keylocation") && !is_key_root {
        return refuse(
            Errno::EINVAL,
            "keylocation may only be set on encryption roots",
        );
    }
    change.begin(&dataset.pool())?;
    let mut refused = None;
    for (name, value) in properties {
        let one = Properties::from([(name, value)]);
        let fits = one
            .iter()
            .try_for_each(|(name, value)| property::check_length(name, &value.value))
            .and_then(|()| check_space(&change.state, dataset, &one));
        match fits {
            Ok(()) => change.state.head_mut(dataset)?.properties.extend(one),
            // What can be set is set (`zfs_set_prop_nvlist`).
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    match refused {
        Some(refusal) => {
            change.keep = true;
            Err(refusal)
        }
        None => Ok(()),
    }
}

/// `zfs rename -u` (`zfs_rename`, `dsl_dir_rename_check`).
pub(super) fn rename(change: &mut Change<'_>, from: &DatasetName, to: &DatasetName) -> Ruled<()> {
    let state = &change.state;
    let head = state.head(from)?;
    if head.kind != Kind::Filesystem {
        // `-u` is for file systems (`zfs_do_rename`).
        return refuse(
            Errno::ENOTSUP,
            "operation not applicable to datasets of this type",
        );
    }
    if from == to {
        return Ok(());
    }
    check_parent(state, to)?;
    if from.pool() != to.pool() || from.parent().is_none() {
        return refuse(Errno::EXDEV, "datasets must be within same pool");
    }
    if to.is_within(from) {
        return refuse(
            Errno::EINVAL,
            "New dataset name cannot be a descendant of current dataset name",
        );
    }
    check_free(state, to)?;
    check_lengths(state, from, to)?;
    if from.parent() != to.parent() {
        check_moved_key(state, head, to)?;
        let space = state.used(from).max(number(head, "reservation"));
        transfer_possible(state, from.parent().as_ref(), to, space)?;
    }
    change.begin(&from.pool())?;
    let names: Vec<DatasetName> = change
        .state
        .below(from)
        .map(|(name, _)| name.clone())
        .chain([from.clone()])
        .collect();
    for name in names {
        let moved = name
            .moved(from, to)
            .map_err(|error| refusal(Errno::ENAMETOOLONG, error.to_string()))?;
        if let Some(head) = change.state.datasets.remove(&name) {
            change.state.datasets.insert(moved, head);
        }
    }
    Ok(())
}

/// `dsl_valid_rename`, for everything below, snapshots included.
fn check_lengths(state: &State, from: &DatasetName, to: &DatasetName) -> Ruled<()> {
    let itself = state.datasets.get_key_value(from);
    for (name, head) in state.below(from).chain(itself) {
        let length = name.as_str().len() - from.as_str().len() + to.as_str().len();
        let snapshot = head.snapshots.iter().map(|s| s.name.len() + 1).max();
        if length + snapshot.unwrap_or_default() > MAX_NAME_BYTES
            || name.depth() + to.depth() >= MAX_NESTING + from.depth()
        {
            return refuse(
                Errno::ENAMETOOLONG,
                format!("the new name of '{name}' or of its snapshots would be too long"),
            );
        }
    }
    Ok(())
}

/// `dsl_dir_rename_crypt_check`.
fn check_moved_key(state: &State, head: &Head, to: &DatasetName) -> Ruled<()> {
    let Some(root) = head.encryption_root.filter(|root| *root != head.object) else {
        return Ok(());
    };
    let above = to
        .parent()
        .and_then(|parent| state.datasets.get(&parent))
        .and_then(|parent| parent.encryption_root);
    if above == Some(root) {
        return Ok(());
    }
    refuse(
        Errno::EACCES,
        "cannot move encrypted child outside of its encryption root",
    )
}

/// Whether the quotas between the two places' common ancestor and `to` have
/// room for `space` bytes more (`dsl_dir_transfer_possible`).
pub(super) fn transfer_possible(
    state: &State,
    from: Option<&DatasetName>,
    to: &DatasetName,
    space: u64,
) -> Ruled<()> {
    let mut next = Some(to.clone());
    while let Some(name) = next {
        if from.is_some_and(|from| from.is_within(&name)) {
            break;
        }
        let quota = state
            .datasets
            .get(&name)
            .map_or(0, |head| number(head, "quota"));
        if quota != 0 && state.used(&name).saturating_add(space) > quota {
            return refuse(Errno::ENOSPC, format!("the quota of '{name}' is reached"));
        }
        next = name.parent();
    }
    Ok(())
}

/// `zpool set bootfs=…`.
pub(super) fn set_bootfs(
    change: &mut Change<'_>,
    pool: &PoolName,
    dataset: Option<&DatasetName>,
) -> Ruled<()> {
    change.state.pool(pool)?;
    let object = match dataset {
        Some(name) if name.pool() != *pool => {
            return refuse(Errno::EINVAL, format!("'{name}' is an invalid name"));
        }
        Some(name) => {
            let head = change.state.head(name)?;
            if head.kind != Kind::Filesystem {
                return refuse(Errno::ENOTSUP, "bootfs must be a file system");
            }
            Some(head.object)
        }
        None => None,
    };
    change.begin(pool)?;
    change.state.pool_mut(pool)?.bootfs = object;
    Ok(())
}

/// Whether a stream can be received, and what of: the sent tree, its sizes
/// and the guid its snapshot keeps.
pub(super) fn check_transfer(state: &State, transfer: &Transfer) -> Ruled<(TreeId, Space, Guid)> {
    let snap = state.snap(&transfer.snapshot)?;
    let sent = state.head(&transfer.snapshot.dataset())?;
    if !transfer.raw && !state.key_loaded(sent) {
        return refuse(Errno::EACCES, "dataset key must be loaded");
    }
    check_arrival(
        state,
        &transfer.target,
        &transfer.settings,
        sent.kind,
        snap.space.referenced,
    )?;
    Ok((snap.tree, snap.space, snap.guid))
}

/// Whether so many bytes can be received as a new dataset.
pub(super) fn check_arrival(
    state: &State,
    target: &DatasetName,
    settings: &[Setting],
    kind: Kind,
    bytes: u64,
) -> Ruled<()> {
    for (name, _) in settings {
        property::check_received(name)?;
    }
    // `zfs_receive_one` looks at what is there before it looks at values.
    check_free(state, target)?;
    if target.parent().is_none() {
        return refuse(
            Errno::ENOENT,
            format!("destination '{target}' does not exist"),
        );
    }
    check_parent(state, target)?;
    checked(settings, kind, When::Cloning)?;
    let pool = target.pool();
    state.writable(&pool)?;
    transfer_possible(state, None, target, bytes)?;
    let used = state.used(&pool.clone().into());
    if used.saturating_add(bytes) > state.pool(&pool)?.size {
        return refuse(Errno::ENOSPC, "out of space");
    }
    Ok(())
}

/// What a receive leaves when all of the stream is there.
pub(super) fn receive(
    change: &mut Change<'_>,
    transfer: &Transfer,
    tree: TreeId,
    sent: Space,
    guid: Guid,
) -> Ruled<()> {
    let head = change.state.head(&transfer.snapshot.dataset())?;
    let arrived = Arrived {
        target: &transfer.target,
        component: transfer.snapshot.component(),
        settings: &transfer.settings,
        kind: head.kind,
        locked: transfer.raw && head.encryption_root.is_some(),
        raw: transfer.raw,
        origin: None,
        tree,
        referenced: sent,
        guid,
    };
    arrive(change, arrived)
}

/// A dataset that has come with all of its stream.
pub(super) struct Arrived<'a> {
    pub(super) target: &'a DatasetName,
    /// The part of its snapshot's name after `@`.
    pub(super) component: &'a str,
    pub(super) settings: &'a [Setting],
    pub(super) kind: Kind,
    /// It is encrypted, and its key did not come with it.
    pub(super) locked: bool,
    /// It came as it lay on disk.
    pub(super) raw: bool,
    /// The snapshot it is a clone of.
    pub(super) origin: Option<ObjectId>,
    pub(super) tree: TreeId,
    pub(super) referenced: Space,
    pub(super) guid: Guid,
}

/// Makes it (`dmu_recv_end_sync`).
pub(super) fn arrive(change: &mut Change<'_>, arrived: Arrived<'_>) -> Ruled<()> {
    let target = arrived.target;
    change.begin(&target.pool())?;
    let all = Space {
        written: arrived.referenced.referenced,
        freed: 0,
        ..arrived.referenced
    };
    let mut head = change.new_head(arrived.kind, arrived.tree, all.unchanged());
    head.origin = arrived.origin;
    head.encryption_root = if arrived.raw {
        arrived.locked.then_some(head.object)
    } else {
        target
            .parent()
            .and_then(|parent| change.state.datasets.get(&parent))
            .and_then(|parent| parent.encryption_root)
    };
    head.key_missing = arrived.locked;
    // It is made when all has arrived (`dmu_recv_end_sync`).
    change.begin(&target.pool())?;
    head.snapshots.push(Snap {
        object: change.state.number(),
        tree: arrived.tree,
        guid: arrived.guid,
        name: arrived.component.to_owned(),
        createtxg: change.txg,
        creation: change.now,
        properties: Properties::new(),
        space: all,
        holds: Vec::new(),
        busy: false,
    });
    head.properties = checked(arrived.settings, arrived.kind, When::Cloning)?;
    change.state.datasets.insert(target.clone(), head);
    Ok(())
}

/// Sets a property whatever the rules say: for tests and demonstrations.
pub(super) fn force(properties: &mut Properties, name: &str, value: &str, received: bool) {
    let source = if received {
        Origin::Received
    } else {
        Origin::Local
    };
    let value = value.to_owned();
    properties.insert(name.to_owned(), Value { value, source });
}

/// Takes back a clone whose settings were refused (`zfs_ioc_clone`).
pub(super) fn take_back(change: &mut Change<'_>, target: &DatasetName) -> Ruled<()> {
    change.begin(&target.pool())?;
    change.remove_head(target).map_err(|refusal| Refusal {
        why: format!("the clone is left behind: {}", refusal.why),
        ..refusal
    })
}
