//! The simulated machines the command lines are typed on.

use beadm_rs::check::stand_in;
use beadm_rs::os::Platform as _;
use beadm_rs::zfs::sim::{NewPool, Sim};
use beadm_rs::zfs::{DatasetName, Zfs as _};
use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

/// A machine in a directory of its own.
pub struct Machine {
    pub sim: Sim,
    _scratch: tempfile::TempDir,
    /// Beside the machine: for what is mounted.
    pub scratch: Utf8PathBuf,
}

/// A name that is known to be one.
pub fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

impl Machine {
    /// Makes a file system.
    pub fn make(&self, name: &str, pairs: &[(&str, &str)]) {
        let settings: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.sim.create(&dataset(name), &settings).unwrap();
    }

    /// The machine's directory.
    pub fn directory(&self) -> Utf8PathBuf {
        self.scratch.join("machine")
    }

    /// Empty pools.
    pub fn with_pools(pools: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        let pools: Vec<NewPool> = pools
            .iter()
            .map(|name| NewPool {
                name: name.parse().unwrap(),
                size: 1 << 30,
            })
            .collect();
        let sim = Sim::create(&path.join("machine"), &pools).unwrap();
        Self {
            sim,
            _scratch: scratch,
            scratch: path,
        }
    }

    /// One pool; the running system is `debian`, with a child that is mounted
    /// and one that is not.
    pub fn with_one_pool() -> Self {
        let machine = Self::with_pools(&["rpool"]);
        machine.install("");
        machine
    }

    /// The same with `/boot` in a pool of its own, and a third pool.
    pub fn with_boot_pool() -> Self {
        let machine = Self::with_pools(&["bpool", "rpool", "tank"]);
        let container = [("canmount", "off"), ("mountpoint", "none")];
        machine.make("bpool/BOOT", &container);
        machine.make(
            "bpool/BOOT/debian",
            &[("canmount", "noauto"), ("mountpoint", "/boot")],
        );
        machine.make("tank/ROOT", &container);
        machine.install("bpool/BOOT/debian /boot zfs defaults 0 0\n");
        machine.with_files("rpool/ROOT/debian", |root| root.remove_dir_all("boot"));
        machine.with_files("bpool/BOOT/debian", |boot| stand_in::write_boot(boot, None));
        machine
    }

    /// Works on the files of a dataset.
    pub fn with_files(&self, name: &str, mut work: impl FnMut(&Dir) -> std::io::Result<()> + Send) {
        self.sim
            .with_files(&dataset(name), true, &mut work)
            .unwrap();
    }

    fn install(&self, fstab: &str) {
        let root = dataset("rpool/ROOT/debian");
        self.make("rpool/ROOT", &[("canmount", "off"), ("mountpoint", "none")]);
        self.make(
            "rpool/ROOT/debian",
            &[("canmount", "noauto"), ("mountpoint", "/")],
        );
        self.make("rpool/ROOT/debian/var", &[("canmount", "off")]);
        self.make("rpool/ROOT/debian/var/log", &[("canmount", "noauto")]);
        self.make("rpool/home", &[("mountpoint", "/home")]);
        self.sim
            .write_file(&root, "etc/hostname", "a\n".repeat(3328))
            .unwrap();
        self.sim.write_file(&root, "etc/fstab", fstab).unwrap();
        self.with_files("rpool/ROOT/debian", |root| {
            stand_in::write_system(root, None)
        });
        self.sim
            .set_bootfs(&"rpool".parse().unwrap(), Some(&root))
            .unwrap();
        self.sim.reboot().unwrap();
    }
}
