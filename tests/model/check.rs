//! What has to be true of a machine after a command, and at any instant of it.

use std::collections::{BTreeMap, BTreeSet};

use beadm_rs::plan::Plan;
use beadm_rs::zfs::{Canmount, DatasetName, Guid, Mountpoint, Property};

use super::deed::Asked;
use super::history::protected;
use super::machine::dataset;
use super::picture::{Item, Picture, Snap};

/// Nothing is recorded as unfinished.
pub fn no_intent(picture: &Picture) {
    for name in picture.datasets.keys() {
        let left = picture
            .mark(name, "op")
            .filter(|text| text.starts_with('{'));
        assert_eq!(left, None, "an intent is left on {name}");
    }
}

/// What is true after every command that was carried out.
pub fn done(asked: &Asked, plan: &Plan, before: &Picture, after: &Picture) {
    no_intent(after);
    protected_are_there(plan, before, after);
    shapes_stay(plan, before, after);
    if plan.operation == "create" {
        new_one_is_whole(plan, before, after);
    }
    rest_stays(asked, plan, before, after);
    // What an old snapshot says of names is another matter: see `regressions`.
    if plan.operation != "rollback" && !asked.from_snapshot {
        fstabs_stay_their_own(plan, before, after);
    }
}

/// No command changes how a dataset comes up at boot, whatever it is called
/// afterwards; what boots next has all that it had.
fn shapes_stay(plan: &Plan, before: &Picture, after: &Picture) {
    for (name, item) in &before.datasets {
        if let Some((_, found)) = after.with_guid(item.guid) {
            assert_eq!(
                (item.canmount, &item.mountpoint),
                (found.canmount, &found.mountpoint),
                "{}: canmount and mountpoint of {name}",
                plan.operation
            );
        }
    }
    for root in before.environments() {
        let guid = before.datasets[root].guid;
        if let Some((now, _)) = after.with_guid(guid) {
            assert_eq!(
                before.shape(root),
                after.shape(now),
                "{}: the datasets of {root}",
                plan.operation
            );
        }
    }
    let next = after.next().expect("something boots next");
    assert!(after.datasets.contains_key(next), "{next} boots next");
}

/// A clone has what its source has, at the same places.
fn new_one_is_whole(plan: &Plan, before: &Picture, after: &Picture) {
    let old: BTreeSet<Guid> = before.datasets.values().map(|item| item.guid).collect();
    let Some((source, target)) = plan.steps.iter().find_map(cloned) else {
        return;
    };
    let fresh = |(_, item): &(&DatasetName, &Item)| !old.contains(&item.guid);
    let made = after.datasets.iter().filter(fresh).count();
    assert!(made > 0, "{plan:#?}");
    let (mut was, is) = (before.shape(&source), after.shape(&target));
    for place in before.apart(&source) {
        was.remove(&place);
    }
    for (place, (canmount, mountpoint)) in &is {
        let (model, path) = &was[place];
        let wanted = match model {
            Canmount::Off => Canmount::Off,
            Canmount::On | Canmount::Noauto => Canmount::Noauto,
        };
        assert_eq!((*canmount, mountpoint), (wanted, path), "{target}{place}");
    }
    let whole = was.len() == is.len();
    let shallow = is.keys().all(|place| place.ends_with('/'));
    // A user's clone inside it has no snapshot of the name asked for, and the
    // request was refused; so nothing is left out.
    assert!(whole || shallow, "{source} {was:?}\n{target} {is:?}");
}

/// From which root to which a plan clones.
fn cloned(step: &beadm_rs::plan::Step) -> Option<(DatasetName, DatasetName)> {
    match &step.action {
        beadm_rs::plan::Action::Clone { clones, .. } => clones
            .first()
            .map(|clone| (clone.snapshot.dataset(), clone.target.clone())),
        _ => None,
    }
}

