//! Who hangs on whom, and what a promotion does to it.
//!
//! Promoting a clone gives it its origin and every snapshot before it; the
//! dataset it was cloned from becomes a clone of that origin instead
//! (zfs-promote(8)). Planners try promotions here first.

use std::collections::{BTreeMap, BTreeSet};

use crate::survey::Survey;
use crate::zfs::{DatasetName, Guid, Snapshot, SnapshotName};

/// A snapshot, wherever it has moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snap {
    /// What follows the `@`.
    pub component: String,
    /// Its identity.
    pub guid: Guid,
    /// The order in which it came.
    pub createtxg: u64,
    /// How many holds keep it.
    pub holds: u64,
    /// This tool made it for a clone, and it goes with the last of them.
    pub reclaimable: bool,
}

/// A dataset with its snapshots, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// What it is a clone of.
    pub origin: Option<SnapshotName>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snap>,
    /// The order in which it came.
    pub createtxg: u64,
}

/// Everything in a survey that can hang on something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    nodes: BTreeMap<DatasetName, Node>,
}

/// Why a promotion is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// It is no clone.
    NoClone,
    /// Snapshots of these names would come to lie beside others of the name.
    Collision(Vec<String>),
    /// The dataset it hangs on was not looked at.
    Unknown,
}

impl Graph {
    /// The graph of a survey.
    #[must_use]
    pub fn of(survey: &Survey) -> Self {
        let snap = |snapshot: &Snapshot| Snap {
            component: snapshot.name.component().to_owned(),
            guid: snapshot.guid,
            createtxg: snapshot.createtxg,
            holds: snapshot.holds,
            reclaimable: survey.is_reclaimable(snapshot),
        };
        Self {
            nodes: survey
                .datasets
                .values()
                .map(|dataset| {
                    let node = Node {
                        origin: dataset.origin.clone(),
                        snapshots: dataset.snapshots.iter().map(snap).collect(),
                        createtxg: dataset.createtxg,
                    };
                    (dataset.name.clone(), node)
                })
                .collect(),
        }
    }

    /// A dataset as it is now.
    #[must_use]
    pub fn node(&self, name: &DatasetName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// A snapshot as it is now.
    #[must_use]
    pub fn snap(&self, name: &SnapshotName) -> Option<&Snap> {
        self.nodes
            .get(&name.dataset())?
            .snapshots
            .iter()
            .find(|snap| snap.component == name.component())
    }

    /// The datasets cloned from any snapshot of one, each with its origin.
    #[must_use]
    pub fn clones_of(&self, name: &DatasetName) -> Vec<(&DatasetName, &SnapshotName)> {
        self.nodes
            .iter()
            .filter_map(|(clone, node)| node.origin.as_ref().map(|origin| (clone, origin)))
            .filter(|(_, origin)| origin.dataset() == *name)
            .collect()
    }

    /// Promotes a clone; returns the dataset that hung its origin before.
    ///
    /// # Errors
    /// Why it cannot be; the graph is as before.
    pub fn promote(&mut self, clone: &DatasetName) -> Result<DatasetName, Blocked> {
        let origin = self
            .nodes
            .get(clone)
            .and_then(|node| node.origin.clone())
            .ok_or(Blocked::NoClone)?;
        let parent = origin.dataset();
        let until = self.snap(&origin).ok_or(Blocked::Unknown)?.createtxg;
        let own: BTreeSet<String> = self
            .nodes
            .get(clone)
            .map(|node| {
                node.snapshots
                    .iter()
                    .map(|snap| snap.component.clone())
                    .collect()
            })
            .unwrap_or_default();
        let Some(above) = self.nodes.get_mut(&parent) else {
            return Err(Blocked::Unknown);
        };
        let collisions: Vec<String> = above
            .snapshots
            .iter()
            .filter(|snap| snap.createtxg <= until && own.contains(&snap.component))
            .map(|snap| snap.component.clone())
            .collect();
        if !collisions.is_empty() {
            return Err(Blocked::Collision(collisions));
        }
        let (moving, staying): (Vec<Snap>, Vec<Snap>) = above
            .snapshots
            .drain(..)
            .partition(|snap| snap.createtxg <= until);
        above.snapshots = staying;
        let names: BTreeSet<String> = moving.iter().map(|snap| snap.component.clone()).collect();
        let new_origin = clone.snapshot(origin.component()).ok();
        let old_origin = std::mem::replace(&mut above.origin, new_origin);
        for node in self.nodes.values_mut() {
            let moved = node
                .origin
                .as_ref()
                .filter(|at| at.dataset() == parent && names.contains(at.component()))
                .and_then(|at| clone.snapshot(at.component()).ok());
            if moved.is_some() {
                node.origin = moved;
            }
        }
        if let Some(node) = self.nodes.get_mut(clone) {
            node.origin = old_origin;
            node.snapshots.splice(0..0, moving);
        }
        Ok(parent)
    }

    /// Takes a dataset with its snapshots away.
    pub fn remove(&mut self, name: &DatasetName) {
        self.nodes.remove(name);
    }
}
