//! Compressed archives inside a stream, decompressed as they are read.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder as ZstdFrames, StreamingDecoder as ZstdDecoder};

/// The largest window of a zstd frame that is decompressed, bytes: what
/// `zstd --long` makes.
const ZSTD_WINDOW: u64 = 128 << 20;

/// The most memory an xz block may ask for, KiB: `xz -9` needs 64 MiB and some.
const XZ_MEMORY: u32 = 100 << 10;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// A reader whose next bytes can be looked at.
#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
        }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// The next bytes, `count` of them, or fewer where it ends before.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < count {
            self.buffer.drain(..self.at);
            self.at = 0;
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let read = self
                .buffer
                .get_mut(before..)
                .map_or(Ok(0), |free| read_some(&mut self.inner, free));
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                break;
            }
        }
        let end = self.buffer.len().min(self.at + count);
        Ok(self.buffer.get(self.at..end).unwrap_or_default())
    }

    /// Passes over zeros; whether anything follows.
    pub(super) fn skip_zeros(&mut self) -> io::Result<bool> {
        loop {
            let available = self.fill_buf()?;
            if available.is_empty() {
                return Ok(false);
            }
            let zeros = available.iter().take_while(|byte| **byte == 0).count();
            let all = zeros == available.len();
            self.consume(zeros);
            if !all {
                return Ok(true);
            }
        }
    }
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.buffer.len().min(self.at + amount);
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// What a stream begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Magic {
    /// `cpio -H newc`.
    Archive,
    /// Compressed, and can be decompressed.
    Compressed(Compression),
    /// Compressed, and the kernel would know how to decompress it.
    Opaque(&'static str),
    /// Nothing the kernel would take.
    Unknown,
}

/// What can be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Zstd,
    Lz4,
}

/// The formats of an initramfs (`lib/decompress.c` of Linux).
pub(super) fn magic(bytes: &[u8]) -> Magic {
    const KNOWN: [(&[u8], Magic); 10] = [
        (b"070701", Magic::Archive),
        (b"070702", Magic::Archive),
        (b"\x1f\x8b", Magic::Compressed(Compression::Gzip)),
        (b"\xfd7zXZ\0", Magic::Compressed(Compression::Xz)),
        (b"\x28\xb5\x2f\xfd", Magic::Compressed(Compression::Zstd)),
        // The kernel takes the legacy format; `lz4` without -l writes the other.
        (b"\x02\x21\x4c\x18", Magic::Compressed(Compression::Lz4)),
        (b"\x04\x22\x4d\x18", Magic::Compressed(Compression::Lz4)),
        (b"BZh", Magic::Opaque("bzip2")),
        (b"\x5d\0\0", Magic::Opaque("lzma")),
        (b"\x89LZO", Magic::Opaque("lzo")),
    ];
    KNOWN
        .iter()
        .find(|(begin, _)| bytes.starts_with(begin))
        .map_or(Magic::Unknown, |(_, magic)| *magic)
}

enum Decoder<R: Read> {
    Gzip(GzDecoder<Input<R>>),
    Xz(Box<XzReader<Input<R>>>),
    Zstd(Box<ZstdDecoder<Input<R>, ZstdFrames>>),
    Lz4(Lz4Decoder<Input<R>>),
}

impl<R: Read> Decoder<R> {
    fn new(compression: Compression, input: Input<R>) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(GzDecoder::new(input)),
            Compression::Xz => Self::Xz(Box::new(XzReader::new_mem_limit(input, false, XZ_MEMORY))),
            Compression::Zstd => Self::Zstd(Box::new(
                ZstdDecoder::new_with_max_window_size(input, ZSTD_WINDOW)
                    .map_err(io::Error::other)?,
            )),
            Compression::Lz4 => Self::Lz4(Lz4Decoder::new(input)),
        })
    }

    fn into_input(self) -> Input<R> {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
            Self::Lz4(decoder) => decoder.into_inner(),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Lz4(decoder) => decoder.read(buffer),
        }
    }
}

/// What is compressed, as one stream: parallel compressors write several frames
/// one after the other. It ends where something else follows.
pub(super) struct Frames<R: Read> {
    compression: Compression,
    decoder: Option<Decoder<R>>,
    rest: Option<Input<R>>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(compression: Compression, input: Input<R>) -> io::Result<Self> {
        Ok(Self {
            compression,
            decoder: Some(Decoder::new(compression, input)?),
            rest: None,
        })
    }

    /// What follows, once it was read to its end; `None` where nothing does.
    pub(super) fn into_rest(self) -> Option<Input<R>> {
        self.rest
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                return Ok(0);
            };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut input) = self.decoder.take().map(Decoder::into_input) else {
                return Ok(0);
            };
            if !input.skip_zeros()? {
                return Ok(0);
            }
            match magic(input.peek(6)?) {
                Magic::Compressed(next) if next == self.compression => {
                    self.decoder = Some(Decoder::new(next, input)?);
                }
                _ => self.rest = Some(input),
            }
        }
    }
}
