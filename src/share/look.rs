//! A directory of the running system that is to be shared, or is: what is in
//! it, who uses it, and what stands in the way.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use rustix::fs::{FileType, Statx};

use super::copy::{MAX_DEPTH, parent_of};
use super::uses::{self, Use};
use crate::diff::summary::escaped;
use crate::diff::tree::{DIRECTORY, names, open_at, stat};
use crate::host::Host;
use crate::os::{Error, Holder, Object, Result};
use crate::own;
use crate::survey::Survey;
use crate::zfs::DatasetName;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A symbolic link, and what it says.
    Link(String),
    /// Something else.
    Other,
}

/// What is in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes its files take, at most their sizes.
    pub bytes: u64,
    /// Files, directories and whatever else has a name.
    pub files: u64,
    /// A symbolic link that leads out of it by `..`, and what it says: it would
    /// lead elsewhere from another directory.
    pub leaving: Option<(String, String)>,
    /// A file that has a name outside of it too.
    pub outside: Option<String>,
    /// It is deeper than is followed.
    pub too_deep: bool,
}

/// A directory, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path.
    pub path: Utf8PathBuf,
    /// The dataset it lies in; `None` where that is another file system.
    pub home: Option<DatasetName>,
    /// Where in that.
    pub below: Utf8PathBuf,
    /// What it is.
    pub what: What,
    /// A directory on the way that is a link, or where somebody but root may
    /// rename what is in it.
    pub loose: Option<String>,
    /// What is in it.
    pub content: Content,
    /// What is mounted on it or below.
    pub mounted: Vec<Utf8PathBuf>,
    /// Whose it is, and would not follow a link.
    pub uses: Vec<Use>,
    /// What mounts something there already: fstab, or a unit.
    pub mounter: Option<String>,
    /// Who uses it now.
    pub holders: Vec<Holder>,
}

/// The dataset of the running system in which a path lies, and where in it.
pub fn home(
    host: &Host,
    survey: &Survey,
    path: &Utf8Path,
) -> Result<(Option<DatasetName>, Utf8PathBuf)> {
    let above = |directory: &Utf8PathBuf| path.starts_with(directory) && path != directory;
    let longest = host
        .platform
        .occupied()?
        .into_iter()
        .filter(above)
        .max_by_key(|directory| directory.components().count());
    let mount = survey
        .own_mounts()
        .filter(|mount| Some(&mount.directory) == longest.as_ref())
        .last();
    let below = |directory: &Utf8Path| {
        let rest = path.strip_prefix(directory).unwrap_or(path);
        rest.strip_prefix("/").unwrap_or(rest).to_owned()
    };
    Ok(match mount {
        Some(mount) => (Some(mount.dataset.clone()), below(&mount.directory)),
        None => (None, below("/".into())),
    })
}

/// Looks at a directory.
///
/// # Errors
/// Where the machine cannot be read.
pub fn look(host: &Host, survey: &Survey, path: &Utf8Path) -> Result<Seen> {
    let (home, below) = home(host, survey, path)?;
    let mut seen = Seen {
        path: path.to_owned(),
        what: What::Missing,
        loose: None,
        content: Content::default(),
        mounted: host.platform.occupied()?,
        uses: Vec::new(),
        mounter: None,
        holders: Vec::new(),
        home,
        below,
    };
    seen.mounted.retain(|directory| directory.starts_with(path));
    if let Some(files) = host.platform.running_files()? {
        (seen.uses, seen.mounter) = declared(&files.root, path);
    }
    let Some(home) = seen.home.clone() else {
        return Ok(seen);
    };
    let files = host.platform.open_files(&Object::Dataset(home.clone()))?;
    let attempted = || format!("look at {path}");
    seen.loose = loose(&files.root, &seen.below, path).map_err(Error::io(attempted()))?;
    if seen.loose.is_none() {
        read(&files.root, &mut seen).map_err(Error::io(attempted()))?;
    }
    if seen.what == What::Directory {
        seen.holders = host.platform.holders(&home, &seen.below, path, None)?;
    }
    Ok(seen)
}

