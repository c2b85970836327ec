//! Random trees and random changes to them, the same for the same seed.

use std::ffi::OsString;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Numbers that look random (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }
}

/// Names people and programs give, and names they should not.
const NAMES: [&[u8]; 14] = [
    b"a",
    b"b",
    b"conf",
    b"conf.d",
    b"a-b",
    b"a b",
    b"tab\there",
    b"new\nline",
    b"back\\slash",
    b"\xff\xfe",
    b"\xc3\xbc",
    b"<xattrdir>x",
    b"\\0040",
    b"-",
];

/// A tree that is changed.
pub struct Edits<'a> {
    root: &'a Path,
    random: Random,
}

impl<'a> Edits<'a> {
    pub fn new(root: &'a Path, seed: u64) -> Self {
        Self {
            root,
            random: Random::new(seed),
        }
    }

    /// What is in the tree below the places this may change, directories first.
    fn all(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut directories = Vec::new();
        let mut others = Vec::new();
        let mut left: Vec<PathBuf> = ["etc", "var", "var/lib", "usr/local", "root"]
            .iter()
            .map(|place| self.root.join(place))
            .filter(|place| place.is_dir())
            .collect();
        left.sort();
        while let Some(path) = left.pop() {
            let mut entries: Vec<PathBuf> = std::fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            entries.sort();
            if !directories.contains(&path) {
                directories.push(path);
            }
            for entry in entries {
                if entry.symlink_metadata().unwrap().is_dir() {
                    left.push(entry);
                } else {
                    others.push(entry);
                }
            }
        }
        (directories, others)
    }

    /// A path that is free.
    fn free(&mut self, directories: &[PathBuf]) -> Option<PathBuf> {
        let name = self.random.pick(&NAMES).unwrap().to_vec();
        let path = self
            .random
            .pick(directories)?
            .join(OsString::from_vec(name));
        path.symlink_metadata().is_err().then_some(path)
    }

    fn content(&mut self) -> Vec<u8> {
        let length = [0, 1, 100, 5000, 200_000][self.random.below(5)];
        let byte = u8::try_from(self.random.below(3)).unwrap();
        vec![byte; length]
    }

    /// A file's own directory and places are never moved or removed.
    fn is_place(&self, path: &Path) -> bool {
        ["etc", "var/lib", "usr/local/only", "root"]
            .iter()
            .any(|place| self.root.join(place).starts_with(path))
    }

    /// `zfs diff` cannot name a file whose newest name was removed in another
    /// directory: names of files with several are left where they are.
    fn has_other_names(path: &Path) -> bool {
        let found = path.symlink_metadata().unwrap();
        if found.is_dir() {
            return std::fs::read_dir(path)
                .unwrap()
                .any(|entry| Self::has_other_names(&entry.unwrap().path()));
        }
        found.nlink() > 1
    }

    /// Makes so many changes.
    pub fn make(&mut self, number: usize) {
        for _ in 0..number {
            self.one();
        }
    }

    fn one(&mut self) {
        let (directories, others) = self.all();
        let regular: Vec<PathBuf> = others
            .iter()
            .filter(|path| path.symlink_metadata().unwrap().is_file())
            .cloned()
            .collect();
        let mut either = others.clone();
        either.extend(directories.clone());
        match self.random.below(19) {
            0..=2 => {
                let content = self.content();
                if let Some(path) = self.free(&directories) {
                    std::fs::write(path, content).unwrap();
                }
            }
            3 => {
                if let Some(path) = self.free(&directories) {
                    std::fs::create_dir(path).unwrap();
                }
            }
            4 => {
                let target = [&b"a"[..], b"/etc/passwd", b"../x\n", b"\xff"][self.random.below(4)];
                if let Some(path) = self.free(&directories) {
                    let target = OsString::from_vec(target.to_vec());
                    std::os::unix::fs::symlink(target, path).unwrap();
                }
            }
            5 => {
                if let Some(path) = self.free(&directories) {
                    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
                    nix::unistd::mkfifo(&path, mode).unwrap();
                }
            }
            6 => {
                // A new name in any directory, the old one removed in some cases.
                if let (Some(file), Some(path)) =
                    (self.random.pick(&regular), self.free(&directories))
                    && std::fs::hard_link(&file, path).is_ok()
                    && self.random.below(3) == 0
                {
                    std::fs::remove_file(file).unwrap();
                }
            }
            7 | 8 => {
                let content = self.content();
                if let Some(file) = self.random.pick(&regular) {
                    std::fs::write(file, content).unwrap();
                }
            }
            9 => {
                // The same again: no difference, though ZFS wrote it.
                if let Some(file) = self.random.pick(&regular) {
                    let content = std::fs::read(&file).unwrap();
                    std::fs::write(file, content).unwrap();
                }
            }
            10 => {
                if let Some(file) = self.random.pick(&regular) {
                    let mut open = std::fs::OpenOptions::new().write(true).open(file).unwrap();
                    let at = 1_000_000 * self.random.below(3) as u64;
                    open.seek(SeekFrom::Start(at)).unwrap();
                    open.write_all(b"behind a hole").unwrap();
                }
            }
            11 => {
                if let Some(path) = self.random.pick(&either)
                    && !path.is_symlink()
                {
                    let mode = [0o644, 0o755, 0o4755][self.random.below(3)];
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            12 => {
                if let Some(path) = self.random.pick(&either) {
                    // Only root can, and not in every file system (the next one).
                    let _ = std::os::unix::fs::lchown(path, Some(1000), None);
                }
            }
            13 => {
                if let Some(path) = self.random.pick(&either)
                    && (path.is_dir() || regular.contains(&path))
                {
                    let value = [&b"one"[..], b"two"][self.random.below(2)];
                    let flags = rustix::fs::XattrFlags::empty();
                    let _ = rustix::fs::lsetxattr(path, "user.test", value, flags);
                }
            }
            14 | 15 => {
                // Also directories with all that is in them.
                if let (Some(from), Some(to)) = (self.random.pick(&either), self.free(&directories))
                    && !self.is_place(&from)
                    && !Self::has_other_names(&from)
                    && !to.starts_with(&from)
                {
                    // Not from one dataset to another.
                    let _ = std::fs::rename(from, to);
                }
            }
            16 => {
                if let Some(path) = self.random.pick(&others)
                    && !Self::has_other_names(&path)
                {
                    std::fs::remove_file(path).unwrap();
                }
            }
            17 => {
                if let Some(path) = self.random.pick(&directories)
                    && !self.is_place(&path)
                    && !Self::has_other_names(&path)
                {
                    std::fs::remove_dir_all(path).unwrap();
                }
            }
            _ => {
                // Something else of the same name.
                if let Some(path) = self.random.pick(&others)
                    && !Self::has_other_names(&path)
                {
                    std::fs::remove_file(&path).unwrap();
                    std::fs::create_dir(path).unwrap();
                }
            }
        }
    }
}
