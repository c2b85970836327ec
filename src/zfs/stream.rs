//! Streams: between pools, out of the machine and into it.

use std::io::{self, Read, Write};

use serde::Serialize;

use super::{DatasetName, Setting, SnapshotName};

/// A full stream of one snapshot into a dataset of another pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// What is sent.
    pub snapshot: SnapshotName,
    /// What is made; never mounted by the receive.
    pub target: DatasetName,
    /// The settings of the target.
    pub settings: Vec<Setting>,
    /// Sent as it lies on disk: encrypted, key not needed (`zfs send -w`).
    pub raw: bool,
}

/// A stream that leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outgoing {
    /// What is sent.
    pub snapshot: SnapshotName,
    /// What it is the difference to: a snapshot it came from.
    pub base: Option<SnapshotName>,
    /// How its blocks travel.
    pub blocks: Blocks,
}

/// How blocks travel in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocks {
    /// Unpacked and in pieces that every release receives (`zfs send` without options).
    Plain,
    /// As they lie in the pool, so that nothing is unpacked only to be packed again
    /// (`zfs send -Lc`).
    AsStored,
    /// As they lie on disk, encrypted, key not needed (`zfs send -w`).
    Raw,
}

/// A stream that comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incoming {
    /// The snapshot it becomes; its dataset is made, and never mounted by it.
    pub target: SnapshotName,
    /// The settings of the dataset.
    pub settings: Vec<Setting>,
    /// What it is received as a clone of: the stream is the difference to that.
    pub origin: Option<SnapshotName>,
    /// Where it breaks off, what has come of it stays (`zfs receive -s`), and
    /// [`Dataset::token`](super::Dataset::token) says how far that goes. The rest of such a
    /// stream (`archive::resume`) is taken too.
    pub keep: bool,
}

/// Reads a stream; what it says ends the sending.
pub type Taking<'a> = dyn FnMut(&mut dyn Read) -> io::Result<()> + 'a;

/// Writes a stream; what it says ends the receiving, with nothing left of it unless that
/// was asked for ([`Incoming::keep`]).
pub type Giving<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// Is told of bytes while a long transfer runs; says whether to go on.
pub trait Meter: Sync {
    /// `bytes` more have gone through. `false` ends the transfer with
    /// [`ErrorKind::Interrupted`].
    fn advance(&self, bytes: u64) -> bool;
}
