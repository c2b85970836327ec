//! The operations of one transaction group, with the checks of the kernel in
//! its order and with its errors: `dsl_dataset.c`, `dsl_destroy.c`,
//! `zcp_set.c` of OpenZFS 2.3.

use std::str::FromStr as _;

use nix::errno::Errno;

use super::change::Change;
use super::property;
use super::refusal::{Refusal, Ruled, refusal, refuse};
use super::state::{Head, Snap, State, Value};
use super::view;
use crate::zfs::name::MAX_NAME_BYTES;
use crate::zfs::{DatasetName, Guard, Guid, PREFIX, PoolName, SnapshotName, SyncOp};

/// A dataset or a snapshot.
enum Object {
    Dataset(DatasetName),
    Snapshot(SnapshotName),
}

impl Object {
    fn read(name: &str) -> Ruled<Self> {
        let parsed = if name.contains('@') {
            SnapshotName::from_str(name).map(Self::Snapshot)
        } else {
            DatasetName::from_str(name).map(Self::Dataset)
        };
        parsed.map_err(|error| refusal(Errno::EINVAL, error.to_string()))
    }

    fn pool(&self) -> PoolName {
        match self {
            Self::Dataset(name) => name.pool(),
            Self::Snapshot(name) => name.dataset().pool(),
        }
    }

    fn guid(&self, state: &State) -> Ruled<Guid> {
        match self {
            Self::Dataset(name) => state.head(name).map(|head| head.guid),
            Self::Snapshot(name) => state.snap(name).map(|snap| snap.guid),
        }
    }

    /// The value of `org.beadm-rs:<key>`, set or inherited.
    fn shown<'a>(&self, state: &'a State, key: &str) -> Option<&'a str> {
        let property = format!("{PREFIX}{key}");
        match self {
            Self::Dataset(name) => view::inherited(state, name, &property),
            Self::Snapshot(name) => match state.snap(name).ok()?.properties.get(&property) {
                Some(value) => Some(&value.value),
                None => view::inherited(state, &name.dataset(), &property),
            },
        }
    }
}

/// Runs the operations, of which `failed` is the one it stopped at,
/// if it came that far.
pub(super) fn transact(
    change: &mut Change<'_>,
    pool: &PoolName,
    ops: &[SyncOp],
    failed: &mut Option<usize>,
) -> Ruled<()> {
    change.begin(pool)?;
    for (index, op) in ops.iter().enumerate() {
        *failed = Some(index);
        check(change, pool, op, ops)?;
    }
    for (index, op) in ops.iter().enumerate() {
        *failed = Some(index);
        run(change, op)?;
        // What is done stays, whatever becomes of the operations after it.
        change.keep = true;
    }
    Ok(())
}

/// What is looked at before anything is done.
fn check(change: &Change<'_>, pool: &PoolName, op: &SyncOp, all: &[SyncOp]) -> Ruled<()> {
    let state = &change.state;
    let object = match op {
        SyncOp::Mark { object, .. }
        | SyncOp::Unmark { object, .. }
        | SyncOp::Destroy { object, .. } => Object::read(object)?,
        SyncOp::Snapshot { snapshot } => Object::Snapshot(snapshot.clone()),
        SyncOp::Promote { dataset, .. } | SyncOp::Rollback { dataset, .. } => {
            Object::Dataset(dataset.clone())
        }
    };
    if object.pool() != *pool {
        return refuse(Errno::EXDEV, format!("it is not in the pool {pool}"));
    }
    match op {
        SyncOp::Mark { .. } | SyncOp::Unmark { .. } => Ok(()),
        SyncOp::Snapshot { snapshot } => check_snapshot(change, snapshot),
        SyncOp::Promote { dataset, checked } if *checked => promotion(state, dataset).map(drop),
        SyncOp::Promote { .. } => Ok(()),
        SyncOp::Destroy {
            guard, missing_ok, ..
        } => match (object.guid(state), missing_ok) {
            (Err(_), true) => Ok(()),
            (Err(refusal), false) => Err(refusal),
            (Ok(_), _) => {
                guarded(state, &object, guard, all)?;
                match &object {
                    Object::Dataset(name) => in_use(state, state.head(name)?)?,
                    Object::Snapshot(name) => snapshot_in_use(state.snap(name)?)?,
                }
                alone(state, &object, all)
            }
        },
        SyncOp::Rollback { dataset, guard } => {
            guarded(state, &object, guard, all)?;
            in_use(state, state.head(dataset)?)
        }
    }
}

