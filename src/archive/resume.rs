//! The rest of a stream of which a part was received before (`zfs receive -s`): what
//! `zfs send -t` would send, made of the whole stream.
//!
//! The kernel takes as the rest a stream that says so in its first record
//! (`DMU_BACKUP_FEATURE_RESUMING`), names the point in the list after that
//! (`resume_check` in OpenZFS's `dmu_recv.c`), and goes on from there in the order of
//! objects and offsets. It does not look whether what comes is the rest: so that is
//! looked at here. Streams are in that order (`dump_record`'s callers in `dmu_send.c`
//! assert it), so what is left out is everything before the object's own record
//! (`DRR_OBJECT`) and the object's blocks before the point; the block at the point comes
//! again, as the kernel expects (`save_resume_state`). The checksums, which go on from
//! record to record, are made anew, and those that the sender made are looked at.

use super::fletcher::Fletcher4;
use super::native::{self, Packed};
use super::replay::{About, CHECKSUM, Order, Record};
use super::stream::{self, Begin, Part, RECORD, Walker};
use super::token::Token;
use super::{Error, Result};

/// `DMU_BACKUP_FEATURE_RESUMING`.
const RESUMING: u32 = 1 << 20;

/// What a token says of a stream's flags (`DMU_BACKUP_FEATURE_EMBED_DATA`, `…_LARGE_BLOCKS`,
/// `…_REDACTED`, `…_COMPRESSED`, `…_RAW`).
const EMBEDDED: u32 = 1 << 16;
const LARGE: u32 = 1 << 19;
const REDACTED: u32 = 1 << 21;
const COMPRESSED: u32 = 1 << 22;
const RAW: u32 = 1 << 24;

/// How much is kept back until the point is seen: an object's record and what may stand
/// between that and its blocks, one spill block (16 MiB).
const MAX_HELD: usize = 64 << 20;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was received before: all of it is given, whatever object is its first.
    Start,
    /// Before the object.
    Before,
    /// In the object, before the point.
    Within,
    /// At the point, or after it.
    Beyond,
}

/// What becomes of a record and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was received before.
    Out,
    /// It is given.
    Given,
    /// It is the list after the first record, which is changed.
    Collected,
}

/// A stream, of which the rest is made.
#[derive(Debug)]
pub struct Rest {
    token: Token,
    walker: Walker,
    stage: Stage,
    fate: Fate,
    /// The first record, and the list after it, until that is whole.
    begin: Vec<u8>,
    list: Vec<u8>,
    listed: u64,
    /// Over the stream as it comes, and before its last record.
    taken: Fletcher4,
    /// Over what is given.
    given: Fletcher4,
    /// What is given as soon as the point is seen.
    held: Vec<u8>,
}

impl Rest {
    /// From that point on.
    #[must_use]
    pub fn new(token: Token) -> Self {
        // What `dmu_recv_begin_sync` writes down before anything has come.
        let nothing = token.object == 1 && token.offset == 0;
        Self {
            token,
            walker: Walker::new(),
            stage: if nothing { Stage::Start } else { Stage::Before },
            fate: Fate::Out,
            begin: Vec::new(),
            list: Vec::new(),
            listed: 0,
            taken: Fletcher4::default(),
            given: Fletcher4::default(),
            held: Vec::new(),
        }
    }

