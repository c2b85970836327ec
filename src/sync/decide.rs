//! What happens to one file.
//!
//! Contents and metadata are decided apart, each three-way: where the source changed
//! the contents and the target the permissions, the target gets those contents and keeps
//! its permissions.

use std::collections::BTreeMap;

use super::LARGEST;
use super::content::How;
use super::list::Policy;
use super::records::Format;

/// What kind of thing there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket: never carried.
    Special,
}

impl Kind {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Special => "special",
        }
    }
}

/// What stands for the contents of a file, or the target of a symbolic link: equal
/// where, and only where, the contents are equal. It need be so only among the four
/// versions of one path. A directory's is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content(Vec<u8>);

impl Content {
    /// A digest, a number per different contents, a link's target.
    #[must_use]
    pub fn new(identity: impl Into<Vec<u8>>) -> Self {
        Self(identity.into())
    }
}

/// What belongs to a file besides its contents. Times are not compared: a copy has
/// the source's, anything else new ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The permissions, `0o7777`; 0 for a symbolic link.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Extended attributes, access control lists among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What is at a path on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What kind of thing.
    pub kind: Kind,
    /// What stands for its contents.
    pub content: Content,
    /// Bytes in it, of a regular file; 0 for others.
    pub size: u64,
    /// The rest.
    pub metadata: Metadata,
}

/// The four versions of one path.
#[derive(Debug, Clone, Copy)]
pub struct Four<'a> {
    /// The source at the last time.
    pub base_source: Option<&'a Version>,
    /// The source.
    pub source: Option<&'a Version>,
    /// The target at the last time.
    pub base_target: Option<&'a Version>,
    /// The target.
    pub target: Option<&'a Version>,
}

/// What is done to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: both sides are the same already, or neither has it.
    Nothing,
    /// Nothing: the target's stays as it is.
    Keep,
    /// The source's contents, or its link, or a directory, whatever the target has there.
    Copy,
    /// The contents are made of those of both sides; they are needed.
    Merge(How),
    /// The target's contents stay, and its metadata become the decision's.
    Metadata,
    /// What the target has there goes.
    Delete,
    /// Both sides changed it, and the changes do not go together.
    Conflict,
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub action: Action,
    /// What the target has there afterwards; `None` for nothing. In a conflict, what it
    /// has now.
    pub becomes: Option<Kind>,
    /// The metadata of that, where it is written: with `Copy`, `Merge` and `Metadata`.
    pub metadata: Option<Metadata>,
    /// Why, as a phrase.
    pub why: String,
}

impl Decision {
    fn new(action: Action, becomes: Option<Kind>, why: impl Into<String>) -> Self {
        Self {
            action,
            becomes,
            metadata: None,
            why: why.into(),
        }
    }