/// One of the operations destroys it.
fn is_doomed(all: &[SyncOp], name: &str) -> bool {
    all.iter()
        .any(|op| matches!(op, SyncOp::Destroy { object, .. } if object == name))
}

/// What hangs on something to be destroyed, and is not destroyed with it
/// (`alone` in `program.lua`).
fn alone(state: &State, object: &Object, all: &[SyncOp]) -> Ruled<()> {
    if all.iter().any(|op| matches!(op, SyncOp::Promote { .. })) {
        return Ok(());
    }
    let refused = |what: String| refuse(Errno::EEXIST, format!("something hangs on it: {what}"));
    match object {
        Object::Snapshot(name) => {
            let snap = state.snap(name)?.object;
            let mut clones = state
                .datasets
                .iter()
                .filter(|(_, head)| head.origin == Some(snap))
                .map(|(clone, _)| clone.to_string());
            match clones.find(|clone| !is_doomed(all, clone)) {
                Some(clone) => refused(format!("{clone} is a clone of it")),
                None => Ok(()),
            }
        }
        Object::Dataset(name) => {
            let mut children = state
                .datasets
                .keys()
                .filter(|other| other.parent().as_ref() == Some(name))
                .map(ToString::to_string);
            if let Some(child) = children.find(|child| !is_doomed(all, child)) {
                return refused(format!("{child} is below it"));
            }
            let mut snapshots = state
                .head(name)?
                .snapshots
                .iter()
                .map(|snap| format!("{name}@{}", snap.name));
            match snapshots.find(|snapshot| !is_doomed(all, snapshot)) {
                Some(snapshot) => refused(format!("{snapshot} is there")),
                None => Ok(()),
            }
        }
    }
}

fn guarded(state: &State, object: &Object, guard: &Guard, all: &[SyncOp]) -> Ruled<()> {
    let guid = object.guid(state)?;
    let same = match guard {
        Guard::Newest { own, snapshot } => match object {
            Object::Dataset(name) if *own == guid => {
                let newest = state
                    .head(name)?
                    .snapshots
                    .iter()
                    .rev()
                    .find(|snap| !is_doomed(all, &format!("{name}@{}", snap.name)));
                if newest.is_none_or(|newest| newest.guid != *snapshot) {
                    let found = newest.map_or_else(
                        || "no snapshot".to_owned(),
                        |newest| format!("{name}@{}", newest.name),
                    );
                    return refuse(
                        Errno::EEXIST,
                        format!("a snapshot was taken meanwhile: {found} is its newest snapshot"),
                    );
                }
                true
            }
            _ => false,
        },
        Guard::Guid(wanted) => *wanted == guid,
        Guard::Origin(wanted) => match object {
            Object::Dataset(name) => {
                let origin = state.head(name)?.origin;
                origin.is_some() && origin == state.snap(wanted).ok().map(|snap| snap.object)
            }
            Object::Snapshot(_) => false,
        },
        Guard::Mark { key, text } => {
            object.shown(state, key) == Some(format!("{guid} {text}").as_str())
        }
        Guard::Setting { key, value } => object.shown(state, key) == Some(value),
    };
    if same {
        return Ok(());
    }
    refuse(
        Errno::ENOENT,
        "it is another object than the one that was looked at before",
    )
}

fn in_use(state: &State, head: &Head) -> Ruled<()> {
    if head.busy || state.mounted(head.object) {
        return refuse(
            Errno::EBUSY,
            "it is in use (mounted somewhere, sent or received)",
        );
    }
    Ok(())
}

fn snapshot_in_use(snap: &Snap) -> Ruled<()> {
    if snap.busy || !snap.holds.is_empty() {
        return refuse(Errno::EBUSY, "the snapshot is held, or in use");
    }
    Ok(())
}

fn run(change: &mut Change<'_>, op: &SyncOp) -> Ruled<()> {
    match op {
        SyncOp::Mark { object, key, text } => mark(change, &Object::read(object)?, key, text),
        SyncOp::Unmark { object, key } => unmark(&mut change.state, &Object::read(object)?, key),
        SyncOp::Snapshot { snapshot } => take_snapshot(change, snapshot),
        SyncOp::Promote { dataset, .. } => promote(&mut change.state, dataset),
        SyncOp::Destroy {
            object, missing_ok, ..
        } => {
            let object = Object::read(object)?;
            match (object.guid(&change.state), missing_ok, &object) {
                (Err(_), true, _) => Ok(()),
                (Err(refusal), false, _) => Err(refusal),
                (Ok(_), _, Object::Dataset(name)) => destroy_head(change, name),
                (Ok(_), _, Object::Snapshot(name)) => destroy_snapshot(&mut change.state, name),
            }
        }
        SyncOp::Rollback { dataset, .. } => rollback(change, dataset),
    }
}

