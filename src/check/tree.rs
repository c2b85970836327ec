//! The files of an environment as the booted system would see them: its
//! datasets in their places, links followed inside the environment only.
//!
//! Nothing is mounted over anything here: every part is an open directory, and
//! the way through them is made by hand, one name after the other. So a link
//! can lead to `/etc` of the environment and never to that of this machine,
//! and what lies hidden beneath a mountpoint can be seen.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::SystemTime;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};

/// As many links on one way as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// More names of one directory than this are not read.
const MAX_NAMES: usize = 20_000;

/// One file system of the environment.
#[derive(Debug)]
pub struct Part<'a> {
    /// Where it is mounted, without the leading slash; empty for the root.
    pub at: Utf8PathBuf,
    /// What it is called, for messages.
    pub name: String,
    /// Its files.
    pub dir: &'a Dir,
    /// Not one of the environment's own datasets: the ESP, say.
    pub foreign: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Tree<'a> {
    parts: Vec<Part<'a>>,
    troubles: RefCell<Vec<String>>,
}

/// A file, directory or something else, reached through all links.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its real path, without the leading slash.
    pub path: Utf8PathBuf,
    /// A directory.
    pub is_dir: bool,
    /// A regular file.
    pub is_file: bool,
    /// Somebody may execute it.
    pub executable: bool,
    /// Bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// In a part that is not the environment's own.
    pub foreign: bool,
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn components(path: &Utf8Path) -> impl DoubleEndedIterator<Item = &str> {
    path.components().filter_map(|component| match component {
        Utf8Component::Normal(name) => Some(name),
        Utf8Component::ParentDir => Some(".."),
        _ => None,
    })
}

impl<'a> Tree<'a> {
    /// Of these parts; the root is one of them.
    #[must_use]
    pub fn new(mut parts: Vec<Part<'a>>) -> Self {
        // The innermost first.
        parts.sort_by_key(|part| std::cmp::Reverse(components(&part.at).count()));
        Self {
            parts,
            troubles: RefCell::default(),
        }
    }

