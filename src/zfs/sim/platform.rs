//! The simulated machine as an operating system. A mount is a symbolic link in
//! the place of an empty directory.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::Sim;
use super::refusal::{Refusal, Ruled, file_error};
use super::state::{Head, Mounted, ObjectId, State};
use super::{packages, view};
use crate::os::firmware::{Boots, Extent};
use crate::os::grub::{GrubChange, GrubMachine};
use crate::os::inside::{Ended, Inside, LoaderMount, NotRun, Program, Surroundings};
use crate::os::label::{Label, Vendor};
use crate::os::loader::{LoaderChange, LoaderPartition};
use crate::os::{
    Error, Facts, FileWork, Files, Holder, Lock, LockKind, Mount, MountRequest, Namespace, Object,
    Platform, Result, log,
};
use crate::sys::lock;
use crate::zfs::{DatasetName, Kind, PoolName, Zfs as _};

/// Where mount directories are said to be, in memory.
const MEMORY_MOUNTS: &str = "/sim/mnt";

fn busy(why: impl Into<String>) -> Refusal {
    super::refusal::refusal(nix::errno::Errno::EBUSY, why)
}

impl Sim {
    /// Puts back the directories that links stand for, the last mount first.
    pub(super) fn unlink(&self, mounts: &[Mounted]) -> Ruled<()> {
        for mount in mounts.iter().rev() {
            let Some(mode) = mount.linked else { continue };
            let path = &mount.directory;
            let failed = || file_error(format!("put back the directory {path}"));
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_symlink() => {
                    std::fs::remove_file(path).map_err(failed())?;
                }
                // A process was killed between the two, or somebody cleaned up.
                _ => continue,
            }
            std::fs::create_dir(path).map_err(failed())?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .map_err(failed())?;
        }
        Ok(())
    }

    /// The directory for what a machine has beside its pools.
    fn beside(&self) -> Result<Utf8PathBuf> {
        if let Some(directory) = &self.inner.store.directory {
            return Ok(directory.clone());
        }
        let attempted = "make a directory for the simulation";
        let scratch = match self.inner.scratch.get() {
            Some(scratch) => scratch,
            None => {
                let made = tempfile::tempdir().map_err(Error::io(attempted))?;
                // Another thread's is as good.
                self.inner.scratch.get_or_init(|| made)
            }
        };
        Utf8PathBuf::from_path_buf(scratch.path().to_owned()).map_err(|path| Error::Unexpected {
            attempted: attempted.to_owned(),
            detail: format!("{} is not UTF-8", path.display()),
        })
    }
}

/// Only file systems have files.
pub(super) fn filesystem(head: &Head) -> Ruled<()> {
    if head.kind == Kind::Filesystem {
        Ok(())
    } else {
        Err(Refusal::other("it is not a file system"))
    }
}

/// With its key, too.
pub(super) fn mountable(state: &State, head: &Head) -> Ruled<()> {
    filesystem(head)?;
    if state.key_loaded(head) {
        Ok(())
    } else {
        Err(Refusal::other("its key is not loaded"))
    }
}

/// Whether what a dataset is mounted as, if it is, can be written to:
/// all its mounts are of one superblock.
fn mounted_read_only(state: &State, object: ObjectId) -> Option<bool> {
    let mut mounts = state.mounts.iter().filter(|mount| mount.object == object);
    let first = mounts.next()?;
    Some(first.readonly || mounts.any(|mount| mount.readonly))
}

/// Whether it can be mounted there beside its other mounts.
fn check_mount(state: &State, request: &MountRequest) -> Ruled<()> {
    let head = state.head(&request.dataset)?;
    mountable(state, head)?;
    let set = view::is_readonly(state, &request.dataset);
    // `zpl_get_tree` in zpl_super.c.
    let other = mounted_read_only(state, head.object)
        .is_some_and(|readonly| (readonly || set) != (request.readonly || set));
    if other {
        return Err(Refusal::other(
            "it is mounted already, and one of the two is to be read-only",
        ));
    }
    // `do_add_mount` of Linux refuses a file system on itself.
    let topmost = state
        .mounts
        .iter()
        .rfind(|mount| mount.elsewhere.is_none() && mount.directory == request.directory);
    if topmost.is_some_and(|mount| mount.object == head.object) {
        return Err(Refusal::other("it is already mounted there"));
    }
    Ok(())
}

impl Platform for Sim {
    fn root_dataset(&self) -> Result<Option<DatasetName>> {
        self.state()
            .map(|state| state.name_of(state.running?).cloned())
            .map_err(|refusal| refusal.platform("find the running system"))
    }