fn mark(change: &mut Change<'_>, object: &Object, key: &str, text: &str) -> Ruled<()> {
    let value = format!("{} {text}", object.guid(&change.state)?);
    let name = format!("{PREFIX}{key}");
    property::check_user(&name, &value)?;
    let properties = match object {
        Object::Dataset(dataset) => &mut change.state.head_mut(dataset)?.properties,
        Object::Snapshot(snapshot) => &mut change.state.snap_mut(snapshot)?.properties,
    };
    properties.insert(name, Value::local(value));
    Ok(())
}

fn unmark(state: &mut State, object: &Object, key: &str) -> Ruled<()> {
    let name = format!("{PREFIX}{key}");
    property::check_user(&name, "")?;
    match object {
        Object::Dataset(dataset) => {
            if let Ok(head) = state.head_mut(dataset) {
                head.properties.remove(&name);
            }
        }
        Object::Snapshot(snapshot) => {
            if let Ok(snap) = state.snap_mut(snapshot) {
                snap.properties.remove(&name);
            }
        }
    }
    Ok(())
}

/// `dsl_dataset_snapshot_check_impl`.
fn check_snapshot(change: &Change<'_>, name: &SnapshotName) -> Ruled<()> {
    let state = &change.state;
    change.room_for_metadata(&name.dataset().pool())?;
    let head = state.head(&name.dataset())?;
    if state
        .previous(head)
        .is_some_and(|s| s.createtxg >= change.txg)
    {
        return refuse(
            Errno::EAGAIN,
            "there is a snapshot of it in this transaction group already",
        );
    }
    if head.snapshots.iter().any(|s| s.name == name.component()) {
        return refuse(Errno::EEXIST, "there is one already");
    }
    if head.receiving {
        return refuse(Errno::EBUSY, "it is being received");
    }
    Ok(())
}

fn take_snapshot(change: &mut Change<'_>, name: &SnapshotName) -> Ruled<()> {
    check_snapshot(change, name)?;
    let dataset = name.dataset();
    let (tree, space) = change.freeze(&dataset)?;
    let snap = Snap {
        object: change.state.number(),
        tree,
        guid: change.state.new_guid(),
        name: name.component().to_owned(),
        createtxg: change.txg,
        creation: change.now,
        properties: super::state::Properties::new(),
        space,
        holds: Vec::new(),
        busy: false,
    };
    let head = change.state.head_mut(&dataset)?;
    head.space = space.unchanged();
    head.snapshots.push(snap);
    Ok(())
}

/// What a promote will do: the dataset the snapshots come from, and how many
/// of them (its oldest) move. `dsl_dataset_promote_check`.
fn promotion(state: &State, name: &DatasetName) -> Ruled<(DatasetName, usize)> {
    let clone = state.head(name)?;
    let Some(origin) = clone.origin else {
        return refuse(Errno::EINVAL, "it is not a clone");
    };
    let Some((owner_name, index)) = state.place(origin) else {
        return Err(Refusal::other("its origin is lost"));
    };
    let owner = state.head(owner_name)?;
    check_promoted_key(state, name, owner_name, owner)?;
    // Newest first, as the kernel goes.
    let moving = || owner.snapshots.iter().take(index + 1).rev();
    let mut colliding = Vec::new();
    for snap in moving() {
        if snap.busy {
            return refuse(
                Errno::EBUSY,
                "a snapshot that would move is in use (a running zfs send, or mounted \
                 under .zfs/snapshot)",
            );
        }
        if name.as_str().len() + 1 + snap.name.len() > MAX_NAME_BYTES {
            return refuse(
                Errno::ENAMETOOLONG,
                format!("'{name}@{}' is too long a name", snap.name),
            );
        }
        if clone.snapshots.iter().any(|s| s.name == snap.name) {
            colliding.push(snap.name.as_str());
        }
    }
    if !colliding.is_empty() {
        return refuse(
            Errno::EEXIST,
            format!(
                "both sides have snapshots (or bookmarks) of the same name: {}",
                colliding.join(" ")
            ),
        );
    }
    let space = moving().map(|snap| snap.space.written).sum();
    super::datasets::transfer_possible(state, Some(owner_name), name, space)?;
    Ok((owner_name.clone(), index + 1))
}

