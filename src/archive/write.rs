//! Writing an archive: packed by as many threads as there are processors,
//! written in order.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::record::{CHUNK, Digest, HEADER, Header, Kind, MAGIC, Packer};
use super::{Error, Manifest, Result, unwrapped};

/// How many threads pack or unpack: more than this are faster than any disk.
pub(super) fn lanes() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8)
}

/// A lane's thread is gone without a word.
pub(super) fn lost() -> Error {
    Error::Io(std::io::Error::other("a thread of this program ended"))
}

/// An archive that is being written.
pub struct Writer<W> {
    out: W,
    zstd: bool,
    /// The next record's number.
    number: u64,
    /// The next dataset's number.
    dataset: u32,
    datasets: usize,
    /// Over the checksums of what was written.
    seal: Sha256,
    /// Bytes written.
    written: u64,
}

/// A record ready to be written.
struct Packed {
    header: [u8; HEADER],
    digest: Digest,
    payload: Vec<u8>,
}

impl Packed {
    fn new(header: Header, payload: Vec<u8>) -> Self {
        let (header, digest) = header.encode(&payload);
        Self {
            header,
            digest,
            payload,
        }
    }
}

fn length(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| Error::refused("a record would be too long"))
}

impl<W: Write + Send> Writer<W> {
    /// Begins with the manifest.
    ///
    /// # Errors
    /// Where it is not one that could be read again, or cannot be written.
    pub fn new(out: W, manifest: &Manifest) -> Result<Self> {
        let text = manifest.encode()?;
        let mut writer = Self {
            out,
            zstd: manifest.zstd,
            number: 0,
            dataset: 0,
            datasets: manifest.datasets.len(),
            seal: Sha256::new(),
            written: MAGIC.len() as u64,
        };
        writer.out.write_all(MAGIC)?;
        writer.plain(Kind::Manifest, text)?;
        Ok(writer)
    }

    fn plain(&mut self, kind: Kind, payload: Vec<u8>) -> Result<()> {
        let stored = length(payload.len())?;
        let header = Header {
            kind,
            dataset: self.dataset,
            number: self.number,
            stored,
            raw: stored,
            zstd: false,
        };
        let packed = Packed::new(header, payload);
        self.put(&packed)
    }

    fn put(&mut self, packed: &Packed) -> Result<()> {
        self.out.write_all(&packed.header)?;
        self.out.write_all(&packed.payload)?;
        self.written += (HEADER + packed.payload.len()) as u64;
        self.seal.update(packed.digest);
        self.number += 1;
        Ok(())
    }

    /// Writes the next dataset's stream to its end. `advance` is told of its bytes
    /// and says whether to go on.
    ///
    /// # Errors
    /// What reads or writes says; [`Error::Interrupted`].
    pub fn stream(
        &mut self,
        from: &mut dyn Read,
        advance: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64> {
        let (zstd, dataset, first) = (self.zstd, self.dataset, self.number);
        let lanes = lanes();
        let this = &mut *self;
        let (read, wrote) = thread::scope(|scope| {
            let mut jobs: Vec<SyncSender<(u64, Vec<u8>)>> = Vec::new();
            let mut done: Vec<Receiver<Result<Packed>>> = Vec::new();
            for _ in 0..lanes {
                let (job, work) = sync_channel(2);
                let (result, packed) = sync_channel(2);
                jobs.push(job);
                done.push(packed);
                scope.spawn(move || pack_all(zstd, dataset, &work, &result));
            }
            let writer = scope.spawn(move || {
                // In the order they were handed out.
                let mut turn = 0;
                while let Some(packed) = done.get(turn).and_then(|lane| lane.recv().ok()) {
                    this.put(&packed?)?;
                    turn = (turn + 1) % lanes;
                }
                Ok(())
            });
            let read = hand_out(from, &jobs, first, advance);
            drop(jobs);
            let wrote: Result<()> = writer.join().unwrap_or_else(|_| Err(lost()));
            (read, wrote)
        });
        // What cannot be written is why reading ended, not the other way round.
        wrote?;
        let bytes = read?;
        self.plain(Kind::DatasetEnd, bytes.to_le_bytes().to_vec())?;
        self.dataset += 1;
        Ok(bytes)
    }

    /// The end of it: where it was written to, the bytes it has, and the checksum
    /// over all of it.
    ///
    /// # Errors
    /// Where a dataset is missing, or it cannot be written.
    pub fn finish(mut self) -> Result<(W, u64, Digest)> {
        if self.dataset as usize != self.datasets {
            return Err(Error::refused("not every dataset was written"));
        }
        let seal: Digest = self.seal.clone().finalize().into();
        self.plain(Kind::Done, seal.to_vec())?;
        self.out.flush()?;
        Ok((self.out, self.written, seal))
    }
}

fn pack_all(
    zstd: bool,
    dataset: u32,
    work: &Receiver<(u64, Vec<u8>)>,
    result: &SyncSender<Result<Packed>>,
) {
    let mut packer = Packer::new(zstd);
    for (number, data) in work {
        let packed = packer.as_mut().map_err(|_| lost()).and_then(|packer| {
            let raw = length(data.len())?;
            let (payload, zstd) = packer.pack(data)?;
            let header = Header {
                kind: Kind::Data,
                dataset,
                number,
                stored: length(payload.len())?,
                raw,
                zstd,
            };
            Ok(Packed::new(header, payload))
        });
        if result.send(packed).is_err() {
            return;
        }
    }
}

/// Reads to the end and deals the parts out; how many bytes it was.
fn hand_out(
    from: &mut dyn Read,
    jobs: &[SyncSender<(u64, Vec<u8>)>],
    first: u64,
    advance: &mut dyn FnMut(u64) -> bool,
) -> Result<u64> {
    let mut bytes = 0;
    for number in first.. {
        let mut part = Vec::with_capacity(CHUNK);
        from.take(CHUNK as u64)
            .read_to_end(&mut part)
            .map_err(unwrapped)?;
        if part.is_empty() {
            break;
        }
        let count = part.len() as u64;
        bytes += count;
        let turn = usize::try_from(number - first).unwrap_or_default() % jobs.len();
        let taken = jobs.get(turn).map(|job| job.send((number, part)));
        if !matches!(taken, Some(Ok(()))) {
            // Who writes says why.
            break;
        }
        if !advance(count) {
            return Err(Error::Interrupted);
        }
    }
    Ok(bytes)
}
