//! The machines the histories begin on, and what a history works with.

use std::sync::OnceLock;

use beadm_rs::boot::Bootfs;
use beadm_rs::host::Host;
use beadm_rs::zfs::sim::{NewPool, Sim};
use beadm_rs::zfs::{DatasetName, PoolName, Setting, Zfs as _};
use camino::Utf8PathBuf;

/// How a machine is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Everything in one pool.
    OnePool,
    /// `/boot` in a pool of its own, a child that fstab mounts, and a third
    /// pool to copy to.
    BootPool,
    /// One pool, imported under another root by a rescue system, until the
    /// machine is started again.
    Rescued,
}

/// Where the rescue system has the machine.
const ALTROOT: &str = "/target";

/// A name that is known to be one.
pub fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn build(layout: Layout) -> Sim {
    let pools: &[&str] = match layout {
        Layout::OnePool | Layout::Rescued => &["rpool"],
        Layout::BootPool => &["bpool", "rpool", "tank"],
    };
    let pools: Vec<NewPool> = pools
        .iter()
        .map(|name| NewPool {
            name: name.parse().unwrap(),
            size: 1 << 30,
        })
        .collect();
    let sim = Sim::in_memory(&pools).unwrap();
    let make = |name: &str, pairs: &[(&str, &str)]| {
        sim.create(&dataset(name), &settings(pairs)).unwrap();
    };
    let container = [("canmount", "off"), ("mountpoint", "none")];
    make("rpool/ROOT", &container);
    make(
        "rpool/ROOT/debian",
        &[("canmount", "noauto"), ("mountpoint", "/")],
    );
    make("rpool/ROOT/debian/var", &[("canmount", "off")]);
    make("rpool/ROOT/debian/var/log", &[("canmount", "noauto")]);
    make("rpool/home", &[("mountpoint", "/home")]);
    make("rpool/clones", &container);
    let mut fstab = "rpool/home /home zfs defaults 0 0\n".to_owned();
    if layout == Layout::BootPool {
        make("bpool/BOOT", &container);
        make(
            "bpool/BOOT/debian",
            &[("canmount", "noauto"), ("mountpoint", "/boot")],
        );
        make("tank/ROOT", &container);
        make(
            "rpool/ROOT/debian/srv",
            &[("canmount", "noauto"), ("mountpoint", "legacy")],
        );
        fstab.push_str(
            "bpool/BOOT/debian /boot zfs defaults 0 0\n\
             rpool/ROOT/debian/srv /srv zfs defaults 0 0\n",
        );
    }
    let root = dataset("rpool/ROOT/debian");
    sim.write_file(&root, "etc/fstab", fstab).unwrap();
    sim.write_file(&root, "etc/version", "0").unwrap();
    sim.write_file(&dataset("rpool/ROOT/debian/var/log"), "etc/version", "0")
        .unwrap();
    let pool: PoolName = "rpool".parse().unwrap();
    sim.set_bootfs(&pool, Some(&root)).unwrap();
    if layout == Layout::Rescued {
        sim.edit(|edit| edit.altroot(&pool, Some(ALTROOT.into())))
            .unwrap();
    } else {
        reboot(&sim);
    }
    sim
}

/// Starts the machine, by itself.
pub fn reboot(sim: &Sim) {
    sim.resume();
    let pools = sim.pools().unwrap();
    sim.edit(|edit| {
        for pool in &pools {
            edit.altroot(&pool.name, None);
        }
    })
    .unwrap();
    sim.reboot().unwrap();
}

/// A machine of that layout, just started.
pub fn fresh(layout: Layout) -> Sim {
    static ONE: OnceLock<Sim> = OnceLock::new();
    static BOOT: OnceLock<Sim> = OnceLock::new();
    static RESCUED: OnceLock<Sim> = OnceLock::new();
    let made = match layout {
        Layout::OnePool => &ONE,
        Layout::BootPool => &BOOT,
        Layout::Rescued => &RESCUED,
    };
    made.get_or_init(|| build(layout)).fork().unwrap()
}

/// What commands work on.
pub fn host(sim: &Sim) -> Host {
    Host {
        altroot: altroot(sim),
        ..Host::of_simulation(sim.clone(), Some(dataset("rpool/ROOT")))
    }
}

fn altroot(sim: &Sim) -> Option<Utf8PathBuf> {
    let pools = sim.pools().unwrap();
    pools.into_iter().find_map(|pool| pool.altroot)
}

/// The same through something that fails once.
pub fn faulty_host(faulty: &super::fault::Faulty) -> Host {
    Host {
        zfs: Box::new(faulty.clone()),
        platform: Box::new(faulty.clone()),
        loader: Box::new(Bootfs),
        beroot: Some(dataset("rpool/ROOT")),
        altroot: altroot(faulty.sim()),
        simulated: true,
        config: Default::default(),
    }
}
