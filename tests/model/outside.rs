//! What a user does behind the back of the commands.

use beadm_rs::os::{MountRequest, Platform as _};
use beadm_rs::zfs::sim::Sim;
use beadm_rs::zfs::{CloneOf, DatasetName, SnapshotName, SyncOp, Zfs as _};
use proptest::prelude::*;

use super::deed::{Pick, environment, pick};
use super::machine::{self, dataset};
use super::picture::Picture;

/// A doing.
#[derive(Debug, Clone)]
pub enum Outside {
    Write(Pick, u8),
    Snapshot(Pick, u8),
    Hold(Pick, bool),
    Clone(Pick, Where),
    Promote(Pick),
    Mount(Pick),
    UnmountAll,
    Volume(Pick),
    /// Not to be cloned, or no longer.
    Exclude(Pick, bool),
    /// `zpool set bootfs`, so that another one boots than the last good one.
    Bootfs(Pick),
    /// What this program noted on one object, copied to another.
    CopyMark(Pick, Pick, Pick),
    Reboot,
}

/// Where a user's own clone lies.
#[derive(Debug, Clone, Copy)]
pub enum Where {
    /// Beside everything.
    Apart,
    /// Under the beroot, bootable.
    AsEnvironment,
    /// Inside an environment.
    Inside(Pick),
}

/// Anything a user does.
pub fn outside() -> impl Strategy<Value = Outside> {
    let p = any::<Pick>;
    let place = prop_oneof![
        Just(Where::Apart),
        Just(Where::AsEnvironment),
        p().prop_map(Where::Inside)
    ];
    prop_oneof![
        2 => (p(), any::<u8>()).prop_map(|(of, what)| Outside::Write(of, what)),
        2 => (p(), 0..3_u8).prop_map(|(of, name)| Outside::Snapshot(of, name)),
        1 => (p(), prop::bool::weighted(0.7)).prop_map(|(of, on)| Outside::Hold(of, on)),
        2 => (p(), place).prop_map(|(of, place)| Outside::Clone(of, place)),
        1 => p().prop_map(Outside::Promote),
        1 => p().prop_map(Outside::Mount),
        1 => Just(Outside::UnmountAll),
        1 => p().prop_map(Outside::Volume),
        1 => (p(), prop::bool::weighted(0.3)).prop_map(|(of, on)| Outside::Exclude(of, on)),
        1 => (p(), p(), p()).prop_map(|(key, from, to)| Outside::CopyMark(key, from, to)),
        1 => p().prop_map(Outside::Bootfs),
        3 => Just(Outside::Reboot),
    ]
}

impl Outside {
    /// Does it. Where ZFS refuses, nothing happened.
    pub fn happens(&self, sim: &Sim, picture: &Picture) {
        let filesystems: Vec<&DatasetName> = picture
            .datasets
            .keys()
            .filter(|name| name.depth() > 0)
            .collect();
        let snapshots: Vec<&SnapshotName> = picture.snapshots().map(|snap| &snap.name).collect();
        match *self {
            Self::Write(of, what) => {
                if let Some(name) = pick(&filesystems, of) {
                    let text = format!("{what}").repeat(usize::from(what));
                    let _ = sim.write_file(name, "etc/version", text);
                }
            }
            Self::Snapshot(of, number) => {
                if let Some(name) = pick(&filesystems, of) {
                    let snapshot = name.snapshot(&format!("user{number}")).unwrap();
                    let _ = sim.transact(&name.pool(), &[SyncOp::Snapshot { snapshot }]);
                }
            }
            Self::Hold(of, held) => {
                if let Some(name) = pick(&snapshots, of) {
                    let _ = sim.edit(|edit| edit.hold(name, "user", held));
                }
            }
            Self::Clone(of, place) => {
                if let Some(snapshot) = pick(&snapshots, of) {
                    let _ = sim.clone_all(&[own_clone(picture, snapshot, place)]);
                }
            }
            Self::Promote(of) => {
                if let Some(name) = pick(&filesystems, of) {
                    let promote = SyncOp::Promote {
                        dataset: (*name).clone(),
                        checked: true,
                    };
                    let _ = sim.transact(&name.pool(), &[promote]);
                }
            }
            Self::Mount(of) => {
                let roots = picture.environments();
                if let Some(root) = pick(&roots, of)
                    && picture.running.as_ref() != Some(root)
                {
                    let _ = sim.mount(&MountRequest {
                        dataset: (*root).clone(),
                        directory: format!("/mnt/{}", root.leaf()).into(),
                        readonly: false,
                        legacy: false,
                    });
                }
            }
            Self::UnmountAll => {
                for (_, directory) in &picture.mounts {
                    if directory.starts_with("/mnt/") {
                        let _ = sim.unmount(directory.as_str().into(), true);
                    }
                }
            }
            Self::Volume(of) => {
                if let Some(parent) = pick(&filesystems, of) {
                    let name = parent.child("volume").unwrap();
                    let _ = sim.edit(|edit| edit.volume(&name));
                }
            }
            Self::Exclude(of, on) => {
                // Where nothing says what an environment is it would be all of it.
                let children: Vec<&&DatasetName> =
                    filesystems.iter().filter(|name| name.depth() > 2).collect();
                if let Some(name) = pick(&children, of) {
                    let value = if on { "on" } else { "off" };
                    let setting = ("org.beadm-rs:exclude".to_owned(), value.to_owned());
                    let _ = sim.set(name, &[setting]);
                }
            }
            Self::Bootfs(of) => {
                if let Some(root) = pick(&picture.environments(), of) {
                    let _ = sim.set_bootfs(&root.pool(), Some(root));
                }
            }
            Self::CopyMark(key, from, to) => copy_mark(sim, picture, [key, from, to]),
            Self::Reboot => machine::reboot(sim),
        }
    }
}

/// Marks are copied by send, and by whoever copies all properties of something.
fn copy_mark(sim: &Sim, picture: &Picture, [key, from, to]: [Pick; 3]) {
    const KEYS: [&str; 3] = ["pinned", "failback", "confirmed"];
    let key = pick(&KEYS, key).map_or_else(String::new, |key| format!("org.beadm-rs:{key}"));
    let marked: Vec<&String> = picture
        .datasets
        .values()
        .flat_map(|item| &item.properties)
        .filter(|property| property.name == key)
        .map(|property| &property.value)
        .collect();
    let roots = picture.environments();
    if let (Some(value), Some(root)) = (pick(&marked, from), pick(&roots, to))
        && picture
            .mark(root, key.trim_start_matches("org.beadm-rs:"))
            .is_none()
    {
        let _ = sim.set(root, &[(key, (*value).clone())]);
    }
}

fn own_clone(picture: &Picture, snapshot: &SnapshotName, place: Where) -> CloneOf {
    let number = picture.datasets.len();
    let pool = snapshot.dataset().pool();
    let target = match place {
        Where::Apart => format!("{pool}/clone{number}"),
        Where::AsEnvironment => format!("rpool/ROOT/user{number}"),
        Where::Inside(choice) => match environment(picture, choice) {
            Some(be) => format!("rpool/ROOT/{be}/clone{number}"),
            None => format!("{pool}/clone{number}"),
        },
    };
    let settings: &[(&str, &str)] = match place {
        Where::AsEnvironment => &[("canmount", "noauto"), ("mountpoint", "/")],
        Where::Apart | Where::Inside(_) => &[("canmount", "off")],
    };
    CloneOf {
        snapshot: snapshot.clone(),
        target: dataset(&target),
        settings: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}