/// What on the way is not root's alone.
pub(super) fn loose(root: &Dir, below: &Utf8Path, path: &Utf8Path) -> io::Result<Option<String>> {
    let mut directory = open_at(root.as_fd(), b".", DIRECTORY)?;
    let depth = below.components().count();
    let mut at: Utf8PathBuf = path
        .ancestors()
        .nth(depth)
        .unwrap_or(Utf8Path::new("/"))
        .to_owned();
    let me = nix::unistd::geteuid().as_raw();
    let mine = nix::unistd::getegid().as_raw();
    for component in std::iter::once(".").chain(
        below
            .parent()
            .into_iter()
            .flat_map(Utf8Path::components)
            .map(|component| component.as_str()),
    ) {
        if component != "." {
            at.push(component);
        }
        let Some(found) = stat(directory.as_fd(), component.as_bytes())? else {
            return Ok(None);
        };
        match kind(&found) {
            FileType::Directory => {}
            FileType::Symlink => return Ok(Some(format!("{at} is a symbolic link"))),
            _ => return Ok(Some(format!("{at} is not a directory"))),
        }
        let others = found.stx_mode & 0o002 != 0
            || (found.stx_mode & 0o020 != 0 && ![0, mine].contains(&found.stx_gid));
        if ![0, me].contains(&found.stx_uid) || others {
            return Ok(Some(format!(
                "others than root may change what {at} leads to"
            )));
        }
        directory = open_at(directory.as_fd(), component.as_bytes(), DIRECTORY)?;
    }
    Ok(None)
}

fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(found.stx_mode))
}

fn read(root: &Dir, seen: &mut Seen) -> io::Result<()> {
    let (parent, leaf) = match parent_of(root.as_fd(), &seen.below) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let Some(found) = stat(parent.as_fd(), &leaf)? else {
        return Ok(());
    };
    seen.what = match kind(&found) {
        FileType::Directory => What::Directory,
        FileType::Symlink => {
            let target =
                rustix::fs::readlinkat(&parent, std::ffi::OsStr::from_bytes(&leaf), Vec::new())?;
            What::Link(target.to_string_lossy().into_owned())
        }
        _ => What::Other,
    };
    if seen.what == What::Directory {
        let directory = open_at(parent.as_fd(), &leaf, DIRECTORY)?;
        seen.content = content(directory)?;
    }
    Ok(())
}

/// What is in a tree.
///
/// # Errors
/// Whatever the system says.
pub fn content(directory: std::os::fd::OwnedFd) -> io::Result<Content> {
    let mut counted = Counted::default();
    counted.walk(directory, &mut Vec::new())?;
    let mut content = counted.content;
    content.outside = counted
        .names
        .into_values()
        .find(|(there, seen, _)| there > seen)
        .map(|(_, _, name)| name);
    Ok(content)
}

#[derive(Default)]
struct Counted {
    content: Content,
    /// Files with several names: how many, how many seen, and one of them.
    names: HashMap<u64, (u32, u32, String)>,
}

impl Counted {
    fn walk(&mut self, directory: std::os::fd::OwnedFd, path: &mut Vec<Vec<u8>>) -> io::Result<()> {
        if path.len() == MAX_DEPTH {
            self.content.too_deep = true;
            return Ok(());
        }
        for name in names(directory.as_fd(), false)? {
            let Some(found) = stat(directory.as_fd(), &name.name)? else {
                continue;
            };
            self.content.files += 1;
            path.push(name.name);
            self.one(&directory, path, &found)?;
            path.pop();
        }
        Ok(())
    }

