//! Files of datasets and snapshots handed out: to [`FileWork`], and one by one.

use std::io;
use std::sync::Arc;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::ambient_authority;
use cap_std_ext::cap_std::fs::Dir;

use super::Sim;
use super::files::{self, Node, Tree};
use super::platform::filesystem;
use super::refusal::{Refusal, Ruled};
use super::state::{State, TreeId};
use crate::os::{Error, FileWork, Files, Platform as _, Result};
use crate::zfs::{DatasetName, NameError, SnapshotName};

impl Sim {
    /// Writes one file of a dataset, its directories included.
    ///
    /// # Errors
    /// Where the dataset is not there or cannot be written to.
    pub fn write_file(
        &self,
        dataset: &DatasetName,
        path: impl AsRef<Utf8Path>,
        contents: impl AsRef<[u8]>,
    ) -> Result<()> {
        let (path, contents) = (normal(path.as_ref()), contents.as_ref());
        if self.inner.store.directory.is_some() {
            return self.with_files(dataset, true, &mut |root| {
                if let Some(parent) = path.parent() {
                    root.create_dir_all(parent)?;
                }
                root.write(&path, contents)
            });
        }
        self.change(|change| {
            filesystem(change.state.head(dataset)?)?;
            let tree = change.expose(dataset)?;
            if let Some(mut trees) = change.files.memory() {
                let tree = Arc::make_mut(trees.entry(tree).or_default());
                for parent in path.ancestors().skip(1) {
                    if !parent.as_str().is_empty() {
                        let directory = Node::Directory(0o755);
                        tree.entry(parent.to_owned()).or_insert(directory);
                    }
                }
                tree.insert(path.clone(), Node::File(contents.into(), 0o644));
            }
            change.settle(dataset)
        })
        .map_err(|refusal| refusal.platform(format!("write {path} of {dataset}")))
    }

    /// Reads one file of a dataset or snapshot; `None` where it has no such file.
    ///
    /// # Errors
    /// Where the object is not there or its file cannot be read.
    pub fn read_file(&self, object: &str, path: impl AsRef<Utf8Path>) -> Result<Option<Vec<u8>>> {
        let path = normal(path.as_ref());
        let attempted = format!("read {path} of {object}");
        let tree = self
            .state()
            .and_then(|state| tree_of(&state, object))
            .map_err(|refusal| refusal.platform(&attempted))?;
        let files = &self.inner.store.files;
        if let Some(trees) = files.memory() {
            return Ok(match trees.get(&tree).and_then(|tree| tree.get(&path)) {
                Some(Node::File(contents, _)) => Some(contents.to_vec()),
                _ => None,
            });
        }
        let Some(root) = files.path(tree) else {
            return Ok(None);
        };
        match Dir::open_ambient_dir(root, ambient_authority()).and_then(|root| root.read(&path)) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(attempted)(error)),
        }
    }

    /// The files of a tree, to be read: its own directory, or a copy of what is
    /// in memory.
    pub(super) fn open_tree(&self, tree: TreeId) -> io::Result<Files> {
        let files = &self.inner.store.files;
        if let Some(path) = files.path(tree) {
            return Ok(Files {
                root: Dir::open_ambient_dir(path, ambient_authority())?,
                scratch: None,
            });
        }
        let scratch = tempfile::tempdir()?;
        let root = Utf8Path::from_path(scratch.path())
            .ok_or_else(|| io::Error::other("the temporary directory's name is not UTF-8"))?;
        let contents = files
            .memory()
            .and_then(|trees| trees.get(&tree).cloned())
            .unwrap_or_default();
        files::write_out(&contents, root)?;
        Ok(Files {
            root: Dir::open_ambient_dir(root, ambient_authority())?,
            scratch: Some(scratch),
        })
    }

    /// Lets `work` loose on a dataset's files, which are its own if it may write.
    pub(super) fn work_on(
        &self,
        tree: TreeId,
        writable: bool,
        work: &mut FileWork<'_>,
    ) -> io::Result<()> {
        let files = &self.inner.store.files;
        if let Some(path) = files.path(tree) {
            return work(&Dir::open_ambient_dir(path, ambient_authority())?);
        }
        let scratch = tempfile::tempdir()?;
        let root = Utf8Path::from_path(scratch.path())
            .ok_or_else(|| io::Error::other("the temporary directory's name is not UTF-8"))?;
        let contents = files
            .memory()
            .and_then(|trees| trees.get(&tree).cloned())
            .unwrap_or_default();
        files::write_out(&contents, root)?;
        let done = work(&Dir::open_ambient_dir(root, ambient_authority())?);
        if writable {
            let mut contents = Tree::new();
            files::read_in(root, root, &mut contents)?;
            if let Some(mut trees) = files.memory() {
                trees.insert(tree, Arc::new(contents));
            }
        }
        done
    }
}

/// The files of a dataset or snapshot by its name.
fn tree_of(state: &State, object: &str) -> Ruled<TreeId> {
    let wrong = |error: NameError| Refusal::other(error.to_string());
    if object.contains('@') {
        let name: SnapshotName = object.parse().map_err(wrong)?;
        state.snap(&name).map(|snap| snap.tree)
    } else {
        let name: DatasetName = object.parse().map_err(wrong)?;
        state.head(&name).map(|head| head.tree)
    }
}

/// A path below a root, without `/`, `.` and `..`.
fn normal(path: &Utf8Path) -> Utf8PathBuf {
    path.components()
        .filter(|component| matches!(component, Utf8Component::Normal(_)))
        .collect()
}
