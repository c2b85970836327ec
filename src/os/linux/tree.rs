//! A mounted environment as ground somebody else prepared: places in it are
//! opened below its root without following a symbolic link, and mounts are put
//! on what was opened, never on a path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

/// The root of a mounted environment.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// Opens a directory of this program's own, to mount from or on.
pub fn open(path: &Utf8Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path.as_std_path(), flags, Mode::empty())?)
}

impl Tree {
    /// The environment whose root is mounted on a directory of this program's.
    pub fn at(path: &Utf8Path) -> io::Result<Self> {
        Ok(Self { root: open(path)? })
    }

    fn below(&self, path: &Utf8Path, flags: OFlags) -> io::Result<OwnedFd> {
        // "." is the root itself; openat2(2) takes no empty path.
        let path = match path.as_str().trim_start_matches('/') {
            "" => ".",
            path => path,
        };
        rustix::fs::openat2(
            &self.root,
            path,
            OFlags::PATH | OFlags::CLOEXEC | flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .map_err(|errno| match errno {
            rustix::io::Errno::LOOP => {
                io::Error::other(format!("/{path} in it is, or lies below, a symbolic link"))
            }
            rustix::io::Errno::NOTDIR => {
                io::Error::other(format!("/{path} in it is not a directory"))
            }
            rustix::io::Errno::NOENT => {
                io::Error::new(io::ErrorKind::NotFound, format!("it has no /{path}"))
            }
            errno => errno.into(),
        })
    }

    /// A directory reached without a symbolic link.
    pub fn directory(&self, path: &Utf8Path) -> io::Result<OwnedFd> {
        self.below(path, OFlags::DIRECTORY)
    }

    /// The same, made where it is not there, as zfs-mount(8) does.
    pub fn directory_or_new(&self, path: &Utf8Path) -> io::Result<OwnedFd> {
        let mut above = self.directory(Utf8Path::new(""))?;
        let mut reached = Utf8PathBuf::new();
        for name in path.components() {
            reached.push(name);
            above = match self.directory(&reached) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&above, name.as_str(), Mode::from_raw_mode(0o755))?;
                    self.directory(&reached)?
                }
                result => result?,
            };
        }
        Ok(above)
    }

    /// What stands at a path, itself: a symbolic link stays one. What is above
    /// it is reached without any.
    pub fn entry(&self, path: &Utf8Path) -> io::Result<OwnedFd> {
        let above = self.directory(path.parent().unwrap_or(Utf8Path::new("")))?;
        let name = path.file_name().unwrap_or(".");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&above, name, flags, Mode::empty())?)
    }

    /// Reads a small file reached without a symbolic link.
    pub fn read(&self, path: &Utf8Path, most: u64) -> io::Result<String> {
        use std::io::Read as _;
        let fd = rustix::fs::openat2(
            &self.root,
            path.as_str().trim_start_matches('/'),
            // Else a pipe in the file's place would be waited on.
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )?;
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut text = String::new();
        file.take(most).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A new file system that is not mounted anywhere yet.
pub fn new(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags,
    )?)
}

/// A second mount of what was opened, with the flags of the first, not mounted
/// anywhere yet.
pub fn again(fd: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(fd, "", flags)?)
}

/// The same of a path of this program's own.
pub fn again_at(path: &Utf8Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, path.as_std_path(), flags)?)
}

/// Mounts what is not mounted anywhere yet (or takes it away from where it is)
/// on what was opened.
pub fn attach(mount: impl AsFd, on: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", on, "", flags)?)
}

/// Adds restrictions to the mount whose root was opened; those it has stay.
pub fn restrict(mount: impl AsFd, more: MountFlags) -> io::Result<()> {
    let mount = mount.as_fd();
    let has = rustix::fs::fstatvfs(mount)?.f_flag;
    let flags = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ]
    .into_iter()
    .filter_map(|(flag, same)| has.contains(flag).then_some(same))
    .fold(MountFlags::BIND | more, |all, flag| all | flag);
    // remount has no variant that takes a descriptor alone; the link under
    // /proc leads to just what was opened.
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    Ok(rustix::mount::mount_remount(path, flags, "")?)
}
