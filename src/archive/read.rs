//! Reading an archive: nothing of it is believed before its checksum is seen,
//! and nothing is whole before its last record is.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::record::{Digest, HEADER, Header, Kind, MAGIC, MAGIC_OF_ANY, unpack};
use super::write::{lanes, lost};
use super::{Error, Manifest, Result, fill, unwrapped};

/// An archive that is being read.
pub struct Reader<R> {
    input: R,
    manifest: Manifest,
    identity: Digest,
    position: Position,
}

/// How far it came.
struct Position {
    /// The next record's number.
    number: u64,
    /// The next dataset's number.
    dataset: u32,
    /// Over the checksums of what was read.
    seal: Sha256,
}

impl Position {
    /// The next header, which has to be of this dataset and in order.
    fn header(&mut self, input: &mut impl Read) -> Result<(Header, Digest)> {
        let mut bytes = [0; HEADER];
        let at = format!("where record {} should be", self.number);
        fill(input, &mut bytes, &at)?;
        let (header, digest) = Header::decode(&bytes)?;
        if header.number != self.number || header.dataset != self.dataset {
            return Err(Error::damaged(format!(
                "record {} of dataset {} stands where record {} of dataset {} should be",
                header.number, header.dataset, self.number, self.dataset
            )));
        }
        self.number += 1;
        self.seal.update(digest);
        Ok((header, digest))
    }

    fn payload(header: &Header, input: &mut impl Read) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        let wanted = u64::from(header.stored);
        // Grows with what comes, not with what is announced.
        let got = input
            .by_ref()
            .take(wanted)
            .read_to_end(&mut payload)
            .map_err(unwrapped)?;
        if got as u64 == wanted {
            Ok(payload)
        } else {
            Err(Error::Truncated(format!("in record {}", header.number)))
        }
    }

    /// A short record, checked.
    fn checked(&mut self, input: &mut impl Read) -> Result<(Header, Vec<u8>)> {
        let (header, digest) = self.header(input)?;
        let payload = Self::payload(&header, input)?;
        checked(&header, &digest, &payload)?;
        Ok((header, payload))
    }
}

fn checked(header: &Header, digest: &Digest, payload: &[u8]) -> Result<()> {
    if header.digest(payload) == *digest {
        Ok(())
    } else {
        Err(Error::damaged(format!(
            "the checksum of record {} is wrong",
            header.number
        )))
    }
}

impl<R: Read + Send> Reader<R> {
    /// Reads what comes before the streams.
    ///
    /// # Errors
    /// Where it is no archive, of another version, damaged, or says what no archive
    /// of this program's may say.
    pub fn open(mut input: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        fill(&mut input, &mut magic, "before it says what it is")?;
        if magic != *MAGIC {
            return Err(if magic.starts_with(MAGIC_OF_ANY) {
                Error::refused("it is an archive of a newer beadm-rs; import it with that version")
            } else {
                Error::refused("it is no archive of beadm-rs")
            });
        }
        let mut position = Position {
            number: 0,
            dataset: 0,
            seal: Sha256::new(),
        };
        let (header, text) = position.checked(&mut input)?;
        if header.kind != Kind::Manifest {
            return Err(Error::damaged("it does not begin with a manifest"));
        }
        Ok(Self {
            input,
            manifest: Manifest::decode(&text)?,
            identity: header.digest(&text),
            position,
        })
    }

    /// What is in it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The checksum of its manifest: which archive it is.
    #[must_use]
    pub fn identity(&self) -> &Digest {
        &self.identity
    }

    /// Reads the next dataset's stream to its end and hands it on in order, in
    /// parts whose checksums are right. How many bytes it was.
    ///
    /// # Errors
    /// What is wrong with it, or what `give` said.
    pub fn stream(&mut self, give: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        if self.position.dataset as usize >= self.manifest.datasets.len() {
            return Err(Error::damaged("it has no more datasets"));
        }
        let lanes = lanes();
        let (input, position) = (&mut self.input, &mut self.position);
        let (read, given) = thread::scope(|scope| {
            let mut jobs: Vec<SyncSender<Job>> = Vec::new();
            let mut done: Vec<Receiver<Result<Vec<u8>>>> = Vec::new();
            for _ in 0..lanes {
                let (job, work) = sync_channel(2);
                let (result, unpacked) = sync_channel(2);
                jobs.push(job);
                done.push(unpacked);
                scope.spawn(move || unpack_all(&work, &result));
            }
            let reader = scope.spawn(move || {
                let read = records(input, position, &jobs);
                drop(jobs);
                read
            });
            let given = hand_on(done, give);
            (reader.join().unwrap_or_else(|_| Err(lost())), given)
        });
        // Who takes it says why nothing more was wanted.
        let given = given?;
        let announced = read?;
        if announced != Some(given) {
            return Err(Error::damaged(format!(
                "the stream of dataset {} has another length than its end says",
                self.position.dataset
            )));
        }
        self.position.dataset += 1;
        Ok(given)
    }

    /// Sees that the archive is whole, after its last stream, and that nothing
    /// comes after it.
    ///
    /// # Errors
    /// Where it is not.
    pub fn finish(&mut self) -> Result<()> {
        let seal: Digest = self.position.seal.clone().finalize().into();
        let (header, payload) = self.position.checked(&mut self.input)?;
        if header.kind != Kind::Done || payload != seal {
            return Err(Error::damaged("it is not what was sealed"));
        }
        let mut beyond = [0; 1];
        match self.input.read(&mut beyond).map_err(unwrapped)? {
            0 => Ok(()),
            _ => Err(Error::damaged("something follows its end")),
        }
    }
}

/// A record that is to be looked at.
type Job = (Header, Digest, Vec<u8>);

/// Reads the records of one dataset and deals them out, until its end; how long
/// that says it is, or `None` where nobody wants more.
fn records(
    input: &mut impl Read,
    position: &mut Position,
    jobs: &[SyncSender<Job>],
) -> Result<Option<u64>> {
    for turn in (0..jobs.len()).cycle() {
        let (header, digest) = position.header(input)?;
        let payload = Position::payload(&header, input)?;
        match header.kind {
            Kind::Data if header.raw > 0 => {
                let taken = jobs
                    .get(turn)
                    .map(|job| job.send((header, digest, payload)));
                if !matches!(taken, Some(Ok(()))) {
                    return Ok(None);
                }
            }
            Kind::DatasetEnd => {
                checked(&header, &digest, &payload)?;
                let mut bytes = [0; 8];
                if payload.len() != bytes.len() {
                    break;
                }
                bytes.copy_from_slice(&payload);
                return Ok(Some(u64::from_le_bytes(bytes)));
            }
            _ => break,
        }
    }
    Err(Error::damaged("a record is not what comes in this place"))
}

fn unpack_all(work: &Receiver<Job>, result: &SyncSender<Result<Vec<u8>>>) {
    let mut unpacker = zstd::bulk::Decompressor::new();
    for (header, digest, payload) in work {
        let unpacked = unpacker
            .as_mut()
            .map_err(|_| lost())
            .and_then(|unpacker| unpack(unpacker, &header, &digest, payload));
        if result.send(unpacked).is_err() {
            return;
        }
    }
}

fn hand_on(
    done: Vec<Receiver<Result<Vec<u8>>>>,
    give: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut bytes = 0;
    for turn in (0..done.len()).cycle() {
        let Some(part) = done.get(turn).and_then(|lane| lane.recv().ok()) else {
            break;
        };
        let part = part?;
        bytes += part.len() as u64;
        give(&part)?;
    }
    Ok(bytes)
}