/// `dsl_dataset_promote_crypt_check`.
fn check_promoted_key(
    state: &State,
    clone: &DatasetName,
    owner_name: &DatasetName,
    owner: &Head,
) -> Ruled<()> {
    let Some(root) = owner.encryption_root else {
        return Ok(());
    };
    if owner.origin.is_some() || root == owner.object {
        return Ok(());
    }
    let root_above = |name: &DatasetName| {
        let parent = name.parent()?;
        state.head(&parent).ok()?.encryption_root
    };
    if root_above(owner_name).is_some() && root_above(owner_name) == root_above(clone) {
        return Ok(());
    }
    refuse(Errno::EACCES, "its key's encryption root would change")
}

/// `dsl_dataset_promote_sync`.
fn promote(state: &mut State, name: &DatasetName) -> Ruled<()> {
    let (owner_name, count) = promotion(state, name)?;
    let origin = state.head(name)?.origin;
    let owner = state.head_mut(&owner_name)?;
    let (owner_object, owner_origin) = (owner.object, owner.origin);
    let was_key_root = owner_origin.is_none() && owner.encryption_root == Some(owner_object);
    let key_missing = owner.key_missing;
    let mut moved: Vec<Snap> = owner.snapshots.drain(..count).collect();
    owner.origin = origin;
    let clone = state.head_mut(name)?;
    clone.origin = owner_origin;
    moved.append(&mut clone.snapshots);
    clone.snapshots = moved;
    if was_key_root {
        let clone_object = clone.object;
        clone.key_missing = key_missing;
        for head in state.datasets.values_mut() {
            if head.encryption_root == Some(owner_object) {
                head.encryption_root = Some(clone_object);
            }
        }
    }
    Ok(())
}

/// `dsl_destroy_head_check_impl`, and what it allows.
fn destroy_head(change: &mut Change<'_>, name: &DatasetName) -> Ruled<()> {
    let state = &change.state;
    let head = state.head(name)?;
    in_use(state, head)?;
    if !head.snapshots.is_empty() {
        return refuse(Errno::EBUSY, "it has snapshots");
    }
    // A pool's own dataset has the kernel's hidden ones below it.
    if name.parent().is_none() || state.below(name).next().is_some() {
        return refuse(Errno::EEXIST, "it has children");
    }
    change.remove_head(name)
}

/// `dsl_destroy_snapshot_check_impl`, and what it allows.
fn destroy_snapshot(state: &mut State, name: &SnapshotName) -> Ruled<()> {
    let snap = state.snap(name)?;
    snapshot_in_use(snap)?;
    let object = snap.object;
    if state
        .datasets
        .values()
        .any(|head| head.origin == Some(object))
    {
        return refuse(Errno::EEXIST, "clones hang on it");
    }
    let head = state.head_mut(&name.dataset())?;
    let Some(index) = head.snapshots.iter().position(|s| s.object == object) else {
        return Err(Refusal::other("the snapshot is lost"));
    };
    let gone = head.snapshots.remove(index);
    let next = match head.snapshots.get_mut(index) {
        Some(next) => &mut next.space,
        None => &mut head.space,
    };
    // What only it had is gone; the rest of its changes are now those of the
    // one after it.
    let only = gone.space.written.min(next.freed);
    next.written = (next.written + gone.space.written - only).min(next.referenced);
    next.freed = next.freed + gone.space.freed - only;
    state.trash.push(gone.tree);
    Ok(())
}

/// `dsl_dataset_rollback_check`, and what it allows.
fn rollback(change: &mut Change<'_>, name: &DatasetName) -> Ruled<()> {
    let state = &change.state;
    let head = state.head(name)?;
    let Some(to) = state.previous(head) else {
        return refuse(Errno::ESRCH, "it has no snapshot");
    };
    if to.createtxg >= change.txg {
        return refuse(
            Errno::EAGAIN,
            "its newest snapshot is of this very transaction group",
        );
    }
    in_use(state, head)?;
    let quota = super::datasets::number(head, "refquota");
    if quota != 0 && to.space.referenced > quota {
        return refuse(Errno::EDQUOT, "its snapshot is larger than its refquota");
    }
    let (tree, space) = (to.tree, to.space.unchanged());
    let head = change.state.head_mut(name)?;
    let gone = std::mem::replace(&mut head.tree, tree);
    head.space = space;
    head.dirty = false;
    change.state.trash.push(gone);
    Ok(())
}