    fn mounts(&self, all: bool) -> Result<Vec<Mount>> {
        let state = self
            .state()
            .map_err(|refusal| refusal.platform("list the mounts"))?;
        Ok(state
            .mounts
            .iter()
            .filter(|mount| all || mount.elsewhere.is_none())
            .filter_map(|mount| {
                Some(Mount {
                    dataset: state.name_of(mount.object)?.clone(),
                    directory: mount.directory.clone(),
                    namespace: match &mount.elsewhere {
                        None => Namespace::Own,
                        Some((pid, command)) => Namespace::Of {
                            pid: *pid,
                            command: command.clone(),
                        },
                    },
                })
            })
            .collect())
    }

    fn mount(&self, request: &MountRequest) -> Result<()> {
        let MountRequest {
            dataset,
            directory,
            readonly,
            ..
        } = request;
        let linked = match self.inner.store.directory {
            Some(_) => Some(
                empty_directory(directory)
                    .map_err(|refusal| refusal.platform(format!("mount {dataset}")))?,
            ),
            None => None,
        };
        let refused =
            |refusal: Refusal| refusal.platform(format!("mount {dataset} on {directory}"));
        let tree = self
            .change(|change| {
                check_mount(&change.state, request)?;
                let tree = change.expose(dataset)?;
                let object = change.state.head(dataset)?.object;
                change.state.mounts.push(Mounted {
                    object,
                    directory: directory.clone(),
                    readonly: *readonly,
                    linked,
                    elsewhere: None,
                });
                Ok(tree)
            })
            .map_err(refused)?;
        let Some(target) = self.inner.store.files.path(tree) else {
            return Ok(());
        };
        let link = std::fs::remove_dir(directory)
            .and_then(|()| std::os::unix::fs::symlink(target, directory));
        if let Err(error) = link {
            self.unmount(directory, true)?;
            return Err(refused(file_error("replace the directory by a link")(
                error,
            )));
        }
        Ok(())
    }

    /// Without a link: the running system's directories are not those of the
    /// machine that the simulation is on.
    fn mount_in_place(&self, request: &MountRequest) -> Result<()> {
        let MountRequest {
            dataset, directory, ..
        } = request;
        self.change(|change| {
            check_mount(&change.state, request)?;
            change.expose(dataset)?;
            let object = change.state.head(dataset)?.object;
            change.state.mounts.push(Mounted {
                object,
                directory: directory.clone(),
                readonly: request.readonly,
                linked: None,
                elsewhere: None,
            });
            Ok(())
        })
        .map_err(|refusal| refusal.platform(format!("mount {dataset} on {directory}")))
    }

    /// Where something keeps the dataset busy.
    fn holders(
        &self,
        dataset: &DatasetName,
        _below: &Utf8Path,
        directory: &Utf8Path,
        _bound: Option<&Utf8Path>,
    ) -> Result<Vec<Holder>> {
        let refused = |refusal: Refusal| refusal.platform(format!("see who uses {directory}"));
        let state = self.state().map_err(refused)?;
        let busy = state.head(dataset).map_err(refused)?.busy;
        Ok(busy
            .then(|| Holder {
                pid: 1234,
                command: "simulated".to_owned(),
                service: Some("simulated.service".to_owned()),
                what: format!("has {directory} open"),
            })
            .into_iter()
            .collect())
    }

    fn unmount(&self, directory: &Utf8Path, force: bool) -> Result<()> {
        self.change_after(
            |change| {
                let state = &mut change.state;
                let own = |mount: &Mounted| mount.elsewhere.is_none();
                let Some(index) = state
                    .mounts
                    .iter()
                    .rposition(|mount| own(mount) && mount.directory == directory)
                else {
                    return Err(Refusal::other("nothing is mounted there"));
                };
                if directory == "/" {
                    return Err(busy("the system runs on it"));
                }
                let below = |mount: &Mounted| {
                    own(mount)
                        && mount.directory != directory
                        && mount.directory.starts_with(directory)
                };
                let open = state
                    .mounts
                    .get(index)
                    .and_then(|mount| state.by_object(mount.object))
                    .is_some_and(|head| head.busy);
                if !force && (open || state.mounts.iter().any(below)) {
                    return Err(busy("target is busy"));
                }
                let mut gone = vec![state.mounts.remove(index)];
                gone.extend(state.mounts.extract_if(.., |mount| below(mount)));
                let settled: Vec<DatasetName> = gone
                    .iter()
                    .filter_map(|mount| state.name_of(mount.object).cloned())
                    .collect();
                for name in settled {
                    change.settle(&name)?;
                }
                Ok(gone)
            },
            |gone| self.unlink(gone),
            true,
        )
        .map(drop)
        .map_err(|refusal| refusal.platform(format!("unmount {directory}")))
    }

