//! What comes in: an archive, a stream of `zfs send`, or several of `zfs send -R`,
//! each also packed by zstd(1).

use std::io::{self, BufReader, Cursor, Read};

use super::offer::{Form, Offer};
use super::package;
use super::read::Reader;
use super::record::MAGIC_OF_ANY;
use super::stream::{Begin, MAX_LIST, RECORD, Walker, is_begin};
use super::{Error, Result, unwrapped};

/// Where bytes come from.
pub type Source = Box<dyn Read + Send>;

/// How zstd's frames begin (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes of a stream handed on at a time.
const BUFFER: usize = 1 << 20;

/// An input, as far as to know what is in it.
pub struct Input {
    offer: Offer,
    body: Body,
}

enum Body {
    Archive(Box<Reader<Source>>),
    Streams(Streams),
}

/// Takes a stream in parts, the first of which has its first record. What it says
/// ends it.
pub type Take<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

impl Input {
    /// Reads what comes before the first stream.
    ///
    /// # Errors
    /// Where it is nothing that can be imported.
    pub fn open(source: Source) -> Result<Self> {
        Self::sniffed(source, true)
    }

    fn sniffed(mut source: Source, may_be_packed: bool) -> Result<Self> {
        let mut head = Vec::new();
        let wanted = MAGIC_OF_ANY.len() as u64;
        source
            .by_ref()
            .take(wanted)
            .read_to_end(&mut head)
            .map_err(unwrapped)?;
        let packed = may_be_packed && head.starts_with(&ZSTD);
        let known = head.starts_with(MAGIC_OF_ANY) || is_begin(&head);
        if head.is_empty() {
            return Err(Error::Truncated("before anything came".to_owned()));
        }
        let archive = head.starts_with(MAGIC_OF_ANY);
        let source: Source = Box::new(Cursor::new(head).chain(source));
        if packed {
            let unpacked = zstd::stream::read::Decoder::new(source)?;
            return Self::sniffed(Box::new(Packed(BufReader::new(unpacked))), false);
        }
        if !known {
            return Err(Error::refused(
                "it is neither an archive of beadm-rs nor a stream of zfs send",
            ));
        }
        if archive {
            let reader = Reader::open(source)?;
            return Ok(Self {
                offer: Offer::of_archive(reader.manifest(), *reader.identity()),
                body: Body::Archive(Box::new(reader)),
            });
        }
        Streams::open(source)
    }

    /// What can be had from it.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The archive's manifest; `None` for anything else.
    #[must_use]
    pub fn manifest(&self) -> Option<&super::Manifest> {
        match &self.body {
            Body::Archive(reader) => Some(reader.manifest()),
            Body::Streams(_) => None,
        }
    }

    /// The first record of the next stream; `None` where there is no other.
    ///
    /// Of an archive it is not known before the stream is taken.
    ///
    /// # Errors
    /// Where something else comes.
    pub fn upcoming(&mut self) -> Result<Option<Begin>> {
        match &mut self.body {
            Body::Archive(_) => Ok(None),
            Body::Streams(streams) => Ok(streams.upcoming()?.cloned()),
        }
    }

    /// Hands the next stream on, whose records are looked at: it is the one of the
    /// snapshot that was meant, and nothing but one.
    ///
    /// # Errors
    /// What is wrong with it, or what `take` said.
    pub fn stream(&mut self, wanted: Option<crate::zfs::Guid>, take: &mut Take<'_>) -> Result<()> {
        let mut walker = Walker::new();
        let mut checked = |walker: &mut Walker, part: &[u8]| -> Result<()> {
            if walker.push(part)? < part.len() {
                return Err(Error::damaged("something follows the end of a stream"));
            }
            let guid = walker.begin().map(|begin| begin.guid);
            if guid.is_some() && wanted.is_some() && guid != wanted {
                return Err(Error::refused(
                    "a stream is not of the snapshot it should be of",
                ));
            }
            take(part)
        };
        match &mut self.body {
            Body::Archive(reader) => {
                reader.stream(&mut |part| checked(&mut walker, part))?;
            }
            Body::Streams(streams) => streams.stream(&mut |part| checked(&mut walker, part))?,
        }
        if walker.ended() {
            Ok(())
        } else {
            Err(Error::Truncated("amid a stream".to_owned()))
        }
    }

    /// Reads the next stream to its end for its checksums alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn skip(&mut self, meter: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        self.stream(None, &mut |part| {
            if meter(part.len() as u64) {
                Ok(())
            } else {
                Err(Error::Interrupted)
            }
        })
    }

    /// Sees that it is whole, and that nothing follows.
    ///
    /// # Errors
    /// Where it is not.
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.body {
            Body::Archive(reader) => reader.finish(),
            Body::Streams(streams) => streams.finish(),
        }
    }
}