    /// The parts, the innermost first.
    #[must_use]
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// The part something lies in.
    #[must_use]
    pub fn part_of(&self, entry: &Entry) -> Option<&Part<'a>> {
        self.place(&entry.path).map(|(part, _)| part)
    }

    /// What could not be read although it is there.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.borrow().clone()
    }

    fn note<T>(&self, path: &Utf8Path, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if !is_absence(&error) {
                    self.troubles.borrow_mut().push(format!("/{path}: {error}"));
                }
                None
            }
        }
    }

    /// The part a real path lies in, and the way to it from there.
    fn place<'p>(&self, path: &'p Utf8Path) -> Option<(&Part<'a>, &'p Utf8Path)> {
        self.parts
            .iter()
            .find_map(|part| Some((part, path.strip_prefix(&part.at).ok()?)))
    }

    fn metadata(&self, path: &Utf8Path) -> io::Result<(Metadata, bool)> {
        let (part, below) = self.place(path).ok_or(io::ErrorKind::NotFound)?;
        let metadata = if below.as_str().is_empty() {
            part.dir.dir_metadata()?
        } else {
            part.dir.symlink_metadata(below)?
        };
        Ok((metadata, part.foreign))
    }

    fn link(&self, path: &Utf8Path) -> io::Result<Utf8PathBuf> {
        let (part, below) = self.place(path).ok_or(io::ErrorKind::NotFound)?;
        Utf8PathBuf::from_path_buf(part.dir.read_link_contents(below)?)
            .map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, path: &Utf8Path) -> io::Result<Entry> {
        let mut rest: VecDeque<String> = components(path).map(str::to_owned).collect();
        let mut done = Utf8PathBuf::new();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            let (metadata, _) = self.metadata(&next)?;
            if !metadata.is_symlink() {
                if !rest.is_empty() && !metadata.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                done = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::ErrorKind::NotFound.into());
            }
            let target = self.link(&next)?;
            if target.is_absolute() {
                done = Utf8PathBuf::new();
            }
            for name in components(&target).rev() {
                rest.push_front(name.to_owned());
            }
        }
        let (metadata, foreign) = self.metadata(&done)?;
        Ok(Entry {
            path: done,
            is_dir: metadata.is_dir(),
            is_file: metadata.is_file(),
            executable: metadata.mode() & 0o111 != 0,
            size: metadata.len(),
            modified: metadata.modified().ok().map(|time| time.into_std()),
            foreign,
        })
    }

    /// What is there, through all links; `None` where nothing is.
    #[must_use]
    pub fn find(&self, path: impl AsRef<Utf8Path>) -> Option<Entry> {
        let path = path.as_ref();
        self.note(path, self.resolve(path))
    }

    /// The same, where it is a regular file.
    #[must_use]
    pub fn file(&self, path: impl AsRef<Utf8Path>) -> Option<Entry> {
        self.find(path).filter(|entry| entry.is_file)
    }

    /// Opens a regular file.
    #[must_use]
    pub fn open(&self, path: impl AsRef<Utf8Path>) -> Option<File> {
        let entry = self.file(path)?;
        let (part, below) = self.place(&entry.path)?;
        // Were it replaced by a pipe or a link meanwhile, it must not be waited for.
        let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW).bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let file = self.note(&entry.path, part.dir.open_with(below, &options))?;
        let file = file.into_std();
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        regular.then_some(file)
    }

    /// Reads the first bytes of a file, at most `limit`.
    #[must_use]
    pub fn read(&self, path: impl AsRef<Utf8Path>, limit: u64) -> Option<Vec<u8>> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let file = self.open(path)?;
        self.note(path, file.take(limit).read_to_end(&mut bytes))?;
        Some(bytes)
    }

    /// Reads a file as text; what is not UTF-8 in it is replaced.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Utf8Path>) -> Option<String> {
        /// Longer than any configuration file or module list.
        const LIMIT: u64 = 4 << 20;
        let bytes = self.read(path, LIMIT)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory, in order; none where there is no directory.
    #[must_use]
    pub fn names(&self, path: impl AsRef<Utf8Path>) -> Vec<String> {
        let Some(entry) = self.find(path).filter(|entry| entry.is_dir) else {
            return Vec::new();
        };
        let Some((part, below)) = self.place(&entry.path) else {
            return Vec::new();
        };
        let read = if below.as_str().is_empty() {
            part.dir.entries()
        } else {
            part.dir.read_dir(below)
        };
        let Some(entries) = self.note(&entry.path, read) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .take(MAX_NAMES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use cap_std_ext::cap_std::ambient_authority;

    use super::*;

    fn dir(path: &std::path::Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).unwrap()
    }

    #[test]
    fn links_lead_nowhere_but_into_the_environment() {
        let (root, usr) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let make = |name: &str| std::fs::create_dir(root.path().join(name)).unwrap();
        ["etc", "usr"].into_iter().for_each(make);
        std::fs::write(usr.path().join("init"), "the init").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
        };
        link("/usr/init", "absolute");
        link("../../usr/init", "etc/relative");
        link("etc/passwd", "passwd");
        link("/etc/passwd", "host");
        link("loop", "loop");
        link("../../../../../../../../../../etc/hostname", "etc/out");
        link("usr/init/x", "through");
        let (root, usr) = (dir(root.path()), dir(usr.path()));
        let part = |at: &str, dir| Part {
            at: at.into(),
            name: at.to_owned(),
            dir,
            foreign: false,
        };
        let tree = Tree::new(vec![part("", &root), part("usr", &usr)]);
        for path in ["absolute", "etc/relative", "etc/../usr/init", "/usr/./init"] {
            assert_eq!(tree.text(path).as_deref(), Some("the init"), "{path}");
        }
        for path in ["passwd", "host", "loop", "etc/out", "through", "usr/none"] {
            assert!(tree.find(path).is_none(), "{path}");
        }
        assert_eq!(tree.names("usr"), ["init"]);
        assert_eq!(tree.troubles(), Vec::<String>::new());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&root.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = dir(root.path());
        let tree = Tree::new(vec![Part {
            at: Utf8PathBuf::new(),
            name: String::new(),
            dir: &root,
            foreign: false,
        }]);
        assert!(tree.find("pipe").is_some());
        assert!(tree.read("pipe", 10).is_none());
    }
}