    fn with_files(
        &self,
        dataset: &DatasetName,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> Result<()> {
        let attempted = || format!("work with the files of {dataset}");
        let refused = |refusal: Refusal| refusal.platform(attempted());
        if !writable {
            let state = self.state().map_err(refused)?;
            let head = state.head(dataset).map_err(refused)?;
            mountable(&state, head).map_err(refused)?;
            return self
                .work_on(head.tree, false, work)
                .map_err(Error::io(attempted()));
        }
        // Nothing is locked meanwhile: `work` may ask for other files.
        let tree = self
            .change_after(
                |change| {
                    let head = change.state.head(dataset)?;
                    mountable(&change.state, head)?;
                    change.state.writable(&dataset.pool())?;
                    if view::is_readonly(&change.state, dataset)
                        || mounted_read_only(&change.state, head.object) == Some(true)
                    {
                        return Err(Refusal::other("it is read-only"));
                    }
                    change.expose(dataset)
                },
                |_| Ok(()),
                false,
            )
            .map_err(refused)?;
        let done = self.work_on(tree, true, work);
        self.change(|change| change.settle(dataset))
            .map_err(refused)?;
        done.map_err(Error::io(attempted()))
    }

    fn open_files(&self, object: &Object) -> Result<Files> {
        let attempted = || format!("read the files of {object}");
        let refused = |refusal: Refusal| refusal.platform(attempted());
        let state = self.state().map_err(refused)?;
        let tree = match object {
            Object::Dataset(name) => {
                let head = state.head(name).map_err(refused)?;
                mountable(&state, head).map_err(refused)?;
                head.tree
            }
            Object::Snapshot(name) => {
                let head = state.head(&name.dataset()).map_err(refused)?;
                mountable(&state, head).map_err(refused)?;
                state.snap(name).map_err(refused)?.tree
            }
        };
        self.open_tree(tree).map_err(Error::io(attempted()))
    }

    /// A simulated machine has the hostid that the running system's file says,
    /// and no firmware.
    fn facts(&self) -> Facts {
        let mut hostid = None;
        if let Ok(Some(root)) = self.root_dataset() {
            // Without the file there is no hostid, as on a real machine.
            let _ = self.with_files(&root, false, &mut |dir| {
                hostid = crate::check::initramfs::hostid(&dir.read("etc/hostid")?);
                Ok(())
            });
        }
        Facts {
            hostid,
            command_line: self.command_line(),
            secure_boot: self.variable("SecureBoot").as_deref() == Some("1"),
            ..Facts::default()
        }
    }

    fn partitions(
        &self,
        _root: &Utf8Path,
        named: Option<&Utf8Path>,
    ) -> Result<Vec<LoaderPartition>> {
        self.loader_partitions(named)
    }

    fn open_partition(&self, directory: &Utf8Path) -> Result<cap_std_ext::cap_std::fs::Dir> {
        self.loader_partition(directory)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.firmware_variable(name)
    }

    fn set_variable(&self, name: &str, value: Option<&str>) -> Result<()> {
        self.set_firmware_variable(name, value.map(str::as_bytes))
    }

    fn firmware(&self) -> Result<Option<Boots>> {
        self.boots()
    }

    fn set_firmware(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        self.set_firmware_variable(name, value)
    }

    /// The first of a disk.
    fn extent(&self, _partition: &Utf8Path) -> Result<Extent> {
        Ok(Extent {
            number: 1,
            start: 2048,
            blocks: 1 << 20,
            uuid: [0; 16],
        })
    }

    fn label_vendor(&self) -> Option<Vendor> {
        self.vendor()
    }

    fn pool_label(&self, pool: &PoolName) -> Result<Label> {
        self.read_label(pool)
    }

    fn set_pool_label(&self, pool: &PoolName, once: Option<&str>) -> Result<()> {
        self.write_label(pool, once)
    }

    /// As the running system has it installed.
    fn watch_program(&self) -> Result<Option<Vec<u8>>> {
        let Some(files) = self.running_files()? else {
            return Ok(None);
        };
        match files.root.read("usr/lib/beadm-rs/watch") {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            program => program
                .map(Some)
                .map_err(Error::io("read /usr/lib/beadm-rs/watch")),
        }
    }

    fn is_watched(&self) -> bool {
        self.is_switch_there()
    }

    fn end_watch(&self) -> Result<bool> {
        self.end_switch()
    }

    fn change_loader(&self, change: &LoaderChange) -> Result<()> {
        self.loader_change(change)
    }

    fn grub_machine(&self, partition: &Utf8Path) -> Result<GrubMachine> {
        self.how_grub_is_installed(partition)
    }

    fn change_grub(&self, change: &GrubChange) -> Result<()> {
        self.grub_change(change)
    }

    fn new_mount_directory(&self, name: &str) -> Result<Utf8PathBuf> {
        let attempted = format!("make a directory to mount {name} on");
        self.powered()
            .map_err(|refusal| refusal.platform(&attempted))?;
        let Some(directory) = &self.inner.store.directory else {
            return Ok(Utf8Path::new(MEMORY_MOUNTS).join(name));
        };
        let made = tempfile::Builder::new()
            .prefix(&format!("{}.", name.replace('/', "-")))
            .tempdir_in(directory.join("mnt"))
            .map_err(Error::io(&attempted))?
            .keep();
        Utf8PathBuf::from_path_buf(made).map_err(|path| Error::Unexpected {
            attempted,
            detail: format!("{} is not UTF-8", path.display()),
        })
    }

    fn is_own_mount_directory(&self, directory: &Utf8Path) -> bool {
        let own = match &self.inner.store.directory {
            Some(own) => own.join("mnt"),
            None => MEMORY_MOUNTS.into(),
        };
        directory.parent() == Some(&own)
    }

    fn lock(&self, kind: LockKind, purpose: &str, patience: Duration) -> Result<Lock> {
        self.powered()
            .map_err(|refusal| refusal.platform(format!("lock {}", self.label())))?;
        let path = self.beside()?.join(kind.file());
        lock::acquire(&path, purpose, patience)
    }

    fn lock_holder(&self, kind: LockKind) -> Option<String> {
        lock::holder(&self.beside().ok()?.join(kind.file()))
    }

    /// A machine that boots with an ESP.
    fn enable(&self, units: &[(String, Vec<String>)], off: bool) -> Result<()> {
        let Some(root) = self.root_dataset()? else {
            return Ok(());
        };
        self.with_files(&root, true, &mut |files| {
            for (name, links) in units {
                for link in links {
                    let beside = Utf8PathBuf::from(format!("etc/systemd/system/{link}"));
                    if off {
                        files.remove_file(beside.join(name))?;
                    } else {
                        files.create_dir_all(&beside)?;
                        let target = format!("/usr/lib/systemd/system/{name}");
                        files.symlink_contents(target, beside.join(name))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn surroundings(&self) -> Result<Surroundings> {
        Ok(Surroundings {
            command_line: "root=zfs:AUTO ro quiet".to_owned(),
            loader: vec![LoaderMount {
                directory: "/boot/efi".into(),
                kind: "vfat".to_owned(),
                source: "/dev/sda1".to_owned(),
            }],
        })
    }

    /// There is no system in a simulated environment but a package manager, and
    /// the machine the simulation runs on is not the one a command would be
    /// meant for.
    fn run_inside(
        &self,
        inside: &Inside,
        program: &Program,
        _interrupted: &AtomicBool,
        mounted: &mut (dyn FnMut() + Send),
    ) -> std::result::Result<Ended, NotRun> {
        mounted();
        packages::run(self, inside, program)
    }

    fn new_log(&self, name: &str) -> Result<(Utf8PathBuf, std::fs::File)> {
        log::create(&self.beside()?.join("log"), name)
    }

    fn volatile(&self, name: &str) -> Result<Utf8PathBuf> {
        let path = self.beside()?.join("run").join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("make {path}")))?;
        Ok(path)
    }
}

/// The mode of a directory that is there and empty.
fn empty_directory(directory: &Utf8Path) -> Ruled<u32> {
    let failed = || file_error(format!("look at {directory}"));
    let metadata = directory.symlink_metadata().map_err(failed())?;
    if metadata.is_symlink() {
        return Err(busy("something is mounted there"));
    }
    if directory
        .read_dir_utf8()
        .map_err(failed())?
        .next()
        .is_some()
    {
        return Err(Refusal::other(
            "the directory is not empty; the simulation mounts on empty ones only",
        ));
    }
    Ok(metadata.permissions().mode() & 0o7777)
}
