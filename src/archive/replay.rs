//! One record of a stream (`dmu_replay_record_t` in OpenZFS's `zfs_ioctl.h`): what it
//! is about, and how much follows it.

use super::{Error, Result};

/// Bytes of a record, without what follows it.
pub const RECORD: usize = 312;

/// Where its own checksum begins (`drr_checksum`), over all before that.
pub const CHECKSUM: usize = RECORD - 32;

/// `DMU_BACKUP_MAGIC`.
pub(super) const MAGIC: u64 = 0x0002_f5ba_cbac;

/// The longest that follows a record: the largest block (16 MiB) twice over.
const MAX_PAYLOAD: u64 = 32 << 20;

pub(super) const BEGIN: u32 = 0;
pub(super) const OBJECT: u32 = 1;
const FREEOBJECTS: u32 = 2;
pub(super) const WRITE: u32 = 3;
const FREE: u32 = 4;
pub(super) const END: u32 = 5;
const SPILL: u32 = 7;
const WRITE_EMBEDDED: u32 = 8;
const OBJECT_RANGE: u32 = 9;
const REDACT: u32 = 10;
/// `DRR_NUMTYPES`.
const TYPES: u32 = 11;

/// The order of bytes of whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The least first.
    Little,
    /// The greatest first.
    Big,
}

impl Order {
    /// Which it is, by a stream's first bytes; `None` where it is no stream.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        [Self::Little, Self::Big]
            .into_iter()
            .find(|order| order.u32(bytes, 0) == BEGIN && order.u64(bytes, 8) == MAGIC)
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let mut four = [0; 4];
        if let Some(found) = bytes.get(at..at + 4) {
            four.copy_from_slice(found);
        }
        match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        }
    }

    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let mut eight = [0; 8];
        if let Some(found) = bytes.get(at..at + 8) {
            eight.copy_from_slice(found);
        }
        match self {
            Self::Little => u64::from_le_bytes(eight),
            Self::Big => u64::from_be_bytes(eight),
        }
    }
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The stream (`DRR_BEGIN`).
    Begin,
    /// An object itself, before all that is in it (`DRR_OBJECT`).
    Object(u64),
    /// Objects that are not there (`DRR_FREEOBJECTS`).
    NoObjects {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// The block that these objects are in (`DRR_OBJECT_RANGE`).
    Range {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// What is in an object (`DRR_WRITE`, `DRR_WRITE_EMBEDDED`).
    Write {
        /// The object.
        object: u64,
        /// Where, bytes.
        offset: u64,
    },
    /// A hole in an object (`DRR_FREE`), or what was left out on purpose (`DRR_REDACT`).
    Hole {
        /// The object.
        object: u64,
        /// Where, bytes.
        offset: u64,
        /// Bytes; all ones for all that follows.
        length: u64,
    },
    /// More about an object than fits into it (`DRR_SPILL`).
    Spill(u64),
    /// The stream is over (`DRR_END`).
    End,
    /// A kind that nobody sends any more (`DRR_WRITE_BYREF`).
    Other,
}

/// A record as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub about: About,
    /// Bytes that follow.
    pub payload: u64,
}

impl Record {
    /// Reads one that is not a stream's first.
    ///
    /// # Errors
    /// Where it is none.
    pub fn decode(order: Order, header: &[u8; RECORD]) -> Result<Self> {
        let number = |at| u64::from(order.u32(header, at));
        let long = |at| order.u64(header, at);
        let padded = |bytes: u64| bytes.next_multiple_of(8);
        let object = long(8);
        let (about, payload) = match order.u32(header, 0) {
            OBJECT => {
                let payload = match number(36) {
                    0 => padded(number(28)),
                    raw => raw,
                };
                (About::Object(object), payload)
            }
            FREEOBJECTS => {
                let (first, count) = (object, long(16));
                (About::NoObjects { first, count }, 0)
            }
            WRITE => {
                let payload = match header.get(50) {
                    Some(0) => long(32),
                    _ => long(96),
                };
                let offset = long(24);
                (About::Write { object, offset }, payload)
            }
            FREE | REDACT => {
                let (offset, length) = (long(16), long(24));
                let hole = About::Hole {
                    object,
                    offset,
                    length,
                };
                (hole, 0)
            }
            SPILL => {
                let payload = match long(40) {
                    0 => long(16),
                    packed => packed,
                };
                (About::Spill(object), payload)
            }
            WRITE_EMBEDDED => {
                let offset = long(16);
                (About::Write { object, offset }, padded(number(52)))
            }
            OBJECT_RANGE => {
                let (first, count) = (object, long(16));
                (About::Range { first, count }, 0)
            }
            END => (About::End, 0),
            BEGIN | TYPES.. => {
                return Err(Error::damaged(
                    "there is something else where a record begins",
                ));
            }
            _ => (About::Other, 0),
        };
        Ok(Self {
            about,
            payload: limited(payload)?,
        })
    }
}

/// The length of what follows a record, where it can be that.
pub(super) fn limited(bytes: u64) -> Result<u64> {
    if bytes > MAX_PAYLOAD {
        return Err(Error::damaged("a record is longer than any block"));
    }
    Ok(bytes)
}
