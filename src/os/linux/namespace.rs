//! Files of datasets and snapshots in a mount namespace of one thread: nobody else
//! sees the mounts, and they end with the thread or the process, however that ends.

use std::io;

use camino::Utf8Path;
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use super::Linux;
use crate::os::{EachWork, Error, Files, MountedWork, Object, Result};
use crate::sys::close_together;
use crate::zfs::DatasetName;

/// A mount namespace of this thread's own, of which nothing gets out.
fn leave_namespace() -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

/// Mounts a dataset or snapshot so that nothing can be changed, and nothing in
/// it be executed or opened as a device, through this mount.
fn mount_readonly(object: &str, directory: &Utf8Path) -> io::Result<()> {
    let none = None::<&str>;
    let directory = directory.as_std_path();
    let harmless =
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    let mount = |flags| nix::mount::mount(Some(object), directory, Some("zfs"), flags, none);
    match mount(harmless | MsFlags::MS_RDONLY) {
        Ok(()) => Ok(()),
        // Mounted somewhere so that it can be written: a read-only one beside it
        // is refused (zpl_get_tree in zpl_super.c), but not one that is made
        // read-only afterwards, by itself.
        Err(nix::errno::Errno::EBUSY) => {
            mount(harmless)?;
            let only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            nix::mount::mount(none, directory, none, only | harmless, none)?;
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// A dataset's files in this thread's namespace, seen by nobody else.
fn mount_privately(dataset: &DatasetName, directory: &Utf8Path, writable: bool) -> io::Result<Dir> {
    if writable {
        let none = None::<&str>;
        let flags =
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        let source = Some(dataset.as_str());
        nix::mount::mount(source, directory.as_std_path(), Some("zfs"), flags, none)?;
    } else {
        mount_readonly(dataset.as_str(), directory)?;
    }
    Dir::open_ambient_dir(directory, ambient_authority())
}

impl Linux {
    /// Works on the files of several datasets.
    pub(super) fn privately(
        &self,
        datasets: &[DatasetName],
        writable: bool,
        work: &mut EachWork<'_>,
    ) -> Result<()> {
        let directory = self.run.join("files");
        self.directory(&directory)?;
        let names: Vec<&str> = datasets.iter().map(DatasetName::as_str).collect();
        let attempted = format!("work on the files of {}", names.join(", "));
        let told = |cause: io::Error| Error::Io {
            attempted: attempted.clone(),
            cause,
        };
        let body = || -> io::Result<()> {
            leave_namespace()?;
            // One over the other: each was opened before it was hidden.
            let dirs = datasets
                .iter()
                .map(|dataset| mount_privately(dataset, &directory, writable))
                .collect::<io::Result<Vec<Dir>>>()?;
            let done = work(&dirs);
            let detach = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
            let detached = datasets
                .iter()
                .try_for_each(|_| nix::mount::umount2(directory.as_std_path(), detach));
            // They are unmounted with these, which waits for the writes.
            close_together(dirs);
            done.and(detached.map_err(io::Error::from))
        };
        std::thread::scope(|scope| scope.spawn(body).join())
            .map_err(|_| told(io::Error::other("the thread that did it panicked")))?
            .map_err(told)
    }

    /// Mounted in a namespace that ends at once; the open directory keeps the
    /// mount until it is closed.
    pub(super) fn opened(&self, object: &Object) -> Result<Files> {
        let directory = self.run.join("files");
        self.directory(&directory)?;
        let told = Error::io(format!("read the files of {object}"));
        let body = || -> io::Result<Dir> {
            leave_namespace()?;
            mount_readonly(&object.to_string(), &directory)?;
            Dir::open_ambient_dir(&directory, ambient_authority())
        };
        let root = std::thread::scope(|scope| scope.spawn(body).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread that did it panicked")));
        Ok(Files {
            root: root.map_err(told)?,
            scratch: None,
        })
    }

    /// Works on directories where datasets are mounted, there or in a namespace.
    pub(super) fn mounted(
        &self,
        datasets: &[DatasetName],
        work: &mut MountedWork<'_>,
    ) -> Result<()> {
        let own = self.read_own()?;
        let parent = self.run.join("mounted");
        self.directory(&parent)?;
        let mut directories = Vec::new();
        let mut missing = Vec::new();
        for (number, dataset) in datasets.iter().enumerate() {
            let mounts = own.iter().filter(|entry| entry.dataset == *dataset);
            let mut mounts = mounts.map(|entry| &entry.directory);
            match (mounts.next(), mounts.next()) {
                (Some(directory), None) => directories.push(directory.clone()),
                (Some(_), Some(_)) => {
                    return Err(Error::Unexpected {
                        attempted: format!("mount {dataset}"),
                        detail: "it is mounted on several directories".to_owned(),
                    });
                }
                (None, _) => {
                    let directory = parent.join(number.to_string());
                    self.directory(&directory)?;
                    missing.push((dataset, directory.clone()));
                    directories.push(directory);
                }
            }
        }
        let body = || -> Result<()> {
            leave_namespace().map_err(Error::io("make a mount namespace"))?;
            for (dataset, directory) in missing {
                mount_readonly(dataset.as_str(), &directory)
                    .map_err(Error::io(format!("mount {dataset} on {directory}")))?;
            }
            work(&directories);
            Ok(())
        };
        std::thread::scope(|scope| scope.spawn(body).join()).unwrap_or_else(|_| {
            Err(Error::Unexpected {
                attempted: "work on mounted datasets".to_owned(),
                detail: "the thread that did it panicked".to_owned(),
            })
        })
    }
}