    fn one(
        &mut self,
        directory: &std::os::fd::OwnedFd,
        path: &mut Vec<Vec<u8>>,
        found: &Statx,
    ) -> io::Result<()> {
        let leaf = path.last().cloned().unwrap_or_default();
        let shown = || escaped(&path.join(&b'/'));
        if kind(found) == FileType::Directory {
            let below = match open_at(directory.as_fd(), &leaf, DIRECTORY) {
                Ok(below) => below,
                // Taken away or replaced meanwhile; the copy looks again.
                Err(_) => return Ok(()),
            };
            return self.walk(below, path);
        }
        let first = match self.names.get_mut(&found.stx_ino) {
            Some((_, seen, _)) => {
                *seen += 1;
                false
            }
            None => {
                if found.stx_nlink > 1 {
                    self.names
                        .insert(found.stx_ino, (found.stx_nlink, 1, shown()));
                }
                true
            }
        };
        if first && kind(found) == FileType::RegularFile {
            // Holes take no space, and on ZFS what is compressed takes less.
            self.content.bytes += found.stx_size.min(found.stx_blocks * 512);
        }
        if kind(found) == FileType::Symlink && self.content.leaving.is_none() {
            let name = std::ffi::OsStr::from_bytes(&leaf);
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            if leaves(path.len() - 1, target.to_bytes()) {
                let target = target.to_string_lossy().into_owned();
                self.content.leaving = Some((shown(), target));
            }
        }
        Ok(())
    }
}

/// Whether a link in so many directories leads out of the first of them.
fn leaves(depth: usize, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut depth = depth;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            b"" | b"." => {}
            _ => depth += 1,
        }
    }
    false
}

/// Where the settings of services are, below a root; the first wins where two
/// have one of a name.
const UNITS: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The largest unit or profile that is read, bytes.
const MAX_TEXT: u64 = 256 << 10;

/// What units and profiles say of a directory, and what mounts on it.
fn declared(root: &Dir, path: &Utf8Path) -> (Vec<Use>, Option<String>) {
    let mut found: Vec<Use> = uses::of_system(path).into_iter().collect();
    let unit = own::unit::name(path);
    let mut mounter = None;
    let mut known = std::collections::BTreeSet::new();
    for directory in UNITS {
        for (name, text) in texts(root, directory) {
            if name == unit {
                mounter = Some(format!("the unit {directory}/{name}"));
            }
            // A drop-in is "x.service.d/10-a.conf".
            let is_service = name.ends_with(".service") || name.ends_with(".conf");
            if is_service && known.insert(name.clone()) {
                found.extend(uses::of_unit(&name, &text, path));
            }
        }
    }
    for (name, text) in texts(root, "etc/apparmor.d") {
        found.extend(uses::of_profile(&name, &text, path));
    }
    let fstab = own::generator::fstab(root).unwrap_or_default();
    if own::directories(&fstab).contains(path) {
        mounter = Some("fstab".to_owned());
    }
    found.sort();
    found.dedup();
    (found, mounter)
}

/// The texts in a directory and in those directly in it.
fn texts(root: &Dir, directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut read = |at: &Utf8Path, name: String| {
        let path = at.join(name.rsplit('/').next().unwrap_or(&name));
        let metadata = root.metadata(&path);
        if metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_TEXT)
            && let Ok(text) = root.read(&path)
        {
            found.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
    };
    let listed = |at: &Utf8Path| -> Vec<(String, bool)> {
        let entries = root.read_dir(at).into_iter().flatten().flatten();
        let mut listed: Vec<(String, bool)> = entries
            .filter_map(|entry| {
                let is_directory = entry.file_type().ok()?.is_dir();
                Some((entry.file_name().into_string().ok()?, is_directory))
            })
            .collect();
        listed.sort();
        listed
    };
    let at = Utf8Path::new(directory);
    for (name, is_directory) in listed(at) {
        if is_directory && name.ends_with(".d") {
            let below = at.join(&name);
            for (text, _) in listed(&below) {
                read(&below, format!("{name}/{text}"));
            }
        } else {
            read(at, name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leaves_where_it_goes_further_up_than_it_lies() {
        for (depth, target, is) in [
            (0, "../mail", true),
            (1, "../mail", false),
            (1, "a/../../../x", true),
            (0, "a/../b", false),
            (0, "/var/mail", false),
            (0, "..", true),
        ] {
            assert_eq!(leaves(depth, target.as_bytes()), is, "{depth} {target}");
        }
    }
}
