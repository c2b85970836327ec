//! The records of ZFS's own streams (`dmu_replay_record_t` in OpenZFS's
//! `zfs_ioctl.h`), as far as it takes to know whose stream it is, what it needs and
//! where it ends. What is in them `zfs receive` looks at.

use super::{Error, Result};
use crate::zfs::{Guid, SnapshotName};

/// Bytes of a record, without what follows it.
pub const RECORD: usize = 312;

/// `DMU_BACKUP_MAGIC`.
const MAGIC: u64 = 0x0002_f5ba_cbac;

/// The longest that follows a record: the largest block (16 MiB) twice over.
const MAX_PAYLOAD: u64 = 32 << 20;

/// The longest list of what is in a `zfs send -R`.
pub const MAX_LIST: u64 = 64 << 20;

const BEGIN: u32 = 0;
const OBJECT: u32 = 1;
const WRITE: u32 = 3;
const END: u32 = 5;
const SPILL: u32 = 7;
const WRITE_EMBEDDED: u32 = 8;
/// `DRR_NUMTYPES`.
const TYPES: u32 = 11;

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

/// The order of bytes of whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let mut four = [0; 4];
        if let Some(found) = bytes.get(at..at + 4) {
            four.copy_from_slice(found);
        }
        match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        }
    }

    fn u64(self, bytes: &[u8], at: usize) -> u64 {
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
    order(bytes).is_some()
}

fn order(bytes: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big]
        .into_iter()
        .find(|order| order.u32(bytes, 0) == BEGIN && order.u64(bytes, 8) == MAGIC)
}

impl Begin {
    /// Reads the first record of a stream.
    ///
    /// # Errors
    /// Where it is none, or of a kind that no ZFS known here sends.
    pub fn decode(bytes: &[u8; RECORD]) -> Result<Self> {
        let order = order(bytes).ok_or_else(|| Error::refused("it is no stream of ZFS"))?;
        let version = order.u64(bytes, 16);
        let flags = (version >> 2) & 0x3fff_ffff;
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
        let mut at = 0;
        while at < bytes.len() && !self.ended {
            let left = bytes.get(at..).unwrap_or_default();
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(left.len());
                self.payload -= skipped as u64;
                at += skipped;
                continue;
            }
            let wanted = (RECORD - self.header.len()).min(left.len());
            self.header
                .extend_from_slice(left.get(..wanted).unwrap_or_default());
            at += wanted;
            if let Some(header) = self.header.first_chunk::<RECORD>().copied() {
                self.header.clear();
                self.record(&header)?;
            }
        }
        Ok(at)
    }

    fn record(&mut self, header: &[u8; RECORD]) -> Result<()> {
        let Some(order) = self.order else {
            let begin = Begin::decode(header)?;
            if begin.package {
                return Err(Error::refused(
                    "a stream of one snapshot should be here, and there is one of several",
                ));
            }
            self.payload = limited(begin.payload)?;
            self.order = order(header);
            self.begin = Some(begin);
            return Ok(());
        };
        let number = |at| u64::from(order.u32(header, at));
        let padded = |bytes: u64| bytes.next_multiple_of(8);
        let kind = order.u32(header, 0);
        self.payload = limited(match kind {
            OBJECT => match number(36) {
                0 => padded(number(28)),
                raw => raw,
            },
            WRITE => match header.get(50) {
                Some(0) => order.u64(header, 32),
                _ => order.u64(header, 96),
            },
            SPILL => match order.u64(header, 40) {
                0 => order.u64(header, 16),
                packed => packed,
            },
            WRITE_EMBEDDED => padded(number(52)),
            END => {
                self.ended = true;
                0
            }
            BEGIN | TYPES.. => {
                return Err(Error::damaged(
                    "there is something else where a record begins",
                ));
            }
            _ => 0,
        })?;
        Ok(())
    }
}

fn limited(bytes: u64) -> Result<u64> {
    if bytes > MAX_PAYLOAD {
        return Err(Error::damaged("a record is longer than any block"));
    }
    Ok(bytes)
}

/// A stream of one snapshot around some contents: what the simulator sends, which
/// real ZFS never sees.
#[must_use]
pub fn simulated(name: &SnapshotName, guid: Guid, base: Option<Guid>, contents: &[u8]) -> Vec<u8> {
    let mut begin = vec![0; RECORD];
    begin[8..16].copy_from_slice(&MAGIC.to_le_bytes());
    begin[16..24].copy_from_slice(&1_u64.to_le_bytes());
    begin[32..36].copy_from_slice(&2_u32.to_le_bytes());
    begin[40..48].copy_from_slice(&guid.0.to_le_bytes());
    begin[48..56].copy_from_slice(&base.map_or(0, |base| base.0).to_le_bytes());
    let text = name.as_str().as_bytes();
    begin[56..56 + text.len()].copy_from_slice(text);
    let mut stream = begin;
    for part in contents.chunks(128 << 10) {
        let mut write = vec![0; RECORD];
        write[0..4].copy_from_slice(&WRITE.to_le_bytes());
        write[32..40].copy_from_slice(&(part.len() as u64).to_le_bytes());
        write[40..48].copy_from_slice(&guid.0.to_le_bytes());
        stream.extend(write);
        stream.extend(part);
    }
    let mut end = vec![0; RECORD];
    end[0..4].copy_from_slice(&END.to_le_bytes());
    for (word, at) in fletcher4(&stream).into_iter().zip((8..).step_by(8)) {
        end[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    end[40..48].copy_from_slice(&guid.0.to_le_bytes());
    stream.extend(end);
    stream
}

/// What [`simulated`] was made of, where a stream is one and whole.
///
/// # Errors
/// What is wrong with it.
pub fn of_simulation(stream: &[u8]) -> Result<(Begin, Vec<u8>)> {
    let mut walker = Walker::new();
    let length = walker.push(stream)?;
    let (Some(begin), true) = (walker.begin, walker.ended) else {
        return Err(Error::Truncated("before its last record".to_owned()));
    };
    let stream = stream.get(..length).unwrap_or_default();
    let (body, end) = stream.split_at(length - RECORD);
    let order = Order::Little;
    if (0..4)
        .map(|word| order.u64(end, 8 + 8 * word))
        .ne(fletcher4(body))
    {
        return Err(Error::damaged("checksum mismatch"));
    }
    let mut contents = Vec::new();
    let mut at = RECORD;
    while let Some(record) = body.get(at..at + RECORD) {
        let length = usize::try_from(order.u64(record, 32)).unwrap_or(usize::MAX);
        let part = body.get(at + RECORD..).and_then(|rest| rest.get(..length));
        contents.extend(part.unwrap_or_default());
        at += RECORD + length;
    }
    Ok((begin, contents))
}

/// The checksum of streams (`fletcher_4_native`), of what may end within a word.
fn fletcher4(bytes: &[u8]) -> [u64; 4] {
    let mut sums = [0_u64; 4];
    for word in bytes.chunks(4) {
        let mut four = [0; 4];
        four[..word.len()].copy_from_slice(word);
        sums[0] = sums[0].wrapping_add(u64::from(u32::from_le_bytes(four)));
        for at in 1..4 {
            sums[at] = sums[at].wrapping_add(sums[at - 1]);
        }
    }
    sums
}