/// What is not in a tree that was named stays as it is, but for what a
/// promotion does.
fn rest_stays(asked: &Asked, plan: &Plan, before: &Picture, after: &Picture) {
    let mut named = asked.named.clone();
    for root in &asked.named {
        named.push(dataset("bpool/BOOT").child(root.leaf()).unwrap());
    }
    if plan.operation == "failback" {
        // It says itself where it goes.
        named.extend(after.next().cloned());
    }
    // It is received beside the environments.
    for step in &plan.steps {
        if let beadm_rs::plan::Action::Receive(receiving) = &step.action {
            named.extend(receiving.staging.iter().cloned());
        }
    }
    let inside = |name: &DatasetName| named.iter().any(|root| name.is_within(root));
    let promotes = matches!(plan.operation, "activate" | "failback" | "destroy");
    for (name, item) in before.datasets.iter().filter(|(name, _)| !inside(name)) {
        let found = after.datasets.get(name).unwrap_or_else(|| {
            panic!("{}: {name} is gone", plan.operation);
        });
        let bare = |item: &Item| Item {
            snapshots: Vec::new(),
            origin: None,
            properties: item
                .properties
                .iter()
                .filter(|property| {
                    !(*name == dataset("rpool/ROOT") && property.name == "org.beadm-rs:confirmed")
                })
                .cloned()
                .collect(),
            ..item.clone()
        };
        assert_eq!(bare(item), bare(found), "{}: {name}", plan.operation);
        if !promotes {
            // It may be called otherwise after a rename.
            let origin = |picture: &Picture, item: &Item| {
                let origin = item.origin.as_ref()?;
                let found = picture.snapshots().find(|snap| snap.name == *origin);
                found.map(|snap| snap.guid)
            };
            assert_eq!(
                origin(before, item),
                origin(after, found),
                "{}: the origin of {name}",
                plan.operation
            );
        }
    }
    for name in after.datasets.keys().filter(|name| !inside(name)) {
        assert!(
            before.datasets.contains_key(name),
            "{}: {name} is new",
            plan.operation
        );
    }
    // What is being copied to another pool has the same guids there.
    let identity = |snap: &Snap| (snap.name.dataset().pool(), snap.guid);
    let is: BTreeMap<_, _> = after
        .snapshots()
        .map(|snap| (identity(snap), snap))
        .collect();
    for snap in before.snapshots() {
        let own = snap
            .operation()
            .is_some_and(|text| text.ends_with(" create"));
        let Some(found) = is.get(&identity(snap)) else {
            let may_go = inside(&snap.name.dataset())
                || (own && snap.holds.is_empty() && plan.operation == "destroy");
            assert!(may_go, "{}: {} is gone", plan.operation, snap.name);
            assert!(snap.holds.is_empty(), "{} was held", snap.name);
            continue;
        };
        assert_eq!(
            (
                snap.name.component(),
                &snap.holds,
                snap.operation(),
                &snap.files
            ),
            (
                found.name.component(),
                &found.holds,
                found.operation(),
                &found.files
            ),
            "{}: {}",
            plan.operation,
            snap.name
        );
        if !promotes && !inside(&snap.name.dataset()) {
            assert_eq!(snap.name, found.name, "{}", plan.operation);
        }
    }
}

/// What is true wherever a command was stopped, before anything is recovered:
/// what must not be destroyed is there, and what was not named is as it was.
pub fn at_any_instant(asked: &Asked, plan: &Plan, before: &Picture, found: &Picture) {
    protected_are_there(plan, before, found);
    // The record of it comes and goes.
    let mut found = found.clone();
    if let Some(item) = found.datasets.get_mut(&dataset("rpool/ROOT")) {
        let had = |property: &Property| {
            let item = &before.datasets[&dataset("rpool/ROOT")];
            item.properties.contains(property)
        };
        item.properties
            .retain(|property| property.name != "org.beadm-rs:op" || had(property));
    }
    rest_stays(asked, plan, before, &found);
}

fn protected_are_there(plan: &Plan, before: &Picture, after: &Picture) {
    for guid in protected(before) {
        let found = after.with_guid(guid);
        assert!(found.is_some(), "{}: {guid} is gone", plan.operation);
    }
}