    /// Takes what comes next of the whole stream, and puts behind `out` what of the rest
    /// is made of it: nothing before the point was seen.
    ///
    /// # Errors
    /// [`Error::Point`] where the stream has no such point; it never comes after
    /// something was put out that is not right. Else what is wrong with the stream.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut walker = std::mem::take(&mut self.walker);
        let walked = walker.walk(bytes, &mut |part| match part {
            Part::Record(header, record) => self.record(header, record, out),
            Part::Payload(payload) => self.payload(payload, out),
        });
        self.walker = walker;
        walked.map(|_| ())
    }

    fn record(&mut self, header: &[u8; RECORD], record: Record, out: &mut Vec<u8>) -> Result<()> {
        if !record.payload.is_multiple_of(4) {
            return Err(missing("a record in it ends within a word"));
        }
        let (body, checksum) = header.split_at(CHECKSUM);
        let before = self.taken;
        self.taken.push(body);
        if record.about == About::Begin {
            self.taken.push(checksum);
            self.matches(header)?;
            self.begin = header.to_vec();
            self.listed = record.payload;
            self.fate = Fate::Collected;
            return self.begun(out);
        }
        // As `receive_read_payload_and_next_header` and `receive_read_record` look at them.
        let whole = checksum.iter().all(|byte| *byte == 0) || *checksum == self.taken.bytes();
        let ended = record.about != About::End || header.get(8..40) == Some(&before.bytes());
        if !whole || !ended {
            return Err(Error::damaged(
                "a checksum in the stream is not that of what came before",
            ));
        }
        self.taken.push(checksum);
        self.fate = self.decide(record.about)?;
        if self.fate == Fate::Given {
            let mut body = body.to_vec();
            if record.about == About::End
                && let Some(place) = body.get_mut(8..40)
            {
                place.copy_from_slice(&self.given.bytes());
            }
            self.give(&body, out)?;
            let checksum = self.given.bytes();
            self.give(&checksum, out)?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.taken.push(payload);
        match self.fate {
            Fate::Out => Ok(()),
            Fate::Given => self.give(payload, out),
            Fate::Collected => {
                self.list.extend_from_slice(payload);
                self.begun(out)
            }
        }
    }

    /// It is the stream that the token is of.
    fn matches(&self, header: &[u8; RECORD]) -> Result<()> {
        let token = &self.token;
        if Order::of(header) != Some(Order::Little) {
            return Err(missing("it is of a machine with the other order of bytes"));
        }
        let begin = Begin::decode(header)?;
        let features = stream::features(Order::Little, header);
        let flags = [
            (token.embedded, EMBEDDED),
            (token.large, LARGE),
            (token.compressed, COMPRESSED),
            (token.raw, RAW),
        ];
        let same = flags
            .iter()
            .all(|(said, flag)| *said == (features & flag != 0));
        if !same
            || (begin.guid, begin.base) != (token.guid, token.base)
            || begin.name != token.name
            || features & RESUMING != 0
        {
            return Err(missing("it is of another stream"));
        }
        // What is left out is in a list that would have to be told from the token's.
        if token.redacted || features & REDACTED != 0 {
            return Err(missing("something was left out of it on purpose"));
        }
        Ok(())
    }

    /// The first record and its list, as soon as that is whole.
    fn begun(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if (self.list.len() as u64) < self.listed {
            return Ok(());
        }
        let point = [
            ("resume_object", Packed::Number(self.token.object)),
            ("resume_offset", Packed::Number(self.token.offset)),
        ];
        let list = native::with(&self.list, &point)?;
        let mut begin = std::mem::take(&mut self.begin);
        let order = Order::Little;
        let version = order.u64(&begin, 16) | (u64::from(RESUMING) << 2);
        let length = u32::try_from(list.len()).unwrap_or_default();
        for (at, bytes) in [
            (4, &length.to_le_bytes()[..]),
            (16, &version.to_le_bytes()[..]),
        ] {
            if let Some(place) = begin.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
        self.give(&begin, out)?;
        self.give(&list, out)
    }

    fn give(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.given.push(bytes);
        if matches!(self.stage, Stage::Start | Stage::Beyond) {
            out.append(&mut self.held);
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() > MAX_HELD {
            return Err(missing("it does not come where it should"));
        }
        Ok(())
    }

    /// What becomes of a record, by what it is about.
    fn decide(&mut self, about: About) -> Result<Fate> {
        let point = self.token.object;
        // Of which object it is; what is about several is about the last of them.
        let object = match about {
            About::Object(object)
            | About::Write { object, .. }
            | About::Hole { object, .. }
            | About::Spill(object) => object,
            About::NoObjects { first, count } | About::Range { first, count } => {
                let beyond = first.saturating_add(count);
                if first <= point && point < beyond {
                    return self.around(about);
                }
                if first > point {
                    first
                } else {
                    beyond.saturating_sub(1)
                }
            }
            About::End => u64::MAX,
            About::Begin | About::Other => {
                return Err(missing("there is a record in it that is not known"));
            }
        };
        match self.stage {
            // `dump_dnode` passes over what is before the point.
            Stage::Start if object == 0 => Ok(Fate::Out),
            Stage::Start => Ok(Fate::Given),
            Stage::Before if object < point => Ok(Fate::Out),
            Stage::Before if about == About::Object(point) => {
                // A point at the beginning is the object itself (`receive_object`).
                self.stage = match self.token.offset {
                    0 => Stage::Beyond,
                    _ => Stage::Within,
                };
                Ok(Fate::Given)
            }
            Stage::Within if object == point => self.within(about),
            Stage::Before | Stage::Within => Err(missing("the stream has no such point")),
            Stage::Beyond if object < point || about == About::Object(point) => {
                Err(missing("the stream is not in the order of its objects"))
            }
            Stage::Beyond => match about {
                About::Write { offset, .. } | About::Hole { offset, .. }
                    if object == point && offset < self.token.offset =>
                {
                    Err(missing("the stream is not in the order of its blocks"))
                }
                _ => Ok(Fate::Given),
            },
        }
    }

    /// What is about several objects, the point's among them.
    fn around(&self, about: About) -> Result<Fate> {
        match about {
            _ if self.stage == Stage::Start => Ok(Fate::Given),
            // Before the objects of its block (`send_cb`).
            About::Range { .. } if self.stage == Stage::Before => Ok(Fate::Given),
            _ => Err(missing("the stream has no such object")),
        }
    }

    /// What is in the object, before its point was seen.
    fn within(&mut self, about: About) -> Result<Fate> {
        let point = self.token.offset;
        match about {
            About::Write { offset, .. } if offset < point => Ok(Fate::Out),
            About::Write { offset, .. } if offset == point => {
                self.stage = Stage::Beyond;
                Ok(Fate::Given)
            }
            About::Hole { offset, length, .. } if offset < point => {
                match offset.checked_add(length) {
                    Some(end) if end <= point => Ok(Fate::Out),
                    _ => Err(missing("the stream has a hole there")),
                }
            }
            // What is after the object's end comes before its blocks (`dump_dnode`), and
            // so does what did not change of its attributes.
            About::Hole { .. } | About::Spill(_) => Ok(Fate::Given),
            _ => Err(missing("the stream has no such block")),
        }
    }
}

fn missing(why: &str) -> Error {
    Error::Point(why.to_owned())
}

#[cfg(test)]
mod tests;