    fn with(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// What is left as it is because nobody asked for it to be carried.
    #[must_use]
    pub fn not_carried(target: Option<Kind>) -> Self {
        Self::new(Action::Keep, target, "it is not carried")
    }
}

/// Decides about one path.
#[must_use]
pub fn decide(policy: Policy, path: &[u8], four: &Four<'_>) -> Decision {
    match (four.source, four.target) {
        (None, None) => Decision::new(Action::Nothing, None, "neither side has it"),
        (None, Some(target)) => source_has_none(four, target),
        (Some(source), None) => target_has_none(four, source),
        (Some(source), Some(target)) => both_have(policy, path, four, source, target),
    }
}

fn source_has_none(four: &Four<'_>, target: &Version) -> Decision {
    let kind = Some(target.kind);
    match (four.base_source, four.base_target) {
        (None, _) => Decision::new(Action::Keep, kind, "only the target has it"),
        (Some(_), Some(base)) if base == target => Decision::new(
            Action::Delete,
            None,
            "deleted in the source, unchanged in the target",
        ),
        (Some(_), Some(_)) => Decision::new(
            Action::Conflict,
            kind,
            "deleted in the source, changed in the target",
        ),
        (Some(_), None) => Decision::new(
            Action::Conflict,
            kind,
            "deleted in the source, new in the target",
        ),
    }
}

fn target_has_none(four: &Four<'_>, source: &Version) -> Decision {
    if source.kind == Kind::Special {
        return Decision::new(Action::Keep, None, NEVER);
    }
    let copy = |why: &str| {
        Decision::new(Action::Copy, Some(source.kind), why).with(source.metadata.clone())
    };
    match (four.base_source, four.base_target) {
        (None, None) => copy("new in the source"),
        (None, Some(_)) => Decision::new(
            Action::Conflict,
            None,
            "new in the source, deleted in the target",
        ),
        (Some(base), Some(_)) if base == source => Decision::new(
            Action::Keep,
            None,
            "unchanged in the source, deleted in the target",
        ),
        (Some(base), None) if base == source => {
            Decision::new(Action::Keep, None, "unchanged in the source")
        }
        // Of a directory only the metadata can have changed; what is in it is decided
        // about by itself.
        (Some(base), _) if (base.kind, source.kind) == (Kind::Directory, Kind::Directory) => {
            Decision::new(Action::Keep, None, "the target has no such directory")
        }
        (Some(_), None) => copy("changed in the source, not in the target"),
        (Some(_), Some(_)) => Decision::new(
            Action::Conflict,
            None,
            "changed in the source, deleted in the target",
        ),
    }
}

/// Why a pipe, a socket, a device is left alone.
const NEVER: &str = "a pipe, a socket or a device is never carried";

fn both_have(
    policy: Policy,
    path: &[u8],
    four: &Four<'_>,
    source: &Version,
    target: &Version,
) -> Decision {
    let kind = Some(target.kind);
    if same(source, target) {
        return Decision::new(Action::Nothing, kind, "the same on both sides");
    }
    if four.base_source == Some(source) {
        return Decision::new(Action::Keep, kind, "unchanged in the source");
    }
    match (source.kind, target.kind) {
        (Kind::Special, _) => return Decision::new(Action::Keep, kind, NEVER),
        (_, Kind::Special) => {
            let why =
                "changed in the source, and the target has a pipe, a socket or a device there";
            return Decision::new(Action::Conflict, kind, why);
        }
        (one, other) if one != other => {
            let (one, other) = (one.noun(), other.noun());
            return if four.base_target == Some(target) {
                let why = format!("became {one} in the source, {other} unchanged in the target");
                Decision::new(Action::Copy, Some(source.kind), why).with(source.metadata.clone())
            } else {
                let why = format!("{one} in the source, {other} in the target, both changed");
                Decision::new(Action::Conflict, kind, why)
            };
        }
        _ => {}
    }
    let metadata = match metadata(four, &source.metadata, &target.metadata) {
        Ok(metadata) => metadata,
        Err(what) => {
            let why = format!("{what} changed differently on both sides");
            return Decision::new(Action::Conflict, kind, why);
        }
    };
    let (action, why) = content(policy, path, four, source, target);
    let action = match action {
        Action::Keep if metadata != target.metadata => Action::Metadata,
        action => action,
    };
    let from_one_side = match action {
        Action::Copy | Action::Keep | Action::Metadata => {
            let contents = match action {
                Action::Copy => &source.content,
                _ => &target.content,
            };
            [source, target]
                .iter()
                .any(|side| side.content == *contents && side.metadata == metadata)
        }
        Action::Merge(_) => false,
        Action::Nothing | Action::Delete | Action::Conflict => true,
    };
    if source.kind == Kind::File && privileged(&metadata) && !from_one_side {
        let why = "a program that runs with others' rights, changed on both sides";
        return Decision::new(Action::Conflict, kind, why);
    }
    match action {
        Action::Copy | Action::Merge(_) => Decision::new(action, kind, why).with(metadata),
        Action::Metadata => {
            let why = "permissions, owner or attributes changed in the source";
            Decision::new(action, kind, why).with(metadata)
        }
        _ => Decision::new(action, kind, why),
    }
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Special => "a pipe, a socket or a device",
        }
    }
}

/// Sizes follow from contents, where these are the same.
fn same(one: &Version, other: &Version) -> bool {
    one.kind == other.kind && one.content == other.content && one.metadata == other.metadata
}

