//! The rest of real streams, made at points where real receives broke off, against what
//! `zfs send -t` sent for them (`tests/fixtures/streams/`); and what is not a point.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::super::record::hexadecimal;
use super::*;
use crate::zfs::Guid;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/streams");
    std::fs::read(path.join(name)).unwrap()
}

fn stream(name: &str) -> Vec<u8> {
    let packed = fixture(&format!("{name}.zst"));
    zstd::stream::decode_all(packed.as_slice()).unwrap()
}

/// Where real receives of a stream broke off: the token, and bytes and checksum of what
/// `zfs send -t` sent for it.
struct Point {
    of: String,
    token: String,
    length: usize,
    checksum: String,
}

fn points() -> Vec<Point> {
    let points = String::from_utf8(fixture("points")).unwrap();
    let point = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        Point {
            of: words[0].to_owned(),
            token: words[1].to_owned(),
            length: words[2].parse().unwrap(),
            checksum: words[3].to_owned(),
        }
    };
    points.lines().map(point).collect()
}

/// A point in the middle of a stream, amid an object.
fn amid(name: &str) -> Token {
    let points = points();
    let of = points.iter().filter(|point| point.of == name);
    let mut tokens = of.map(|point| Token::parse(&point.token).unwrap());
    tokens.find(|token| token.offset > 0).unwrap()
}

/// The rest of a stream that comes in parts of that length.
fn rest(stream: &[u8], token: &Token, length: usize) -> Result<Vec<u8>> {
    let mut rest = Rest::new(token.clone());
    let mut out = Vec::new();
    for part in stream.chunks(length) {
        rest.push(part, &mut out)?;
    }
    Ok(out)
}

#[test]
fn the_rest_is_to_the_byte_what_zfs_send_sends_for_the_token() {
    let points = points();
    let mut amid = 0;
    for name in ["full", "embedded", "since", "raw", "rawsince"] {
        let stream = stream(name);
        for point in points.iter().filter(|point| point.of == name) {
            let token = Token::parse(&point.token).unwrap();
            // A spill block that is embedded is sent as one of the object's blocks, after
            // all that it can have (`do_dump`): nobody goes on from there. No export has
            // embedded blocks.
            if token.offset > 1 << 63 {
                assert_eq!(name, "embedded");
                refused(&stream, &token, "the stream has a hole there");
                continue;
            }
            amid += usize::from(token.offset > 0);
            let made = rest(&stream, &token, 1 << 20).unwrap();
            assert_eq!(
                (made.len(), hexadecimal(&Sha256::digest(&made))),
                (point.length, point.checksum.clone()),
                "{name}: {token:?}"
            );
        }
    }
    assert!(points.len() > 100 && amid > 30, "{amid} amid an object");
}

#[test]
fn it_does_not_matter_in_what_parts_the_stream_comes() {
    let stream = stream("since");
    let token = amid("since");
    let whole = rest(&stream, &token, stream.len()).unwrap();
    for length in [1, 311, 312, 313, 4096, 5001] {
        assert!(rest(&stream, &token, length).unwrap() == whole, "{length}");
    }
}

#[test]
fn the_rest_of_the_rest_is_the_same_as_of_the_whole() {
    // What the kernel writes down while it receives a rest is a point of the whole.
    let stream = stream("full");
    let points = points();
    let mut of_full = points.iter().filter(|point| point.of == "full");
    let first = Token::parse(&of_full.next().unwrap().token).unwrap();
    let second = Token::parse(&of_full.next_back().unwrap().token).unwrap();
    let once = rest(&stream, &first, 1 << 20).unwrap();
    let later = rest(&stream, &second, 1 << 20).unwrap();
    assert!(later.len() < once.len() && once.len() < stream.len());
    // One that is a rest already is not taken for the whole.
    let refused = rest(&once, &second, 1 << 20).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "it does not go on where it broke off: it is of another stream"
    );
}

#[track_caller]
fn refused(stream: &[u8], token: &Token, why: &str) {
    let mut rest = Rest::new(token.clone());
    let mut out = Vec::new();
    let error = rest.push(stream, &mut out).unwrap_err();
    assert_eq!(
        (error.to_string(), matches!(error, Error::Point(_))),
        (format!("it does not go on where it broke off: {why}"), true)
    );
    assert!(out.is_empty(), "something was given");
}