/// What zstd says of a frame that is cut off is that the file ended.
struct Packed<R>(R);

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| {
            let inner = error.get_ref().is_some_and(|inner| inner.is::<Error>());
            match error.kind() {
                _ if inner => error,
                io::ErrorKind::UnexpectedEof => {
                    Error::Truncated("amid what zstd packed".to_owned()).into()
                }
                _ => Error::damaged(format!("zstd: {error}")).into(),
            }
        })
    }
}

/// Streams one after the other.
struct Streams {
    source: Source,
    /// What was read and not handed on.
    buffer: Vec<u8>,
    at: usize,
    package: bool,
    /// The first record of what comes next, once it was looked at.
    next: Option<Begin>,
    ended: bool,
}

impl Streams {
    fn open(source: Source) -> Result<Input> {
        let mut streams = Self {
            source,
            buffer: Vec::new(),
            at: 0,
            package: false,
            next: None,
            ended: false,
        };
        let first = Begin::decode(&streams.peek()?.ok_or_else(nothing)?)?;
        let offer = if first.package {
            streams.package = true;
            let length = usize::try_from(first.payload.min(MAX_LIST + 1)).unwrap_or_default();
            if length as u64 != first.payload {
                return Err(Error::refused("the list at its beginning is too long"));
            }
            streams.at += RECORD;
            let list = streams.exactly(length)?;
            // The list's own last record.
            streams.exactly(RECORD)?;
            let package = package::parse(first, &list)?;
            let begin = streams.upcoming()?.cloned().ok_or_else(nothing)?;
            Offer::of_package(package, &begin)
        } else {
            Offer::of_stream(&first)?
        };
        debug_assert!(offer.form != Form::Package || streams.package);
        Ok(Input {
            offer,
            body: Body::Streams(streams),
        })
    }

    fn left(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Reads until so many bytes are at hand, or there are no more.
    fn have(&mut self, bytes: usize) -> Result<()> {
        if self.left().len() >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let missing = bytes.max(BUFFER) - self.buffer.len();
        // In parts: as much as comes, for as long as it is not enough.
        let mut read = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + missing, 0);
        while old + read < bytes {
            let into = self.buffer.get_mut(old + read..).unwrap_or_default();
            match self.source.read(into) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unwrapped(error)),
            }
        }
        self.buffer.truncate(old + read);
        Ok(())
    }

    fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < bytes {
            let wanted = (bytes - taken.len()).min(BUFFER);
            self.have(wanted)?;
            let part = self
                .left()
                .get(..wanted)
                .ok_or_else(|| Error::Truncated("in the list at its beginning".to_owned()))?;
            taken.extend_from_slice(part);
            self.at += wanted;
        }
        Ok(taken)
    }

    /// The next record, which stays; `None` at the end.
    fn peek(&mut self) -> Result<Option<[u8; RECORD]>> {
        self.have(RECORD)?;
        match self.left().first_chunk() {
            Some(record) => Ok(Some(*record)),
            None if self.left().is_empty() => Ok(None),
            None => Err(Error::Truncated("amid a record".to_owned())),
        }
    }

    fn upcoming(&mut self) -> Result<Option<&Begin>> {
        if self.next.is_none() && !self.ended {
            let record = self.peek()?;
            match record {
                Some(record) if is_begin(&record) => {
                    let begin = Begin::decode(&record)?;
                    if begin.package {
                        return Err(Error::refused("it is a package in a package"));
                    }
                    self.next = Some(begin);
                }
                // A package ends with an empty last record.
                Some(record) if self.package && is_empty_end(&record) => {
                    self.at += RECORD;
                    self.ended = true;
                }
                Some(_) => return Err(Error::damaged("something else follows a stream")),
                None => return Err(Error::Truncated("before its last record".to_owned())),
            }
        }
        Ok(self.next.as_ref())
    }

    fn stream(&mut self, take: &mut Take<'_>) -> Result<()> {
        if self.next.take().is_none() && (self.ended || self.package) {
            return Err(nothing());
        }
        let mut walker = Walker::new();
        while !walker.ended() {
            self.have(1)?;
            let part = self.buffer.get(self.at..).unwrap_or_default();
            if part.is_empty() {
                return Err(Error::Truncated("amid a stream".to_owned()));
            }
            let of_it = walker.push(part)?;
            take(part.get(..of_it).unwrap_or_default())?;
            self.at += of_it;
        }
        self.ended |= !self.package;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.package && self.upcoming()?.is_some() {
            return Err(Error::damaged("another stream follows"));
        }
        self.have(1)?;
        if self.left().is_empty() {
            Ok(())
        } else {
            Err(Error::damaged("something follows its end"))
        }
    }
}

fn nothing() -> Error {
    Error::Truncated("before its first stream".to_owned())
}

/// `DRR_END` and nothing else in it.
fn is_empty_end(record: &[u8; RECORD]) -> bool {
    let mut end = [0; RECORD];
    end[0] = 5;
    let mut other = [0; RECORD];
    other[3] = 5;
    *record == end || *record == other
}
