//! The records of ZFS's own streams (`dmu_replay_record_t` in OpenZFS's
//! `zfs_ioctl.h`), as far as it takes to know whose stream it is, what it needs and
//! where it ends. What is in them `zfs receive` looks at.

use super::replay::{About, Order, Record, limited};
use super::{Error, Result};
use crate::zfs::{Guid, SnapshotName};

pub use super::replay::RECORD;

/// The longest list of what is in a `zfs send -R`.
pub const MAX_LIST: u64 = 64 << 20;

/// `DRR_FLAG_CLONE`.
const FLAG_CLONE: u32 = 1;

/// What the flags of a stream ask of the pool that receives it
/// (`DMU_BACKUP_FEATURE_*`, `recv_begin_check_feature_flags_impl`).
const NEEDS: [(u32, &str); 9] = [
    (16, "embedded_data"),
    (17, "lz4_compress"),
    (19, "large_blocks"),
    (21, "redacted_datasets"),
    (23, "large_dnode"),
    (24, "encryption"),
    (25, "zstd_compress"),
    (28, "longname"),
    (29, "large_microzap"),
];

/// Flags that ask nothing of the pool: spill blocks, resuming, compressed, holds,
/// the switch to large blocks.
const HARMLESS: [u32; 5] = [2, 20, 22, 26, 27];

/// `DMU_BACKUP_FEATURE_RAW`.
const RAW: u32 = 24;

/// What a stream says at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The snapshot that was sent.
    pub name: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// The guid of the snapshot it is the difference to.
    pub base: Option<Guid>,
    /// The base is another dataset's (`DRR_FLAG_CLONE`).
    pub clone: bool,
    /// It holds several streams and a list of them: `zfs send -R` or `-p`.
    pub package: bool,
    /// The features that the receiving pool has to have, sorted.
    pub needs: Vec<String>,
    /// It is as it lay on disk, encrypted.
    pub raw: bool,
    /// Bytes of what follows the record.
    pub payload: u64,
}

/// Whether a stream begins like this.
#[must_use]
pub fn is_begin(bytes: &[u8]) -> bool {
    Order::of(bytes).is_some()
}

/// The flags of a stream (`DMU_GET_FEATUREFLAGS`), by its first record.
pub(super) fn features(order: Order, begin: &[u8]) -> u32 {
    // Thirty bits of it.
    u32::try_from((order.u64(begin, 16) >> 2) & 0x3fff_ffff).unwrap_or_default()
}

impl Begin {
    /// Reads the first record of a stream.
    ///
    /// # Errors
    /// Where it is none, or of a kind that no ZFS known here sends.
    pub fn decode(bytes: &[u8; RECORD]) -> Result<Self> {
        let order = Order::of(bytes).ok_or_else(|| Error::refused("it is no stream of ZFS"))?;
        let version = order.u64(bytes, 16);
        let flags = features(order, bytes);
        let package = match version & 3 {
            1 => false,
            2 => true,
            other => {
                return Err(Error::refused(format!(
                    "it is a stream of a kind that is not known ({other})"
                )));
            }
        };
        let mut needs = Vec::new();
        for bit in (0..30).filter(|bit| flags & (1 << bit) != 0) {
            match NEEDS.iter().find(|(known, _)| *known == bit) {
                Some((_, feature)) => needs.push((*feature).to_owned()),
                None if HARMLESS.contains(&bit) => {}
                None => {
                    return Err(Error::refused(format!(
                        "it is a stream with a property that is not known (flag {bit})"
                    )));
                }
            }
        }
        needs.sort();
        let name = bytes.get(56..).unwrap_or_default();
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| Error::damaged("the name in the stream does not end"))?;
        let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned();
        let name = name
            .parse()
            .map_err(|error| Error::refused(format!("the stream is of {error}")))?;
        let base = order.u64(bytes, 48);
        Ok(Self {
            name,
            guid: Guid(order.u64(bytes, 40)),
            base: (base != 0).then_some(Guid(base)),
            clone: order.u32(bytes, 36) & FLAG_CLONE != 0,
            package,
            needs,
            raw: flags & (1 << RAW) != 0,
            payload: u64::from(order.u32(bytes, 4)),
        })
    }
}

/// What a stream is made of, as it comes.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// A record, whole.
    Record(&'a [u8; RECORD], Record),
    /// Some of what follows the last one.
    Payload(&'a [u8]),
}

/// Follows a stream through its records to its end.
#[derive(Debug, Default)]
pub struct Walker {
    header: Vec<u8>,
    /// Bytes of what follows a record that are still to come.
    payload: u64,
    order: Option<Order>,
    begin: Option<Begin>,
    ended: bool,
}

impl Walker {
    /// At the beginning of one stream, of one snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it said at its beginning, once that was there.
    #[must_use]
    pub fn begin(&self) -> Option<&Begin> {
        self.begin.as_ref()
    }

    /// Its last record was there.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Takes what comes next; how much of it is of this stream.
    ///
    /// # Errors
    /// Where a record is none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize> {
        self.walk(bytes, &mut |_| Ok(()))
    }

    /// The same, and shows what it is made of.
    ///
    /// # Errors
    /// Where a record is none, or what `show` said.
    pub fn walk(
        &mut self,
        bytes: &[u8],
        show: &mut dyn FnMut(Part<'_>) -> Result<()>,
    ) -> Result<usize> {
        let mut at = 0;
        while at < bytes.len() && !self.ended {
            let left = bytes.get(at..).unwrap_or_default();
            if self.payload > 0 {
                let taken = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(left.len());
                show(Part::Payload(left.get(..taken).unwrap_or_default()))?;
                self.payload -= taken as u64;
                at += taken;
                continue;
            }
            let wanted = (RECORD - self.header.len()).min(left.len());
            self.header
                .extend_from_slice(left.get(..wanted).unwrap_or_default());
            at += wanted;
            if let Some(header) = self.header.first_chunk::<RECORD>().copied() {
                self.header.clear();
                let record = self.record(&header)?;
                self.payload = record.payload;
                self.ended = record.about == About::End;
                show(Part::Record(&header, record))?;
            }
        }
        Ok(at)
    }

    fn record(&mut self, header: &[u8; RECORD]) -> Result<Record> {
        if let Some(order) = self.order {
            return Record::decode(order, header);
        }
        let begin = Begin::decode(header)?;
        if begin.package {
            return Err(Error::refused(
                "a stream of one snapshot should be here, and there is one of several",
            ));
        }
        let record = Record {
            about: About::Begin,
            payload: limited(begin.payload)?,
        };
        self.order = Order::of(header);
        self.begin = Some(begin);
        Ok(record)
    }
}
