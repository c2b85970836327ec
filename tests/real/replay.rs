//! A disk's writes, one by one: the log of dm-log-writes, read, and a disk
//! written anew up to any of them.
//!
//! The format is that of `drivers/md/dm-log-writes.c` (Linux, also
//! Documentation/admin-guide/device-mapper/log-writes.rst): a super block, then
//! entries, each a sector that describes it and its data. Writes are logged
//! when a flush has made them durable, in the order they completed in; a flush
//! is an entry of its own. What a power cut leaves is everything before the last
//! flush, and of what was written since any part, in any order.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// One thing that happened to the disk.
#[derive(Debug)]
pub struct Entry {
    /// What was written before is durable.
    pub flush: bool,
    /// What was written, or none where it was only a flush or a mark.
    pub change: Option<Change>,
    /// What a test noted here.
    pub mark: Option<String>,
}

/// Bytes of the disk that were written or discarded.
#[derive(Debug)]
pub struct Change {
    /// Where on the disk, bytes.
    pub at: Range<u64>,
    /// Where in the log; none where it was discarded.
    data: Option<u64>,
    /// Blocks of an intent log (ZIL) in it: what a file system syncs between two
    /// transaction groups.
    pub intent_log: bool,
}

impl Change {
    /// How many sectors it wrote, each of them wholly or not at all.
    pub fn sectors(&self) -> u64 {
        (self.at.end - self.at.start) / SECTOR
    }
}

/// The whole log.
pub struct Log {
    file: File,
    /// In order.
    pub entries: Vec<Entry>,
}

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().unwrap())
}

impl Log {
    /// Reads it.
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0).unwrap();
        assert_eq!(word(&sector, 0), MAGIC, "it is no log of dm-log-writes");
        assert_eq!(word(&sector, 1), 1, "its version");
        let count = word(&sector, 2);
        assert_eq!(word(&sector, 3) & 0xffff_ffff, SECTOR, "its sectors");
        let mut position = SECTOR;
        let mut entries = Vec::new();
        for _ in 0..count {
            file.read_exact_at(&mut sector, position).unwrap();
            position += SECTOR;
            let [at, sectors, flags, length] = [0, 1, 2, 3].map(|index| word(&sector, index));
            let mark = (flags & MARK != 0).then(|| {
                let text = &sector[32..32 + usize::try_from(length).unwrap()];
                let text = text.split(|byte| *byte == 0).next().unwrap();
                String::from_utf8(text.to_vec()).unwrap()
            });
            let bytes = sectors * SECTOR;
            let data = (flags & DISCARD == 0).then_some(position);
            let change = (mark.is_none() && sectors > 0).then(|| Change {
                at: at * SECTOR..at * SECTOR + bytes,
                data,
                intent_log: data.is_some_and(|data| has_intent_log(&read(&file, data, bytes))),
            });
            if data.is_some() {
                position += bytes;
            }
            entries.push(Entry {
                flush: flags & FLUSH != 0,
                change,
                mark,
            });
        }
        Self { file, entries }
    }

    /// Where a mark is.
    pub fn mark(&self, text: &str) -> usize {
        self.entries
            .iter()
            .position(|entry| entry.mark.as_deref() == Some(text))
            .unwrap_or_else(|| panic!("no mark {text}"))
    }

    /// Writes so many sectors of an entry to a disk that begins at `origin`.
    pub fn apply(&self, index: usize, sectors: u64, target: &mut dyn Target) {
        let Some(change) = &self.entries[index].change else {
            return;
        };
        let bytes = sectors.min(change.sectors()) * SECTOR;
        let content = match change.data {
            Some(data) => read(&self.file, data, bytes),
            None => vec![0; usize::try_from(bytes).unwrap()],
        };
        target.write(change.at.start, &content);
    }
}

fn read(file: &File, at: u64, bytes: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(bytes).unwrap()];
    file.read_exact_at(&mut content, at).unwrap();
    content
}

/// The magic number of an embedded checksum (`ZEC_MAGIC`, zio.h).
const EMBEDDED: u64 = 0x0210_da7a_b10c_7a11;

/// Whether one of the blocks is of an intent log: those begin with a
/// `zil_chain_t`, whose embedded checksum is at 144 (`zil.h`).
fn has_intent_log(content: &[u8]) -> bool {
    content
        .chunks(4096)
        .any(|block| block.len() >= 184 && word(&block[144..], 0) == EMBEDDED)
}

/// Where writes go.
pub trait Target {
    /// Puts bytes there.
    fn write(&mut self, at: u64, content: &[u8]);
}

impl Target for File {
    fn write(&mut self, at: u64, content: &[u8]) {
        self.write_all_at(content, at).unwrap();
    }
}

/// A label's size, and there are two at each end of a vdev (`vdev_impl.h`).
const LABEL: u64 = 256 << 10;

/// The labels of the pools on one disk, as they are after some of its writes.
#[derive(Clone)]
pub struct Labels {
    /// The size of each pool's part of the disk, bytes.
    part: u64,
    /// Per pool, its four labels.
    labels: Vec<[Vec<u8>; 4]>,
}

impl Labels {
    /// Of a disk that is all zeros.
    pub fn blank(parts: usize, part: u64) -> Self {
        let label = || vec![0; usize::try_from(LABEL).unwrap()];
        Self {
            part,
            labels: (0..parts)
                .map(|_| [label(), label(), label(), label()])
                .collect(),
        }
    }

    fn starts(&self) -> [u64; 4] {
        [0, LABEL, self.part - 2 * LABEL, self.part - LABEL]
    }