/// Where the power was cut, whatever boots is whole, with its own children
/// mounted and no other's.
pub fn boots_whole(plan: &Plan, before: &Picture, after: &Picture, found: &Picture) {
    let root = found.running.as_ref().expect("something runs");
    let guid = found.datasets[root].guid;
    let next = |picture: &Picture| Some(picture.datasets.get(picture.next()?)?.guid);
    assert!(
        [next(before), next(after)].contains(&Some(guid)),
        "{}: {root} boots, neither the old nor the new",
        plan.operation
    );
    let (was, model) = before
        .with_guid(guid)
        .map(|(name, _)| (name, before))
        .or_else(|| after.with_guid(guid).map(|(name, _)| (name, after)))
        .expect("what boots was there before");
    assert_eq!(
        model.shape(was),
        found.shape(root),
        "{}: {root} after a power cut",
        plan.operation
    );
    let roots = found.roots_of(root);
    files_are_whole(plan, before, after, found);
    for (name, item) in &found.datasets {
        let own = roots.iter().any(|root| name.is_within(root));
        let mounted = found.mounts.iter().any(|(mounted, _)| mounted == name);
        let environment = name.is_within(&dataset("rpool/ROOT"))
            || name.is_within(&dataset("bpool/BOOT"))
            || name.is_within(&dataset("tank/ROOT"));
        if environment && !own {
            assert!(!mounted, "{}: {name} is mounted too", plan.operation);
        }
        let path = matches!(&item.mountpoint, Mountpoint::Path(_));
        if own && path && item.canmount != Canmount::Off {
            assert!(mounted, "{}: {name} is not mounted", plan.operation);
        }
    }
}

/// What boots has the files it had before, or those it has afterwards.
fn files_are_whole(plan: &Plan, before: &Picture, after: &Picture, found: &Picture) {
    let root = found.running.as_ref().expect("something runs");
    for tree in found.roots_of(root) {
        for (name, item) in found.datasets.iter().filter(|(n, _)| n.is_within(&tree)) {
            let files = |picture: &Picture| {
                let (_, item) = picture.with_guid(item.guid)?;
                Some(item.files.clone())
            };
            assert!(
                [files(before), files(after)].contains(&Some(item.files.clone())),
                "{}: the files of {name} after a power cut: {:?}",
                plan.operation,
                item.files
            );
        }
    }
}

/// Where a destruction stopped inside its transaction, the snapshots that only
/// what was gone already had come from stay: this program's own, with nothing
/// hanging on them. They are taken out of the picture.
pub fn without_leftovers(plan: &Plan, after: &Picture, found: &Picture) -> Picture {
    let mut found = found.clone();
    if plan.operation == "destroy" {
        let kept: BTreeSet<Guid> = after.snapshots().map(|snap| snap.guid).collect();
        for item in found.datasets.values_mut() {
            item.snapshots.retain(|snap| {
                let own = snap
                    .operation()
                    .is_some_and(|text| text.ends_with(" create"));
                kept.contains(&snap.guid) || !own || !snap.clones.is_empty()
            });
        }
    }
    found
}

/// An environment whose fstab names its own datasets keeps one that does, and
/// hands it on to its clones.
fn fstabs_stay_their_own(plan: &Plan, before: &Picture, after: &Picture) {
    let source = plan.steps.iter().find_map(cloned);
    for root in after.environments() {
        let guid = after.datasets[root].guid;
        let model = match (before.with_guid(guid), &source) {
            (Some((was, _)), _) => was,
            (None, Some((source, target))) if target == root => source,
            (None, _) => continue,
        };
        if names_its_own(before, model) {
            assert!(
                names_its_own(after, root),
                "{}: the fstab of {root} names another environment:\n{:#?}",
                plan.operation,
                after.datasets[root].files
            );
        }
    }
}

/// Whether the fstab of an environment names no other one's datasets.
pub fn names_its_own(picture: &Picture, root: &DatasetName) -> bool {
    let Some(Some(fstab)) = picture.datasets[root].files.first() else {
        return true;
    };
    let beroots = [dataset("rpool/ROOT"), dataset("bpool/BOOT")];
    let own = picture.roots_of(root);
    fstab
        .lines()
        .map(|line| dataset(line.split_whitespace().next().unwrap()))
        .filter(|name| beroots.iter().any(|beroot| name.is_within(beroot)))
        .all(|name| own.iter().any(|root| name.is_within(root)))
}
