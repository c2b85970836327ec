//! Streams of the simulated machine: records as ZFS's own, around one object that holds
//! some contents. Real ZFS never sees them.

use super::fletcher::Fletcher4;
use super::native;
use super::nvlist::Value;
use super::replay::{About, END, MAGIC, OBJECT, WRITE};
use super::stream::{Begin, Part, RECORD, Walker};
use super::{Error, Result};
use crate::zfs::{Guid, SnapshotName};

/// The object that holds the contents.
pub const CONTENTS: u64 = 1;

/// Bytes of contents in one record.
pub const PART: usize = 128 << 10;

/// A stream of one snapshot around some contents.
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
    let mut object = vec![0; RECORD];
    object[0..4].copy_from_slice(&OBJECT.to_le_bytes());
    object[8..16].copy_from_slice(&CONTENTS.to_le_bytes());
    stream.extend(object);
    for (part, offset) in contents.chunks(PART).zip((0_u64..).step_by(PART)) {
        let mut write = vec![0; RECORD];
        write[0..4].copy_from_slice(&WRITE.to_le_bytes());
        write[8..16].copy_from_slice(&CONTENTS.to_le_bytes());
        write[24..32].copy_from_slice(&offset.to_le_bytes());
        write[32..40].copy_from_slice(&(part.len() as u64).to_le_bytes());
        write[40..48].copy_from_slice(&guid.0.to_le_bytes());
        stream.extend(write);
        stream.extend(part);
    }
    let mut end = vec![0; RECORD];
    end[0..4].copy_from_slice(&END.to_le_bytes());
    end[8..40].copy_from_slice(&sum(&stream).bytes());
    end[40..48].copy_from_slice(&guid.0.to_le_bytes());
    stream.extend(end);
    stream
}

/// Over what may end within a word.
fn sum(bytes: &[u8]) -> Fletcher4 {
    let mut sum = Fletcher4::default();
    sum.push(bytes);
    sum.push(&[0; 3][..(4 - bytes.len() % 4) % 4]);
    sum
}

/// What came of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it said at its beginning.
    pub begin: Begin,
    /// Where it goes on, if it does not begin at the beginning.
    pub from: Option<u64>,
    /// The contents, from there; of what is cut off the parts that came whole.
    pub contents: Vec<u8>,
    /// Where the last part begins that came whole.
    pub last: u64,
    /// It came to its end.
    pub whole: bool,
}

/// What [`simulated`] was made of.
///
/// # Errors
/// What is wrong with it, as far as it goes.
pub fn received(stream: &[u8]) -> Result<Received> {
    let mut walker = Walker::new();
    let (mut list, mut contents, mut part) = (Vec::new(), Vec::new(), Vec::new());
    let (mut last, mut here, mut left, mut at_begin) = (None, 0, 0, true);
    let length = walker.walk(stream, &mut |shown| {
        match shown {
            Part::Record(_, record) => {
                at_begin = record.about == About::Begin;
                if let About::Write { offset, .. } = record.about {
                    part.clear();
                    left = record.payload;
                    here = offset;
                }
            }
            Part::Payload(bytes) if at_begin => list.extend_from_slice(bytes),
            Part::Payload(bytes) => {
                part.extend_from_slice(bytes);
                left -= bytes.len() as u64;
                if left == 0 {
                    contents.append(&mut part);
                    last = Some(here);
                }
            }
        }
        Ok(())
    })?;
    let whole = walker.ended();
    let begin = walker.begin().cloned();
    let begin = begin.ok_or_else(|| Error::Truncated("before its first record".to_owned()))?;
    if whole {
        let (body, end) = stream.split_at(length - RECORD);
        if end.get(8..40) != Some(&sum(body).bytes()) {
            return Err(Error::damaged("checksum mismatch"));
        }
    }
    let from = match list.as_slice() {
        [] => None,
        list => match native::parse(list)?.get("resume_offset") {
            Some(Value::Number(offset)) => Some(*offset),
            _ => None,
        },
    };
    Ok(Received {
        begin,
        from,
        contents,
        last: last.or(from).unwrap_or_default(),
        whole,
    })
}
