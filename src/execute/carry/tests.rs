//! Whatever is planted in an environment, nothing outside of it is written.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::sync::decide::Metadata;
use crate::sync::list::Synclist;
use crate::sync::version::content_of;

const OUTSIDE: &str = "the machine's own\n";

/// A path, its mode, its time of change in seconds and nanoseconds, what is in it.
type Outside = (PathBuf, u32, i64, i64, Option<Vec<u8>>);

struct Ground {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    outside: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        let outside = scratch.path().join("outside");
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        Self {
            root,
            outside,
            _scratch: scratch,
        }
    }

    fn open(&self) -> OwnedFd {
        let root = fs::File::open(&self.root).unwrap();
        open_at(root.as_fd(), b".", DIRECTORY).unwrap()
    }

    /// The component of that number is a link; what would be behind it, is there.
    fn plant(path: &str, number: usize, absolute: bool) -> Self {
        let ground = Self::new();
        let names: Vec<&str> = path.split('/').collect();
        let above: PathBuf = names[..number].iter().collect();
        let behind: PathBuf = names[number + 1..].iter().collect();
        fs::create_dir_all(ground.root.join(&above)).unwrap();
        let target = ground.outside.join("target");
        if number + 1 == names.len() {
            fs::write(&target, OUTSIDE).unwrap();
        } else {
            let file = target.join(&behind);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, OUTSIDE).unwrap();
        }
        let link = ground.root.join(&above).join(names[number]);
        if absolute {
            symlink(&target, link).unwrap();
        } else {
            let mut up: PathBuf = std::iter::repeat_n("..", number + 1).collect();
            up.push("outside/target");
            symlink(up, link).unwrap();
        }
        ground
    }

    /// Everything outside, with what can be seen of a change.
    fn seen_outside(&self) -> Vec<Outside> {
        fn all(directory: &Path, found: &mut Vec<Outside>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = metadata.is_file().then(|| fs::read(&path).unwrap());
                let time = (metadata.ctime(), metadata.ctime_nsec());
                found.push((path.clone(), metadata.mode(), time.0, time.1, content));
                if metadata.is_dir() {
                    all(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        all(&self.outside, &mut found);
        found.sort();
        found
    }
}

fn a_file(content: &str) -> Seen {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    Seen {
        kind: Kind::File,
        content: content_of(content.as_bytes()),
        size: content.len() as u64,
        metadata: Metadata {
            mode: 0o644,
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            ..Metadata::default()
        },
    }
}

fn a_directory() -> Seen {
    let mut seen = a_file("");
    seen.kind = Kind::Directory;
    seen.content = Vec::new();
    seen.metadata.mode = 0o700;
    seen
}

fn nothing(_path: &[u8]) -> io::Result<Option<Located>> {
    Ok(None)
}

/// The changes that there can be of a path.
fn changes(path: &str) -> Vec<Change> {
    let change = |was: Option<Seen>, to: Option<Seen>| Change {
        path: path.as_bytes().to_vec(),
        part: Vec::new(),
        was,
        to,
        contents: Contents::Made(b"carried\n".to_vec()),
    };
    vec![
        change(None, Some(a_file("carried\n"))),
        change(Some(a_file(OUTSIDE)), Some(a_file("carried\n"))),
        change(Some(a_file(OUTSIDE)), None),
        change(None, Some(a_directory())),
        change(Some(a_directory()), Some(a_directory())),
        change(Some(a_directory()), None),
    ]
}

#[test]
fn no_link_at_any_component_of_any_path_of_the_list_leads_out() {
    let list = Synclist::defaults();
    let mut tried = 0;
    for rule in list.rules() {
        let path = rule.path.as_str().trim_start_matches('/');
        let names = path.split('/').count();
        for number in 0..names {
            // Of a directory above it does not matter what is changed below.
            let kinds = if number + 1 == names { 6 } else { 2 };
            for change in changes(path).into_iter().take(kinds) {
                stays_inside(path, number, tried % 2 == 0, &change);
                tried += 1;
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

/// With a link at the component of that number nothing outside is changed, neither
/// by a change nor by putting back.
fn stays_inside(path: &str, number: usize, absolute: bool, change: &Change) {
    let ground = Ground::plant(path, number, absolute);
    let before = ground.seen_outside();
    let told = format!("{path} {number} {absolute} {change:?}");
    let work = Work {
        change,
        path: path.as_bytes(),
        temporary: temporary(OpId::from_bits(7), 0),
    };
    let root = ground.open();
    let staged = work.stage(root.as_fd(), &nothing);
    let applied = work.apply(root.as_fd());
    assert!(staged.is_err() || applied.is_err(), "{told}");
    let entry = Entry {
        dataset: "p/r".parse().unwrap(),
        path: path.as_bytes().to_vec(),
        was: change.was.as_ref().map(Seen::digest),
        to: change.to.as_ref().map(Seen::digest),
    };
    let own = Ground::new();
    put_back(
        root.as_fd(),
        own.open().as_fd(),
        &entry,
        &temporary(OpId::from_bits(7), 0),
    )
    .unwrap();
    assert_eq!(before, ground.seen_outside(), "{told}");
}

#[test]
fn what_was_written_is_put_back_and_what_others_wrote_is_not() {
    let (ground, before) = (Ground::new(), Ground::new());
    for (name, old) in [("a", "old\n"), ("b", "old\n"), ("c", "old\n")] {
        fs::write(before.root.join(name), old).unwrap();
        fs::set_permissions(before.root.join(name), fs::Permissions::from_mode(0o4755)).unwrap();
    }
    fs::write(ground.root.join("a"), "carried\n").unwrap();
    fs::set_permissions(ground.root.join("a"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(ground.root.join("b"), "somebody's\n").unwrap();
    fs::write(ground.root.join("new"), "carried\n").unwrap();
    fs::set_permissions(ground.root.join("new"), fs::Permissions::from_mode(0o644)).unwrap();
    let (root, old) = (ground.open(), before.open());
    let digest = |name: &str| {
        let seen = read(old.as_fd(), name.as_bytes()).unwrap();
        seen.map(|seen| seen.digest())
    };
    let carried = || Some(a_file("carried\n").digest());
    for (name, to) in [
        ("a", carried()),
        ("b", carried()),
        ("c", None),
        ("new", carried()),
    ] {
        let entry = Entry {
            dataset: "p/r".parse().unwrap(),
            path: name.as_bytes().to_vec(),
            was: digest(name),
            to,
        };
        // A second time there is nothing left to do.
        for _ in 0..2 {
            put_back(root.as_fd(), old.as_fd(), &entry, "temporary").unwrap();
        }
    }
    let text = |name: &str| fs::read_to_string(ground.root.join(name)).ok();
    assert_eq!(text("a").as_deref(), Some("old\n"));
    assert_eq!(text("b").as_deref(), Some("somebody's\n"));
    assert_eq!(text("c").as_deref(), Some("old\n"));
    assert_eq!(text("new"), None);
    let mode = fs::metadata(ground.root.join("a")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o4755);
}

#[test]
fn what_lies_below_the_control_directory_or_above_is_not_reached() {
    let ground = Ground::new();
    fs::create_dir_all(ground.root.join(".zfs/snapshot")).unwrap();
    for path in [".zfs/snapshot", "..", "../outside/x", "a/../.."] {
        let found = parent(ground.open().as_fd(), path.as_bytes()).unwrap();
        assert!(found.is_none(), "{path}");
    }
}
