//! Starting the simulated machine: what the loader, the initramfs and
//! `zfs mount -a` do.

use std::io;

use camino::Utf8PathBuf;

use super::change::Change;
use super::platform::{filesystem, mountable};
use super::refusal::{Refusal, Ruled, file_error};
use super::state::{Mounted, ObjectId, State, TreeId};
use super::{Sim, view};
use crate::os::Result;
use crate::zfs::{Canmount, DatasetName, Mountpoint};

impl Sim {
    /// Starts the machine again: into the dataset a pool's `bootfs` names, the
    /// first pool's that has one, or what its firmware or its labels say boots once. Its name is
    /// returned.
    ///
    /// Every mount is gone but those a starting system makes: the root, its own
    /// children, its namesake under `BOOT`, and whatever has `canmount=on`
    /// (`zfs mount -a`). A machine that [`Sim::fail_after`] stopped runs again.
    ///
    /// # Errors
    /// Where no pool has a `bootfs`, or it cannot be mounted at `/`; the machine
    /// then stays as it is.
    pub fn reboot(&self) -> Result<DatasetName> {
        self.resume();
        let state = self.state().map_err(|refusal| refusal.platform("reboot"))?;
        let bootfs = state
            .pools
            .values()
            .find_map(|pool| state.name_of(pool.bootfs?))
            .cloned();
        let once = bootfs.as_ref().and_then(|root| {
            self.take_boot_next()
                .or_else(|| self.take_once(&root.pool()))
        });
        // What is not there is left, as those loaders leave it.
        let once = once.filter(|root| state.datasets.contains_key(root));
        match once.or(bootfs) {
            Some(root) => self.reboot_into(&root).map(|()| root),
            None => Err(Refusal::other("no pool has a bootfs").platform("reboot")),
        }
    }

    /// The same into a dataset the loader was told of otherwise.
    ///
    /// # Errors
    /// As [`Sim::reboot`].
    pub fn reboot_into(&self, root: &DatasetName) -> Result<()> {
        self.resume();
        self.change_after(
            |change| {
                let before = std::mem::take(&mut change.state.mounts);
                start(change, root)?;
                Ok((before, change.state.head(root)?.tree))
            },
            |(before, tree)| {
                self.unlink(before)?;
                self.link_root(*tree)
            },
            false,
        )
        .map(drop)
        .map_err(|refusal| refusal.platform(format!("boot {root}")))
    }

    /// Makes `DIR/root` lead to the running system's files.
    fn link_root(&self, tree: TreeId) -> Ruled<()> {
        let store = &self.inner.store;
        let (Some(directory), Some(target)) = (&store.directory, store.files.path(tree)) else {
            return Ok(());
        };
        let link = directory.join("root");
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::os::unix::fs::symlink(target, &link),
        }
        .map_err(file_error(format!("link {link}")))
    }
}

/// What a machine does from the loader to a running system.
fn start(change: &mut Change<'_>, root: &DatasetName) -> Ruled<()> {
    let head = change.state.head(root)?;
    filesystem(head)?;
    let object = head.object;
    if view::canmount_of(head) == Canmount::Off {
        return Err(Refusal::other("canmount=off: it cannot be mounted"));
    }
    match view::mountpoint_of(&change.state, root) {
        Mountpoint::Legacy => {}
        Mountpoint::Path(path) if path == "/" => {}
        other => {
            return Err(Refusal::other(format!(
                "mountpoint={other}: it is no root file system"
            )));
        }
    }
    // The loader asked for it.
    let key = head
        .encryption_root
        .and_then(|key| change.state.name_of(key))
        .cloned();
    if let Some(key) = key {
        change.state.head_mut(&key)?.key_missing = false;
    }
    let exposed: Vec<DatasetName> = change
        .state
        .datasets
        .iter()
        .filter(|(_, head)| head.dirty)
        .map(|(name, _)| name.clone())
        .collect();
    for name in exposed {
        change.settle(&name)?;
    }
    for head in change.state.datasets.values_mut() {
        head.busy = false;
        for snap in &mut head.snapshots {
            snap.busy = false;
        }
    }
    change.state.running = Some(object);
    for (name, object, directory) in mounted_at_start(&change.state, root) {
        change.expose(&name)?;
        change.state.mounts.push(Mounted {
            object,
            directory,
            readonly: false,
            linked: None,
            elsewhere: None,
        });
    }
    Ok(())
}

/// The root first, then by directory.
fn mounted_at_start(
    state: &State,
    root: &DatasetName,
) -> Vec<(DatasetName, ObjectId, Utf8PathBuf)> {
    let mut mounts: Vec<(DatasetName, ObjectId, Utf8PathBuf)> = state
        .datasets
        .iter()
        .filter(|(name, head)| {
            let canmount = view::canmount_of(head);
            let own = name.is_within(root)
                // Its `/boot` on a pool of its own is in its fstab.
                || name.as_str().split_once('/').is_some_and(|(_, rest)| {
                    rest.strip_prefix("BOOT/") == Some(root.leaf())
                });
            *name != root
                && mountable(state, head).is_ok()
                && (canmount == Canmount::On || (own && canmount == Canmount::Noauto))
        })
        .filter_map(|(name, head)| match view::mountpoint_of(state, name) {
            // `zfs mount` does not mount over what is in use.
            Mountpoint::Path(path) if path != "/" => Some((name.clone(), head.object, path)),
            _ => None,
        })
        .collect();
    mounts.sort_by(|a, b| a.2.cmp(&b.2));
    if let Some(head) = state.datasets.get(root) {
        mounts.insert(0, (root.clone(), head.object, "/".into()));
    }
    mounts
}
