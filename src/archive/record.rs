//! The pieces of an archive: headers, their checksums, what is packed how.

use sha2::{Digest as _, Sha256};

use super::{Error, Result};

/// What an archive begins with; the number is the format's version.
pub const MAGIC: &[u8; 19] = b"beadm-rs archive 1\n";

/// What archives of every version begin with.
pub const MAGIC_OF_ANY: &[u8; 17] = b"beadm-rs archive ";

/// Bytes of a header.
pub const HEADER: usize = 64;

/// Bytes of a header that its checksum is over.
const SUMMED: usize = 32;

/// Bytes of a stream in one record, as they are written.
pub const CHUNK: usize = 1 << 20;

/// The most of it that is read.
pub const MAX_CHUNK: usize = 4 << 20;

/// The longest manifest, bytes.
pub const MAX_MANIFEST: usize = 16 << 20;

/// A checksum.
pub type Digest = [u8; 32];

/// Bytes as people compare them.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The manifest.
    Manifest,
    /// A part of a dataset's stream.
    Data,
    /// A dataset's stream ends here.
    DatasetEnd,
    /// The archive ends here.
    Done,
}

impl Kind {
    fn letters(self) -> [u8; 4] {
        *match self {
            Self::Manifest => b"MANI",
            Self::Data => b"DATA",
            Self::DatasetEnd => b"DEND",
            Self::Done => b"DONE",
        }
    }

    fn of(letters: [u8; 4]) -> Option<Self> {
        [Self::Manifest, Self::Data, Self::DatasetEnd, Self::Done]
            .into_iter()
            .find(|kind| kind.letters() == letters)
    }

    /// The most that such a record holds, packed or not.
    fn limit(self) -> usize {
        match self {
            Self::Manifest => MAX_MANIFEST,
            Self::Data => MAX_CHUNK,
            Self::DatasetEnd => 8,
            Self::Done => 32,
        }
    }
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Which dataset of the manifest, counted from 0.
    pub dataset: u32,
    /// Which record, counted from 0.
    pub number: u64,
    /// Bytes that follow.
    pub stored: u32,
    /// Bytes they are unpacked.
    pub raw: u32,
    /// They are packed by zstd.
    pub zstd: bool,
}

impl Header {
    fn summed(&self) -> [u8; SUMMED] {
        let mut bytes = [0; SUMMED];
        bytes[0..4].copy_from_slice(&self.kind.letters());
        bytes[4..8].copy_from_slice(&self.dataset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stored.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.raw.to_le_bytes());
        bytes[24] = u8::from(self.zstd);
        bytes
    }

    /// The header as it is written, and its checksum.
    #[must_use]
    pub fn encode(&self, payload: &[u8]) -> ([u8; HEADER], Digest) {
        let digest = self.digest(payload);
        let mut bytes = [0; HEADER];
        bytes[..SUMMED].copy_from_slice(&self.summed());
        bytes[SUMMED..].copy_from_slice(&digest);
        (bytes, digest)
    }

    /// The checksum over the header and what follows it.
    #[must_use]
    pub fn digest(&self, payload: &[u8]) -> Digest {
        let mut sum = Sha256::new();
        sum.update(self.summed());
        sum.update(payload);
        sum.finalize().into()
    }

    /// A header as it was read, and the checksum it announces.
    ///
    /// # Errors
    /// Where it is none, or announces more than such a record holds.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<(Self, Digest)> {
        let four = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            four
        };
        let number = |at: usize| u32::from_le_bytes(four(at));
        let kind = Kind::of(four(0))
            .ok_or_else(|| Error::damaged("there is something else where a record begins"))?;
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[8..16]);
        let header = Self {
            kind,
            dataset: number(4),
            number: u64::from_le_bytes(eight),
            stored: number(16),
            raw: number(20),
            zstd: bytes[24] == 1,
        };
        if bytes[24] > 1 || bytes[25..SUMMED].iter().any(|byte| *byte != 0) {
            return Err(Error::damaged(format!(
                "record {} is packed in a way that is not known",
                header.number
            )));
        }
        let longest = header.stored.max(header.raw) as usize;
        let plain = header.zstd || header.stored == header.raw;
        if longest > kind.limit() || !plain || (header.zstd && kind != Kind::Data) {
            return Err(Error::damaged(format!(
                "record {} has lengths that no such record has",
                header.number
            )));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[SUMMED..]);
        Ok((header, digest))
    }
}

/// How parts of streams are packed.
pub struct Packer(Option<zstd::bulk::Compressor<'static>>);

/// The level zstd(1) takes where none is named.
const LEVEL: i32 = 3;

impl Packer {
    /// One for a thread.
    ///
    /// # Errors
    /// No memory.
    pub fn new(zstd: bool) -> Result<Self> {
        let packer = zstd.then(|| zstd::bulk::Compressor::new(LEVEL));
        Ok(Self(packer.transpose()?))
    }

    /// What is written for a part of a stream: packed where that is shorter.
    ///
    /// # Errors
    /// What zstd says.
    pub fn pack(&mut self, data: Vec<u8>) -> Result<(Vec<u8>, bool)> {
        let Some(packer) = &mut self.0 else {
            return Ok((data, false));
        };
        let packed = packer.compress(&data)?;
        if packed.len() < data.len() {
            Ok((packed, true))
        } else {
            Ok((data, false))
        }
    }
}

/// What is announced has to be what comes out.
///
/// # Errors
/// Where its checksum is another one, or it does not unpack to what it should.
pub fn unpack(
    unpacker: &mut zstd::bulk::Decompressor<'_>,
    header: &Header,
    announced: &Digest,
    payload: Vec<u8>,
) -> Result<Vec<u8>> {
    if header.digest(&payload) != *announced {
        return Err(Error::damaged(format!(
            "the checksum of record {} is wrong",
            header.number
        )));
    }
    if !header.zstd {
        return Ok(payload);
    }
    let raw = header.raw as usize;
    // Never more than that is allocated, whatever the frame says.
    let unpacked = unpacker.decompress(&payload, raw).map_err(|error| {
        Error::damaged(format!("record {} does not unpack: {error}", header.number))
    })?;
    if unpacked.len() == raw {
        Ok(unpacked)
    } else {
        Err(Error::damaged(format!(
            "record {} unpacks to {} bytes and not {raw}",
            header.number,
            unpacked.len()
        )))
    }
}
