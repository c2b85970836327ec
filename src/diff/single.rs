//! One dataset or snapshot by itself, not as a part of a tree.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Statx};

use super::tree::{DIRECTORY, Root, join, names, open_at, optional, stat};
use crate::host::Host;
use crate::os;

/// One dataset or snapshot by itself, below its own root.
#[derive(Debug)]
pub struct Single {
    root: Root,
}

impl Single {
    /// Opens it.
    ///
    /// # Errors
    /// Where it cannot be mounted.
    pub fn open(host: &Host, object: &os::Object) -> os::Result<Self> {
        Ok(Self {
            root: Root::open(host, object)?,
        })
    }

    /// What is at a path.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn stat(&self, path: &[u8]) -> io::Result<Option<Statx>> {
        let mut directory: Option<OwnedFd> = None;
        let mut components = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = components.next() {
            let at = match &directory {
                Some(fd) => fd.as_fd(),
                None => self.root.root.as_fd(),
            };
            if components.peek().is_none() {
                let name = if name.is_empty() { b"." } else { name };
                return stat(at, name);
            }
            match optional(open_at(at, name, DIRECTORY))? {
                Some(fd) => directory = Some(fd),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Tells `found` of every path whose object's number is `wanted`, reading
    /// nothing but directories.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn paths_of(
        &self,
        wanted: &dyn Fn(u64) -> bool,
        found: &mut dyn FnMut(Vec<u8>),
    ) -> io::Result<()> {
        let mut left: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(path) = left.pop() {
            let mut fd: Option<OwnedFd> = None;
            let mut lost = false;
            for name in path
                .split(|byte| *byte == b'/')
                .filter(|name| !name.is_empty())
            {
                let at = fd.as_ref().map_or(self.root.root.as_fd(), AsFd::as_fd);
                match optional(open_at(at, name, DIRECTORY))? {
                    Some(next) => fd = Some(next),
                    None => lost = true,
                }
                if lost {
                    break;
                }
            }
            if lost {
                continue;
            }
            let at = fd.as_ref().map_or(self.root.root.as_fd(), AsFd::as_fd);
            for name in names(at, path.is_empty())? {
                let full = join(&path, &name.name);
                if wanted(name.inode) {
                    found(full.clone());
                }
                let directory = match name.directory {
                    Some(directory) => directory,
                    None => stat(at, &name.name)?.is_some_and(|stat| {
                        FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Directory
                    }),
                };
                if directory {
                    left.push(full);
                }
            }
        }
        Ok(())
    }
}
