//! One side of the comparison: the simulator, or real ZFS with the same pools.

use std::process::Command;

use beadm_rs::os::linux::Linux;
use beadm_rs::os::{self, MountRequest, Platform};
use beadm_rs::zfs::cli::Cli;
use beadm_rs::zfs::sim::{NewPool, Sim};
use beadm_rs::zfs::{DatasetName, Guid, SnapshotName, Zfs};
use camino::{Utf8Path, Utf8PathBuf};

use crate::ran::{sh, try_sh};

/// The pools of both sides: one where things happen, and another.
pub const POOLS: [&str; 2] = ["da", "db"];

/// Bytes of each pool.
const POOL_BYTES: u64 = 1 << 30;

/// How many directories there are to mount on.
pub const DIRECTORIES: u8 = 3;

/// What the pools' own datasets are set to.
const ROOT_SETTINGS: [(&str, &str); 3] = [
    ("canmount", "off"),
    ("mountpoint", "none"),
    // No device nodes, which udev would hold open for a moment.
    ("volmode", "none"),
];

/// One side.
pub enum Side {
    Simulated(Sim),
    Real {
        zfs: Cli,
        linux: Linux,
        directory: tempfile::TempDir,
    },
}

fn root(pool: &str) -> DatasetName {
    pool.parse().unwrap()
}

fn pools() -> [NewPool; 2] {
    POOLS.map(|name| NewPool {
        name: name.parse().unwrap(),
        size: POOL_BYTES,
    })
}

impl Side {
    /// A simulator with empty pools.
    pub fn simulated() -> Self {
        Self::of(Sim::in_memory(&pools()).unwrap())
    }

    /// The same in a directory, for the program to work on.
    pub fn simulated_in(directory: &Utf8Path) -> Self {
        Self::of(Sim::create(directory, &pools()).unwrap())
    }

    fn of(sim: Sim) -> Self {
        let settings = ROOT_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for pool in POOLS {
            sim.set(&root(pool), &settings).unwrap();
        }
        Self::Simulated(sim)
    }

    /// Real pools, empty; they are destroyed with it.
    pub fn real() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for pool in POOLS {
            let disk = directory.path().join(pool);
            let file = std::fs::File::create(&disk).unwrap();
            file.set_len(POOL_BYTES).unwrap();
            let settings: Vec<String> = ROOT_SETTINGS
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mut arguments = vec!["create", "-f", "-o", "cachefile=none"];
            for setting in &settings {
                arguments.extend(["-O", setting]);
            }
            arguments.extend([pool, disk.to_str().unwrap()]);
            sh("zpool", &arguments);
        }
        for number in 0..DIRECTORIES {
            std::fs::create_dir_all(mount_directory(number)).unwrap();
        }
        Self::Real {
            zfs: Cli::new().unwrap(),
            linux: Linux::default(),
            directory,
        }
    }

    /// Its engine.
    pub fn zfs(&self) -> &dyn Zfs {
        match self {
            Self::Simulated(sim) => sim,
            Self::Real { zfs, .. } => zfs,
        }
    }

    /// Its operating system.
    pub fn platform(&self) -> &dyn Platform {
        match self {
            Self::Simulated(sim) => sim,
            Self::Real { linux, .. } => linux,
        }
    }

    /// The guid of a dataset or snapshot that is there.
    pub fn guid(&self, object: &str) -> Option<Guid> {
        match self {
            Self::Simulated(sim) => {
                let name = object.split('@').next()?.parse().ok()?;
                let datasets = sim.tree(&[name], true).ok()?;
                let dataset = datasets.first()?;
                if !object.contains('@') {
                    return Some(dataset.guid);
                }
                let found = dataset.snapshots.iter().find(|s| s.name.as_str() == object);
                found.map(|snapshot| snapshot.guid)
            }
            Self::Real { .. } => {
                let get = try_sh("zfs", &["get", "-Hp", "-o", "value", "guid", object]);
                get.stdout.trim().parse().ok()
            }
        }
    }

    /// Holds a snapshot, or releases it: whether that could be done.
    pub fn hold(&self, snapshot: &SnapshotName, held: bool) -> bool {
        match self {
            Self::Simulated(sim) => {
                // The kernel knows each tag once (`dsl_dataset_user_hold_check_one`).
                sim.holds(snapshot)
                    .is_ok_and(|tags| tags.is_empty() == held)
                    && sim.edit(|edit| edit.hold(snapshot, "user", held)).is_ok()
            }
            Self::Real { .. } => {
                let verb = if held { "hold" } else { "release" };
                try_sh("zfs", &[verb, "user", snapshot.as_str()]).exit == 0
            }
        }
    }

    /// Makes a volume without reservation: whether that could be done.
    pub fn volume(&self, name: &DatasetName) -> bool {
        match self {
            Self::Simulated(sim) => sim.edit(|edit| edit.volume(name)).is_ok(),
            Self::Real { .. } => {
                try_sh("zfs", &["create", "-s", "-V", "8M", name.as_str()]).exit == 0
            }
        }
    }

    /// Writes a file that does not compress: whether that could be done.
    pub fn write(&self, name: &DatasetName, number: u8, kib: u32) -> bool {
        let mut word = u64::from(number) + 1;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            // xorshift64
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        })
        .take(kib as usize * 128)
        .flatten()
        .collect();
        self.platform()
            .with_files(name, true, &mut |root| {
                root.write(format!("file{number}"), &content)
            })
            .is_ok()
    }

    /// Mounts a dataset: whether that could be done, and whether it was in use.
    pub fn mount(&self, name: &DatasetName, at: u8, readonly: bool) -> String {
        told(&self.platform().mount(&MountRequest {
            dataset: name.clone(),
            directory: mount_directory(at),
            readonly,
            legacy: self.is_legacy(name),
        }))
    }

    /// Unmounts what is mounted there.
    pub fn unmount(&self, at: u8) -> String {
        told(&self.platform().unmount(&mount_directory(at), false))
    }

    fn is_legacy(&self, name: &DatasetName) -> bool {
        let found = self.zfs().tree(std::slice::from_ref(name), false).unwrap();
        found
            .first()
            .is_some_and(|dataset| dataset.mountpoint == beadm_rs::zfs::Mountpoint::Legacy)
    }

    /// Something at or below it is mounted.
    pub fn mounted_within(&self, name: &DatasetName) -> bool {
        self.platform()
            .mounts(false)
            .unwrap()
            .iter()
            .any(|mount| mount.dataset.is_within(name))
    }
}

/// The directory of that number.
pub fn mount_directory(number: u8) -> Utf8PathBuf {
    Utf8Path::new("/run/differential").join(number.to_string())
}

fn told(result: &os::Result<()>) -> String {
    match result {
        Ok(()) => "done",
        Err(os::Error::Busy { .. }) => "busy",
        Err(_) => "failed",
    }
    .to_owned()
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Self::Real {
            linux, directory, ..
        } = self
        {
            // A pool with mounts elsewhere than at their mountpoints is not destroyed.
            for mount in linux.mounts(false).unwrap_or_default().iter().rev() {
                if POOLS.contains(&mount.dataset.pool().as_str()) {
                    let _ = linux.unmount(&mount.directory, true);
                }
            }
            for pool in POOLS {
                let _ = Command::new("zpool").args(["destroy", "-f", pool]).output();
                let _ = std::fs::remove_file(directory.path().join(pool));
            }
        }
    }
}
