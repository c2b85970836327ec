//! Surveys made by hand.

use std::collections::{BTreeMap, BTreeSet};

use beadm_rs::boot::{BootState, Capabilities};
use beadm_rs::intent::OpId;
use beadm_rs::plan::{Action, Plan, Planned};
use beadm_rs::survey::Survey;
use beadm_rs::zfs::{
    Canmount, Dataset, DatasetName, Guid, Kind, Mountpoint, Pool, Snapshot, SnapshotName, SyncOp,
};

/// A survey to be made.
pub struct Made {
    pub survey: Survey,
    /// The last transaction group, and the last guid.
    last: u64,
}

/// A name that is known to be one.
pub fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

impl Made {
    /// A pool with a beroot and nothing in it.
    pub fn new() -> Self {
        let mut made = Self {
            survey: Survey {
                now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
                id: OpId::from_bits(0xabcd_ef01_2345_6789),
                beroot: dataset("rpool/ROOT"),
                boot_roots: Vec::new(),
                pools: BTreeMap::new(),
                datasets: BTreeMap::new(),
                close: BTreeSet::new(),
                properties: BTreeMap::new(),
                running: None,
                boot: BootState::default(),
                capabilities: Capabilities {
                    counting: false,
                    once: false,
                },
                loader: "the pool's bootfs",
                assumed: false,
                mounts: Vec::new(),
                altroot: None,
                moving: None,
                handed_over: None,
                shared: None,
            },
            last: 100,
        };
        made.pool("rpool");
        made.dataset("rpool/ROOT");
        made.on("rpool/ROOT").canmount = Canmount::Off;
        made.on("rpool/ROOT").mountpoint = Mountpoint::None;
        made
    }

    pub fn pool(&mut self, name: &str) -> &mut Pool {
        let name: beadm_rs::zfs::PoolName = name.parse().unwrap();
        self.survey.pools.entry(name.clone()).or_insert(Pool {
            name,
            guid: Guid(1),
            health: "ONLINE".to_owned(),
            readonly: false,
            altroot: None,
            bootfs: None,
            free: 1 << 30,
            size: 1 << 31,
        })
    }

    /// A file system mounted at `/`, or at `/boot` below a BOOT.
    pub fn dataset(&mut self, name: &str) -> &mut Dataset {
        self.last += 1;
        let made = Dataset {
            name: dataset(name),
            kind: Kind::Filesystem,
            guid: Guid(self.last),
            createtxg: self.last,
            creation: 0,
            used: 0,
            referenced: 0,
            written: 0,
            origin: None,
            canmount: Canmount::Noauto,
            mountpoint: Mountpoint::Path(
                if name.contains("/BOOT/") {
                    "/boot"
                } else {
                    "/"
                }
                .into(),
            ),
            mounted: false,
            readonly: false,
            encryption_root: None,
            key_loaded: true,
            token: None,
            marks: BTreeMap::new(),
            snapshots: Vec::new(),
        };
        self.survey.datasets.insert(dataset(name), made);
        self.on(name)
    }

    /// A dataset that is there.
    pub fn on(&mut self, name: &str) -> &mut Dataset {
        self.survey.datasets.get_mut(&dataset(name)).unwrap()
    }

    pub fn guid(&mut self, name: &str) -> Guid {
        self.on(name).guid
    }

    /// A snapshot, younger than everything before it.
    pub fn snapshot(&mut self, name: &str) -> &mut Snapshot {
        self.last += 1;
        let name: SnapshotName = name.parse().unwrap();
        let made = Snapshot {
            guid: Guid(self.last),
            createtxg: self.last,
            creation: 0,
            used: 0,
            referenced: 0,
            written: 0,
            clones: Vec::new(),
            holds: 0,
            marks: BTreeMap::new(),
            name: name.clone(),
        };
        let owner = self.survey.datasets.get_mut(&name.dataset()).unwrap();
        owner.snapshots.push(made);
        owner.snapshots.last_mut().unwrap()
    }

    /// A snapshot this program took, and a clone of it.
    pub fn clone(&mut self, snapshot: &str, clone: &str) {
        let made = self.snapshot(snapshot);
        made.marks
            .insert("op".to_owned(), format!("{} 0123 create", made.guid));
        made.clones.push(dataset(clone));
        self.dataset(clone).origin = Some(snapshot.parse().unwrap());
    }

    /// A marker of a dataset itself.
    pub fn mark(&mut self, name: &str, key: &str, text: impl std::fmt::Display) {
        let on = self.on(name);
        on.marks
            .insert(key.to_owned(), format!("{} {text}", on.guid));
    }

    pub fn running(&mut self, name: &str) {
        self.survey.running = Some(dataset(name));
    }

    pub fn next(&mut self, name: &str) {
        self.survey.boot.next = Some(dataset(name));
        self.pool("rpool").bootfs = Some(dataset(name));
    }
}

/// Why it is refused, and what to do: one text.
pub fn refusal(planned: Planned) -> String {
    let refusal = planned.unwrap_err();
    match &refusal.remedy {
        Some(remedy) => format!("{refusal}\n{remedy}"),
        None => refusal.to_string(),
    }
}

/// The operations of a plan's transactions, a line for each; marks by their
/// key and what follows the guid.
pub fn operations(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .flat_map(|step| match &step.action {
            Action::Transact { operations, .. } => operations.iter().map(line).collect(),
            other => vec![other.to_string()],
        })
        .collect()
}

fn line(operation: &SyncOp) -> String {
    match operation {
        SyncOp::Mark { object, key, .. } if key == "op" => format!("mark {object} op"),
        SyncOp::Mark { object, key, text } => format!("mark {object} {key}={text}"),
        SyncOp::Unmark { object, key } => format!("unmark {object} {key}"),
        SyncOp::Promote { dataset, checked } => {
            let checked = if *checked { "" } else { " unchecked" };
            format!("promote {dataset}{checked}")
        }
        other => other.to_string(),
    }
}
