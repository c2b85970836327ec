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
use super::property::When;
use super::refusal::{Refusal, Ruled, file_error, refusal, refuse};
use super::state::{Head, ObjectId, Partial, Space, TreeId};
use crate::archive::simulated::{self, Received};
use crate::archive::{self, token::Token};
use crate::zfs::{Blocks, Guid, Incoming, Kind, Outgoing};

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
        let text = serde_json::to_vec(&contents);
        let mut text = text.map_err(|error| Refusal::other(error.to_string()))?;
        // Blocks end with a word.
        text.resize(text.len().next_multiple_of(8), b' ');
        let name = &outgoing.snapshot;
        Ok(simulated::simulated(name, snap.guid, base, &text))
    }

    /// What a receive makes of a stream, or of the rest of one.
    pub(super) fn arrive(&self, incoming: &Incoming, bytes: &[u8]) -> Ruled<()> {
        let received = simulated::received(bytes).map_err(|error| invalid(&error))?;
        if !received.whole {
            let cut = archive::Error::Truncated("before its last record".to_owned());
            return Err(invalid(&cut));
        }
        let begin = &received.begin;
        let target = incoming.target.dataset();
        self.change(|change| {
            let origin = origin(change, incoming, begin.base)?;
            // What came before, and the dataset that has it (`dmu_recv_resume_begin_check`).
            let (text, before) = match received.from {
                None => (received.contents.clone(), None),
                Some(from) => {
                    let head = change.state.head(&target)?.clone();
                    let partial = head.partial.as_ref();
                    let text = partial
                        .and_then(|partial| goes_on(partial, &received, from))
                        .ok_or_else(|| refusal(Errno::EINVAL, "invalid stream"))?;
                    change.remove_head(&target)?;
                    (text, Some(head))
                }
            };
            let contents: Contents = serde_json::from_slice(&text)
                .ok()
                .filter(|contents: &Contents| contents.simulated == 1)
                .ok_or_else(|| {
                    Refusal::other("cannot receive: it is no stream of a simulated machine")
                })?;
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
            datasets::arrive(change, arrived)?;
            if let Some(before) = before {
                let head = change.state.head_mut(&target)?;
                head.guid = before.guid;
                head.createtxg = before.createtxg;
                head.creation = before.creation;
            }
            Ok(())
        })
    }

    /// What `zfs receive -s` keeps of a stream that broke off.
    pub(super) fn hold(&self, incoming: &Incoming, bytes: &[u8]) -> Ruled<()> {
        let received = simulated::received(bytes).map_err(|error| invalid(&error))?;
        let target = incoming.target.dataset();
        self.change(|change| {
            let origin = origin(change, incoming, received.begin.base)?;
            let last = received.last;
            if let Some(from) = received.from {
                let head = change.state.head_mut(&target)?;
                let partial = head.partial.as_mut();
                let gone_on = partial.and_then(|partial| {
                    partial.contents = goes_on(partial, &received, from)?;
                    partial.last = last;
                    Some(())
                });
                return gone_on.ok_or_else(|| refusal(Errno::EINVAL, "invalid stream"));
            }
            let settings = &incoming.settings;
            let bytes = received.contents.len() as u64;
            datasets::check_arrival(&change.state, &target, settings, Kind::Filesystem, bytes)?;
            change.begin(&target.pool())?;
            let tree = change.empty_tree()?;
            let space = Space {
                referenced: bytes,
                written: bytes,
                ..Space::default()
            };
            let mut head = change.new_head(Kind::Filesystem, tree, space);
            head.origin = origin;
            head.properties = datasets::checked(settings, Kind::Filesystem, When::Cloning)?;
            head.receiving = true;
            head.partial = Some(Partial {
                name: received.begin.name,
                guid: received.begin.guid,
                base: received.begin.base,
                last,
                contents: received.contents,
            });
            change.state.datasets.insert(target.clone(), head);
            Ok(())
        })
    }
}

fn invalid(error: &archive::Error) -> Refusal {
    Refusal::other(format!("cannot receive: {error}"))
}

/// The snapshot that the stream is the difference to.
fn origin(change: &Change<'_>, incoming: &Incoming, base: Option<Guid>) -> Ruled<Option<ObjectId>> {
    match (&incoming.origin, base) {
        (None, None) => Ok(None),
        (Some(origin), Some(base)) if change.state.snap(origin)?.guid == base => {
            Ok(Some(change.state.snap(origin)?.object))
        }
        _ => refuse(
            Errno::ENODEV,
            "most recent snapshot does not match incremental source",
        ),
    }
}

/// What there is of a stream with what came now, where that begins at the last part
/// that came whole (`resume_check`).
fn goes_on(partial: &Partial, received: &Received, from: u64) -> Option<Vec<u8>> {
    let begin = &received.begin;
    if (partial.guid, partial.base, partial.last) != (begin.guid, begin.base, from) {
        return None;
    }
    if received.contents.is_empty() {
        return Some(partial.contents.clone());
    }
    let mut contents = partial
        .contents
        .get(..usize::try_from(from).ok()?)?
        .to_vec();
    contents.extend_from_slice(&received.contents);
    Some(contents)
}

/// `receive_resume_token`.
pub(super) fn token(head: &Head) -> Option<String> {
    let Some(partial) = &head.partial else {
        return head.receiving.then(|| "1-0-0-0".to_owned());
    };
    let token = Token {
        name: partial.name.clone(),
        guid: partial.guid,
        base: partial.base,
        object: simulated::CONTENTS,
        offset: partial.last,
        bytes: partial.contents.len() as u64,
        large: false,
        embedded: false,
        compressed: false,
        raw: false,
        redacted: false,
    };
    Some(token.text())
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
