//! Streams of the simulated machine: records as ZFS's own (`archive::stream`), so
//! that whoever follows them can be tried, around a tree of files in a form of the
//! simulator's. Each holds the whole tree, also one that is the difference to another.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::Sim;
use super::change::Change;
use super::datasets::{self, Arrived};
use super::files::{self, Files, Node, Tree};
use super::refusal::{Refusal, Ruled, file_error, refuse};
use super::state::{Space, TreeId};
use crate::archive::stream;
use crate::zfs::{Blocks, Incoming, Kind, Outgoing};

/// What follows the first record of a stream, as text.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    /// Says that it is one.
    simulated: u32,
    kind: Kind,
    encrypted: bool,
    raw: bool,
    nodes: BTreeMap<Utf8PathBuf, Sent>,
}

/// A file, directory or link.
#[derive(Debug, Serialize, Deserialize)]
enum Sent {
    File(Vec<u8>, u32),
    Directory(u32),
    Link(PathBuf),
}

impl Sim {
    /// The stream of a snapshot.
    pub(super) fn stream_of(&self, outgoing: &Outgoing) -> Ruled<Vec<u8>> {
        let state = self.state()?;
        let snap = state.snap(&outgoing.snapshot)?;
        let head = state.head(&outgoing.snapshot.dataset())?;
        let raw = outgoing.blocks == Blocks::Raw;
        if !raw && !state.key_loaded(head) {
            return refuse(Errno::EACCES, "dataset key must be loaded");
        }
        let base = match &outgoing.base {
            Some(base) => Some(state.snap(base)?.guid),
            None => None,
        };
        let read = read(&self.inner.store.files, snap.tree);
        let tree = read.map_err(file_error("read the files of a snapshot"))?;
        let nodes = tree.into_iter().map(|(path, node)| {
            let sent = match node {
                Node::File(contents, mode) => Sent::File(contents.to_vec(), mode),
                Node::Directory(mode) => Sent::Directory(mode),
                Node::Link(link) => Sent::Link(link),
            };
            (path, sent)
        });
        let contents = Contents {
            simulated: 1,
            kind: head.kind,
            encrypted: head.encryption_root.is_some(),
            raw,
            nodes: nodes.collect(),
        };
        let text = serde_json::to_vec(&contents).map_err(|error| Refusal::other(error.to_string()));
        let name = &outgoing.snapshot;
        Ok(stream::simulated(name, snap.guid, base, &text?))
    }

    /// What a receive makes of a stream.
    pub(super) fn arrive(&self, incoming: &Incoming, bytes: &[u8]) -> Ruled<()> {
        let invalid = |why: String| Refusal::other(format!("cannot receive: {why}"));
        let (begin, text) =
            stream::of_simulation(bytes).map_err(|error| invalid(error.to_string()))?;
        let contents: Contents = serde_json::from_slice(&text)
            .ok()
            .filter(|contents: &Contents| contents.simulated == 1)
            .ok_or_else(|| invalid("it is no stream of a simulated machine".to_owned()))?;
        let target = incoming.target.dataset();
        self.change(|change| {
            let origin = match (&incoming.origin, begin.base) {
                (None, None) => None,
                (Some(origin), Some(base)) if change.state.snap(origin)?.guid == base => {
                    Some(change.state.snap(origin)?.object)
                }
                _ => {
                    return refuse(
                        Errno::ENODEV,
                        "most recent snapshot does not match incremental source",
                    );
                }
            };
            let bytes = text.len() as u64;
            let settings = &incoming.settings;
            datasets::check_arrival(&change.state, &target, settings, contents.kind, bytes)?;
            let tree = change.state.tree_number();
            let written = write(change, tree, contents.nodes);
            written.map_err(file_error("write the files of what was received"))?;
            let measured = change.files.measure(tree, None, Space::default());
            let arrived = Arrived {
                target: &target,
                component: incoming.target.component(),
                settings,
                kind: contents.kind,
                locked: contents.raw && contents.encrypted,
                raw: contents.raw,
                origin,
                tree,
                referenced: measured.map_err(file_error("measure what was received"))?,
                guid: begin.guid,
            };
            datasets::arrive(change, arrived)
        })
    }
}

/// The files of a tree; what is mounted in it is an empty directory.
fn read(files: &Files, tree: TreeId) -> io::Result<Tree> {
    if let Some(trees) = files.memory() {
        let tree = trees.get(&tree).cloned().unwrap_or_default();
        return Ok(Tree::clone(&tree));
    }
    let mut contents = Tree::new();
    if let Some(root) = files.path(tree) {
        files::read_in(&root, &root, &mut contents)?;
        let data = root.parent().map(ToOwned::to_owned).unwrap_or_default();
        for node in contents.values_mut() {
            if matches!(node, Node::Link(link) if link.starts_with(Path::new(data.as_str()))) {
                *node = Node::Directory(0o755);
            }
        }
    }
    Ok(contents)
}

fn write(
    change: &mut Change<'_>,
    tree: TreeId,
    nodes: BTreeMap<Utf8PathBuf, Sent>,
) -> io::Result<()> {
    let nodes = nodes.into_iter().map(|(path, sent)| {
        let node = match sent {
            Sent::File(contents, mode) => Node::File(contents.into(), mode),
            Sent::Directory(mode) => Node::Directory(mode),
            Sent::Link(link) => Node::Link(link),
        };
        (path, node)
    });
    let contents: Tree = nodes.collect();
    // A simulated disk is a directory of whoever tries it out.
    let inside = |path: &Utf8PathBuf| {
        path.components()
            .all(|part| matches!(part, camino::Utf8Component::Normal(_)))
    };
    if !contents.keys().all(inside) {
        return Err(io::Error::other("it has a path that leads out of it"));
    }
    change.files.create(tree)?;
    match change.files.path(tree) {
        Some(path) => files::write_out(&contents, &path),
        None => {
            if let Some(mut trees) = change.files.memory() {
                trees.insert(tree, contents.into());
            }
            Ok(())
        }
    }
}