    /// Whether a change touches one of them.
    pub fn touched_by(&self, change: &Change) -> bool {
        let within = change.at.start % self.part;
        let end = within + (change.at.end - change.at.start);
        within < 2 * LABEL || end > self.part - 2 * LABEL
    }

    /// The transaction group that each pool is opened at: that of the newest
    /// uberblock whose checksum is right (`vdev_uberblock_load`).
    pub fn groups(&self) -> Vec<Option<u64>> {
        let starts = self.starts();
        self.labels
            .iter()
            .map(|labels| {
                labels
                    .iter()
                    .zip(starts)
                    .filter_map(|(label, start)| newest(label, start))
                    .max()
            })
            .collect()
    }
}

impl Target for Labels {
    fn write(&mut self, at: u64, content: &[u8]) {
        let pool = usize::try_from(at / self.part).unwrap();
        let starts = self.starts();
        let (from, to) = (at % self.part, at % self.part + content.len() as u64);
        for (label, start) in self.labels[pool].iter_mut().zip(starts) {
            let (first, last) = (from.max(start), to.min(start + LABEL));
            if first < last {
                let place = |offset: u64, base: u64| usize::try_from(offset - base).unwrap();
                label[place(first, start)..place(last, start)]
                    .copy_from_slice(&content[place(first, from)..place(last, from)]);
            }
        }
    }
}

/// The newest group in a label's ring of uberblocks.
fn newest(label: &[u8], start: u64) -> Option<u64> {
    const RING: usize = 128 << 10;
    // As large as the pool's smallest block, and at least 1 KiB (`VDEV_UBERBLOCK_SHIFT`).
    let group = |size: usize| {
        let mut found: Vec<(u64, usize)> = (RING..label.len())
            .step_by(size)
            .filter(|at| word(&label[*at..], 0) == 0x00ba_b10c)
            .map(|at| (word(&label[at..], 2), at))
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .rev()
            .find(|(_, at)| is_whole(&label[*at..at + size], start + *at as u64))
            .map(|(group, _)| group)
    };
    group(4096).max(group(1024))
}

/// The checksum of a block in a label: SHA-256 over it, with its place on the
/// vdev where the checksum stands (`zio_checksum_label_verifier`).
fn is_whole(block: &[u8], place: u64) -> bool {
    let (content, checksum) = block.split_at(block.len() - 32);
    if word(&content[content.len() - 8..], 0) != EMBEDDED {
        return false;
    }
    let mut hash = Sha256::new();
    hash.update(content);
    hash.update(place.to_le_bytes());
    hash.update([0; 24]);
    let found = hash.finalize();
    found
        .chunks(8)
        .zip(checksum.chunks(8))
        .all(|(found, stored)| found.iter().eq(stored.iter().rev()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn entry(at: u64, sectors: u64, flags: u64, text: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = [at, sectors, flags, text.len() as u64]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.extend(text.as_bytes());
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn a_log_is_read_and_written_anew_as_far_as_asked() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = entry(MAGIC, 1, 4, "");
        bytes[24..28].copy_from_slice(&512_u32.to_le_bytes());
        bytes.extend(entry(2, 2, 0, ""));
        bytes.extend([7; 1024]);
        bytes.extend(entry(0, 0, FLUSH, ""));
        bytes.extend(entry(0, 0, MARK, "here"));
        bytes.extend(entry(3, 1, DISCARD, ""));
        log.write_all(&bytes).unwrap();

        let log = Log::open(log.path());
        assert_eq!(log.mark("here"), 2);
        assert!(log.entries[1].flush);
        let disk = |writes: &[(usize, u64)]| {
            let mut disk = tempfile::tempfile().unwrap();
            disk.set_len(4 * SECTOR).unwrap();
            for (index, sectors) in writes {
                log.apply(*index, *sectors, &mut disk);
            }
            let bytes = read(&disk, 0, 4 * SECTOR);
            bytes
                .chunks(512)
                .map(|sector| sector[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(disk(&[(0, 1)]), [0, 0, 7, 0]);
        assert_eq!(disk(&[(0, u64::MAX), (1, 1), (2, 1)]), [0, 0, 7, 7]);
        assert_eq!(disk(&[(0, 2), (3, 1)]), [0, 0, 7, 0]);
    }

    /// An uberblock of 4 KiB as it lies at a place of a vdev.
    fn uberblock(group: u64, place: u64) -> Vec<u8> {
        let mut block: Vec<u8> = [0x00ba_b10c, 5000, group]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        block.resize(4096 - 40, 0);
        block.extend(EMBEDDED.to_le_bytes());
        let mut hash = Sha256::new();
        hash.update(&block);
        hash.update(place.to_le_bytes());
        hash.update([0; 24]);
        let sum = hash.finalize();
        block.extend(sum.chunks(8).flat_map(|word| word.iter().rev()));
        block
    }

    #[test]
    fn the_newest_whole_uberblock_counts() {
        let part = 1 << 20;
        let mut labels = Labels::blank(2, part);
        assert_eq!(labels.groups(), [None, None]);
        let ring = 128 << 10;
        labels.write(ring, &uberblock(8, ring));
        // In the second pool's last label.
        let last = part - LABEL + ring + 4096;
        labels.write(part + last, &uberblock(9, last));
        assert_eq!(labels.groups(), [Some(8), Some(9)]);
        // Cut in the middle, and one that belongs elsewhere.
        labels.write(ring + 4096, &uberblock(10, ring + 4096)[..2048]);
        labels.write(ring + 8192, &uberblock(11, ring));
        assert_eq!(labels.groups(), [Some(8), Some(9)]);
    }
}
