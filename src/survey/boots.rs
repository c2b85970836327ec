//! What environments have for their `/boot` in other pools.

use super::Survey;
use crate::os::Mount;
use crate::zfs::{Dataset, Mountpoint};

impl Survey {
    /// What the environment of that name has for its `/boot` in other pools, or would
    /// have: a dataset of its name that is mounted there, or that fstab mounts.
    pub fn boots_of(&self, name: &str) -> impl Iterator<Item = &Dataset> {
        let named = self
            .boot_roots
            .iter()
            .filter_map(|boot_root| boot_root.child(name).ok());
        named
            .filter_map(|name| self.datasets.get(&name))
            .filter(|dataset| {
                let altroot = self.altroot_of(&dataset.name);
                match dataset.mountpoint.clone().without(altroot) {
                    Mountpoint::Path(path) => path == "/boot",
                    Mountpoint::Legacy => true,
                    Mountpoint::None => false,
                }
            })
    }

    /// What is mounted on `/boot` here although by its name it is another
    /// environment's: that one's root, and where it lies in another pool.
    #[must_use]
    pub fn borrowed_boot(&self) -> Option<&Dataset> {
        let mount = self.own_mounts().find(|mount| mount.is_boot())?;
        self.running()?;
        self.environments()
            .filter(|environment| !environment.is_running())
            .flat_map(|environment| environment.roots())
            .find(|root| {
                root.name.pool() != self.beroot.pool() && mount.dataset.is_within(&root.name)
            })
    }

    /// The dataset that has the running environment's name in another pool and
    /// looks like its `/boot`, but is not mounted there.
    #[must_use]
    pub fn doubtful_boot(&self) -> Option<&Dataset> {
        let running = self.running()?;
        if self.own_mounts().any(Mount::is_boot) {
            return None;
        }
        running
            .roots()
            .into_iter()
            .find(|root| root.name.pool() != self.beroot.pool())
    }
}