/// What becomes of the contents of two of a kind. What `Keep` says is said of the whole.
fn content(
    policy: Policy,
    path: &[u8],
    four: &Four<'_>,
    source: &Version,
    target: &Version,
) -> (Action, &'static str) {
    let of_kind = |base: Option<&Version>, side: &Version| {
        base.filter(|base| base.kind == side.kind)
            .map(|base| base.content.clone())
    };
    let base_source = of_kind(four.base_source, source);
    let base_target = of_kind(four.base_target, target);
    if source.content == target.content {
        return (Action::Keep, "the same contents on both sides");
    }
    if base_source.as_ref() == Some(&source.content) {
        return (Action::Keep, "the contents are unchanged in the source");
    }
    let changed = base_target.as_ref() != Some(&target.content);
    if source.kind != Kind::File {
        return match changed {
            false => (Action::Copy, CHANGED),
            true => (Action::Conflict, "both sides made it lead elsewhere"),
        };
    }
    let fits = [four.base_source, four.base_target, four.source, four.target]
        .into_iter()
        .flatten()
        .all(|version| version.size <= LARGEST);
    // The target's differs from the source's although neither changed: what changed in the
    // source is put into it, its own is not lost.
    let apart = base_source != base_target;
    let how = match (policy, Format::of(path)) {
        (Policy::Append, _) => How::Append,
        (Policy::Prepend, _) => How::Prepend,
        (_, Some(format)) => How::Records(format),
        (_, None) => How::Text,
    };
    match policy {
        Policy::Append | Policy::Prepend if fits => (Action::Merge(how), "added to in the source"),
        Policy::Overwrite if !changed => (Action::Copy, CHANGED),
        _ if !changed && !apart => (Action::Copy, CHANGED),
        _ if !fits => (
            Action::Conflict,
            "changed on both sides, and larger than 16 MiB",
        ),
        _ if !changed => (
            Action::Merge(how),
            "changed in the source, different in the target before",
        ),
        _ => (Action::Merge(how), "changed on both sides"),
    }
}

const CHANGED: &str = "changed in the source, not in the target";

/// Whether whoever runs it gets others' rights by it (execve(2), capabilities(7)).
fn privileged(metadata: &Metadata) -> bool {
    metadata.mode & 0o6000 != 0 || metadata.xattrs.contains_key(&b"security.capability"[..])
}

/// Three-way: the target's where the source's is unchanged, the source's where the
/// target's is.
fn three<T: PartialEq>(bases: [Option<T>; 2], source: T, target: T) -> Option<T> {
    let [base_source, base_target] = bases;
    if source == target || base_source.as_ref() == Some(&source) {
        Some(target)
    } else if base_target.as_ref() == Some(&target) {
        Some(source)
    } else {
        None
    }
}

/// The metadata of both sides' changes, or what both changed.
fn metadata(
    four: &Four<'_>,
    source: &Metadata,
    target: &Metadata,
) -> Result<Metadata, &'static str> {
    let bases = [four.base_source, four.base_target];
    // Permissions, and the list that refines them, are one: the group's in the mode are the
    // mask of the list (acl(5)).
    let permissions = |metadata: &Metadata| {
        let list = metadata.xattrs.get(ACCESS);
        (metadata.mode, list.cloned())
    };
    let (mode, list) = three(
        bases.map(|base| base.map(|base| permissions(&base.metadata))),
        permissions(source),
        permissions(target),
    )
    .ok_or("the permissions were")?;
    let owner = |metadata: &Metadata| (metadata.uid, metadata.gid);
    let (uid, gid) = three(
        bases.map(|base| base.map(|base| owner(&base.metadata))),
        owner(source),
        owner(target),
    )
    .ok_or("the owner was")?;
    let mut xattrs = BTreeMap::new();
    let names: std::collections::BTreeSet<&Vec<u8>> =
        source.xattrs.keys().chain(target.xattrs.keys()).collect();
    for name in names {
        let value = if name == ACCESS {
            list.clone()
        } else {
            three(
                bases.map(|base| base.map(|base| base.metadata.xattrs.get(name))),
                source.xattrs.get(name),
                target.xattrs.get(name),
            )
            .ok_or("an attribute was")?
            .cloned()
        };
        if let Some(value) = value {
            xattrs.insert(name.clone(), value);
        }
    }
    Ok(Metadata {
        mode,
        uid,
        gid,
        xattrs,
    })
}

/// Where Linux keeps the list (xattr(7)).
const ACCESS: &[u8] = b"system.posix_acl_access";