#[test]
fn a_token_of_something_else_is_refused_before_anything_is_given() {
    let stream = stream("since");
    let token = amid("since");
    let other = "it is of another stream";
    for wrong in [
        Token {
            guid: Guid(1),
            ..token.clone()
        },
        Token {
            base: None,
            ..token.clone()
        },
        Token {
            base: Some(Guid(1)),
            ..token.clone()
        },
        Token {
            name: "rpool/other@b".parse().unwrap(),
            ..token.clone()
        },
        Token {
            large: false,
            ..token.clone()
        },
        Token {
            compressed: false,
            ..token.clone()
        },
        Token {
            embedded: true,
            ..token.clone()
        },
        Token {
            raw: true,
            ..token.clone()
        },
    ] {
        refused(&stream, &wrong, other);
    }
    let redacted = Token {
        redacted: true,
        ..token
    };
    let why = "something was left out of it on purpose";
    refused(&stream, &redacted, why);
}

#[test]
fn a_point_that_the_stream_does_not_have_is_refused_before_anything_is_given() {
    let stream = stream("full");
    let token = amid("full");
    let at = |object, offset| Token {
        object,
        offset,
        ..token.clone()
    };
    let none = "the stream has no such point";
    let gap = "the stream has no such object";
    let hole_there = "the stream has a hole there";
    // Between two blocks, after the last, after all objects, and where there is none.
    refused(
        &stream,
        &at(token.object, token.offset + 512),
        "the stream has no such block",
    );
    refused(&stream, &at(token.object, 1 << 50), hole_there);
    refused(&stream, &at(u64::MAX - 1, 0), none);
    let objects = about(&stream);
    let free = objects.iter().find_map(|about| match about {
        About::NoObjects { first, count } if *count > 1 => Some(first + 1),
        _ => None,
    });
    refused(&stream, &at(free.unwrap(), 0), gap);
    let hole = objects.iter().find_map(|about| match about {
        About::Hole {
            object,
            offset,
            length,
        } if *length > 512 && *length < 1 << 40 => Some((*object, offset + 512)),
        _ => None,
    });
    let (object, offset) = hole.unwrap();
    refused(&stream, &at(object, offset), hole_there);
}

/// What the records of a stream are about.
fn about(stream: &[u8]) -> Vec<About> {
    let mut found = Vec::new();
    let walked = Walker::new().walk(stream, &mut |part| {
        if let Part::Record(_, record) = part {
            found.push(record.about);
        }
        Ok(())
    });
    walked.unwrap();
    found
}

/// Where a stream's records begin.
fn places(stream: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    let walked = Walker::new().walk(stream, &mut |part| {
        match part {
            Part::Record(..) => {
                found.push(at);
                at += RECORD;
            }
            Part::Payload(payload) => at += payload.len(),
        }
        Ok(())
    });
    walked.unwrap();
    found
}

#[test]
fn a_byte_that_changed_on_the_way_is_found_by_the_senders_checksums() {
    let whole = stream("full");
    let token = amid("full");
    let places = places(&whole);
    // In what is left out, and in what is given: headers, what follows them, checksums.
    for (index, within) in [(3, 300), (5, 20), (9, 330), (60, 290), (90, 320), (129, 12)] {
        let mut changed = whole.clone();
        changed[places[index] + within] ^= 4;
        let error = rest(&changed, &token, 1 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is damaged: a checksum in the stream is not that of what came before",
            "record {index}"
        );
    }
}

#[test]
fn a_stream_in_another_order_is_not_gone_on_with() {
    let whole = stream("full");
    let places = places(&whole);
    let about = about(&whole);
    let token = amid("full");
    let own = about
        .iter()
        .position(|it| *it == About::Object(token.object));
    let own = own.unwrap();
    let after = about
        .iter()
        .skip(own + 1)
        .position(|it| matches!(it, About::Object(_)));
    let after = own + 1 + after.unwrap();
    // An earlier object's record comes once more, after the point, with no checksums in
    // the way.
    let mut record = whole[places[1]..places[2]].to_vec();
    record[CHECKSUM..RECORD].fill(0);
    let mut swapped = whole[..places[after]].to_vec();
    swapped.extend(record);
    swapped.extend(&whole[places[after]..]);
    let error = rest(&swapped, &token, 1 << 20).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it does not go on where it broke off: the stream is not in the order of its objects"
    );
}

#[test]
fn of_what_is_cut_off_there_is_only_what_came() {
    let whole = stream("raw");
    let token = amid("raw");
    let all = rest(&whole, &token, whole.len()).unwrap();
    let mut last = 0;
    for length in (0..whole.len()).step_by(997) {
        let made = rest(&whole[..length], &token, 1 << 20).unwrap();
        assert!(all.starts_with(&made) && made.len() >= last && made.len() < all.len());
        last = made.len();
    }
    assert!(last > RECORD);
}
