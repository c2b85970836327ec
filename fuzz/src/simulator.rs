//! The simulator's state file.

use beadm_rs::os::Platform as _;
use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{CloneOf, DatasetName, Guard, SyncOp, Zfs as _};

/// A state that was taken can be looked at and worked on.
pub fn sim_state(sim: &Sim) {
    let Ok(pools) = sim.pools() else { return };
    let roots: Vec<DatasetName> = pools.iter().map(|pool| pool.name.clone().into()).collect();
    let _ = (sim.root_dataset(), sim.mounts(true));
    let datasets = sim.tree(&roots, true).expect("the datasets");
    for root in &roots {
        let _ = sim.properties(root);
    }
    for dataset in datasets.iter().take(3) {
        let pool = dataset.name.pool();
        if let Ok(snapshot) = dataset.name.snapshot("fuzz") {
            let _ = sim.transact(
                &pool,
                &[SyncOp::Snapshot {
                    snapshot: snapshot.clone(),
                }],
            );
            if let Ok(target) = DatasetName::from(pool.clone()).child("fuzz") {
                let settings = vec![("org.beadm-rs:description".to_owned(), "x".to_owned())];
                let _ = sim.clone_all(&[CloneOf {
                    snapshot,
                    target: target.clone(),
                    settings,
                }]);
                let promote = SyncOp::Promote {
                    dataset: target,
                    checked: true,
                };
                let _ = sim.transact(&pool, &[promote]);
            }
        }
        let promote = SyncOp::Promote {
            dataset: dataset.name.clone(),
            checked: true,
        };
        let _ = sim.transact(&pool, &[promote]);
        for snapshot in dataset.snapshots.iter().take(2) {
            let destroy = SyncOp::Destroy {
                object: snapshot.name.to_string(),
                guard: Guard::Guid(snapshot.guid),
                missing_ok: false,
            };
            let _ = sim.transact(&pool, &[destroy]);
        }
        if let Ok(to) = DatasetName::from(pool.clone()).child("renamed") {
            let _ = sim.rename(&dataset.name, &to);
        }
        let _ = sim.set(
            &dataset.name,
            &[("mountpoint".to_owned(), "none".to_owned())],
        );
    }
    let _ = sim.tree(&roots, true).expect("the datasets afterwards");
}
