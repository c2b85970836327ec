//! Whether a state that was read can be one: the other modules count on it.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{ObjectId, Space, State};
use crate::zfs::{DatasetName, Guid};

/// More than any count or sum of bytes of a simulated machine. Twice as much
/// still fits what they are counted in.
const LIMIT: u64 = 1 << 62;

/// What is wrong with a state, if anything.
pub(super) fn check(state: &State) -> Result<(), String> {
    counts(state)?;
    names(state)?;
    let owners = objects(state)?;
    origins(state, &owners)
}

fn below_limit(numbers: impl IntoIterator<Item = u64>) -> Result<(), String> {
    numbers
        .into_iter()
        .try_fold(0u64, |sum, number| {
            sum.checked_add(number).filter(|sum| *sum < LIMIT)
        })
        .map(drop)
        .ok_or_else(|| "its numbers are too large".to_owned())
}

fn counts(state: &State) -> Result<(), String> {
    below_limit([state.sequence, state.last, state.last_tree])?;
    below_limit(state.pools.values().map(|pool| pool.txg))?;
    below_limit(state.pools.values().map(|pool| pool.size))?;
    let spaces = |of: fn(&Space) -> u64| {
        below_limit(state.datasets.values().flat_map(|head| {
            let snapshots = head.snapshots.iter().map(|snap| &snap.space);
            snapshots.chain([&head.space]).map(of)
        }))
    };
    spaces(|space| space.referenced)?;
    spaces(|space| space.written)?;
    spaces(|space| space.freed)
}

/// Every dataset has its parent, and every pool its own dataset.
fn names(state: &State) -> Result<(), String> {
    for pool in state.pools.keys() {
        if !state
            .datasets
            .contains_key(&DatasetName::from(pool.clone()))
        {
            return Err(format!("the pool '{pool}' has no dataset"));
        }
    }
    for (name, head) in &state.datasets {
        let there = match name.parent() {
            Some(parent) => state.datasets.contains_key(&parent),
            None => state.pools.contains_key(&name.pool()),
        };
        if !there {
            return Err(format!("'{name}' hangs on nothing"));
        }
        let mut seen = BTreeSet::new();
        for snap in &head.snapshots {
            if name.snapshot(&snap.name).is_err() || !seen.insert(&snap.name) {
                return Err(format!("a snapshot of '{name}' is called {:?}", snap.name));
            }
        }
    }
    Ok(())
}

/// No number is used twice or yet to be given; the dataset of every snapshot.
fn objects(state: &State) -> Result<BTreeMap<ObjectId, &DatasetName>, String> {
    let mut heads = BTreeSet::new();
    let mut owners = BTreeMap::new();
    for (name, head) in &state.datasets {
        let snapshots = head.snapshots.iter();
        let fresh = heads.insert(head.object)
            && snapshots
                .clone()
                .all(|snap| owners.insert(snap.object, name).is_none());
        let given = snapshots
            .map(|snap| (snap.object, snap.tree, snap.guid))
            .chain([(head.object, head.tree, head.guid)])
            .all(|(object, tree, guid)| {
                object <= state.last && tree <= state.last_tree && guid != Guid(0)
            });
        if !fresh || !given {
            return Err(format!("the numbers of '{name}' are not its own"));
        }
    }
    let roots = state
        .datasets
        .values()
        .filter_map(|head| head.encryption_root);
    if owners.keys().any(|object| heads.contains(object)) {
        return Err("a dataset and a snapshot have the same number".to_owned());
    }
    for root in roots {
        if !heads.contains(&root) {
            return Err(format!("there is no encryption root {root}"));
        }
    }
    Ok(owners)
}

/// Clones come from snapshots of their own pool, and not from themselves.
fn origins(state: &State, owners: &BTreeMap<ObjectId, &DatasetName>) -> Result<(), String> {
    let origin = |name: &DatasetName| state.datasets.get(name).and_then(|head| head.origin);
    // Those whose chain of origins is known to end.
    let mut settled: BTreeSet<&DatasetName> = BTreeSet::new();
    for name in state.datasets.keys() {
        let mut chain = BTreeSet::new();
        let mut at = name;
        while !settled.contains(at) {
            if !chain.insert(at) {
                return Err(format!("'{name}' is cloned from itself"));
            }
            let Some(object) = origin(at) else { break };
            match owners.get(&object) {
                Some(owner) if owner.pool() == name.pool() => at = owner,
                _ => {
                    return Err(format!(
                        "there is no snapshot {object} '{at}' is cloned from"
                    ));
                }
            }
        }
        settled.extend(chain);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::zfs::sim::Sim;

    const STATE: &str = r#"{"schema":"beadm-rs/sim/v1","sequence":3,"last":9,"last_tree":5,
        "pools":{"p":{"guid":"11","size":10000,"txg":9,"health":"ONLINE"}},
        "datasets":{
            "p":{"object":1,"tree":1,"guid":"12","kind":"filesystem","createtxg":4,"creation":1,
                "space":{"referenced":0,"written":0,"freed":0,"stamp":0}},
            "p/a":{"object":2,"tree":2,"guid":"13","kind":"filesystem","createtxg":5,"creation":1,
                "snapshots":[{"object":3,"tree":3,"guid":"14","name":"s","createtxg":6,"creation":1,
                    "space":{"referenced":5,"written":5,"freed":0,"stamp":1}}],
                "space":{"referenced":5,"written":0,"freed":0,"stamp":0}},
            "p/b":{"object":4,"tree":4,"guid":"15","kind":"filesystem","createtxg":7,"creation":1,
                "origin":3,"space":{"referenced":5,"written":0,"freed":0,"stamp":0}}},
        "running":null,"mounts":[],"trash":[]}"#;

    #[test]
    fn a_state_that_cannot_be_one_is_refused() {
        assert!(Sim::from_state(STATE).is_ok());
        for (from, to, why) in [
            (
                r#""last":9"#,
                r#""last":3"#,
                "the numbers of 'p/b' are not its own",
            ),
            (
                r#""object":4"#,
                r#""object":2"#,
                "the numbers of 'p/b' are not its own",
            ),
            (
                r#""object":3"#,
                r#""object":4"#,
                "a dataset and a snapshot have the same number",
            ),
            (
                r#""last":9"#,
                r#""last":18446744073709551615"#,
                "its numbers are too large",
            ),
            (
                r#""written":5"#,
                r#""written":9223372036854775807"#,
                "its numbers are too large",
            ),
            (r#""p/b":"#, r#""q/b":"#, "'q/b' hangs on nothing"),
            (r#""p/b":"#, r#""p/c/b":"#, "'p/c/b' hangs on nothing"),
            (
                r#""name":"s""#,
                r#""name":"s/s""#,
                r#"a snapshot of 'p/a' is called "s/s""#,
            ),
            (
                r#""origin":3"#,
                r#""origin":8"#,
                "there is no snapshot 8 'p/b' is cloned from",
            ),
            (
                r#""snapshots""#,
                r#""origin":3,"snapshots""#,
                "'p/a' is cloned from itself",
            ),
            (
                r#""origin":3"#,
                r#""encryption_root":3"#,
                "there is no encryption root 3",
            ),
        ] {
            let error = Sim::from_state(&STATE.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(why), "{to}: {error}");
        }
    }
}
