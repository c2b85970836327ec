//! What is in an initramfs, read from its beginning to its end and unpacked
//! nowhere.
//!
//! The format is that of the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`: archives one
//! after the other, zeros between them; the first are not compressed (microcode,
//! on Debian 13 also modules that are compressed themselves), the last most
//! often is.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::compressed::{Frames, Input, Magic, magic};

/// More than this, unpacked, is not read, bytes: no machine could unpack it at
/// boot either.
const MAX_UNPACKED: u64 = 4 << 30;

/// A longer name makes an archive a damaged one, bytes (`PATH_MAX`).
const MAX_NAME: u64 = 4096;

/// A zpool.cache is never longer, bytes.
const MAX_CACHE: u64 = 4 << 20;

/// Bytes of a header (`cpio_header` in `init/initramfs.c`).
const HEADER: usize = 110;

/// What a check wants to know of an initramfs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The kernels it has a zfs module for.
    pub zfs_for: BTreeSet<String>,
    /// Its `/etc/hostid`.
    pub hostid: Option<u32>,
    /// Its `/etc/zfs/zpool.cache`.
    pub cache: Option<Vec<u8>>,
    /// dracut made it.
    pub dracut: bool,
    /// It has this project's module for dracut, which mounts the children.
    pub mounts_children: bool,
    /// The paths asked for that are in it.
    pub wanted: BTreeSet<String>,
    /// How many files, directories and links it has.
    pub entries: u64,
}

/// Why it is not known what is in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Compressed by something that is not decompressed here.
    #[error("it is compressed with {0}")]
    Opaque(&'static str),
    /// Not what the kernel would take.
    #[error("{0}")]
    Damaged(String),
    /// It could not be read.
    #[error("{0}")]
    Unreadable(String),
}

fn damaged(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Trouble::Damaged("it ends too early".to_owned()),
        // Everything a disk says has a number.
        _ if error.raw_os_error().is_some() => Trouble::Unreadable(error.to_string()),
        _ => Trouble::Damaged(error.to_string()),
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// `/etc/hostid` as zfs reads it: four bytes in the machine's order
/// (`hostid_read` in `spl-generic.c`); zero is none.
#[must_use]
pub fn hostid(bytes: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes)).filter(|hostid| *hostid != 0)
}

/// The kernel a zfs module in an initramfs is for.
fn zfs_module(path: &str) -> Option<&str> {
    let (directory, file) = path.rsplit_once('/')?;
    if !matches!(file, "zfs.ko" | "zfs.ko.xz" | "zfs.ko.zst" | "zfs.ko.gz") {
        return None;
    }
    let (_, below) = directory.split_once("lib/modules/")?;
    below.split('/').next()
}

/// Reads an initramfs; whether it has these paths, without the leading slash,
/// is looked for too.
///
/// # Errors
/// Where it cannot be read to its end; never on account of a file in it.
pub fn read(initramfs: impl Read, wanted: &[&str]) -> Result<Contents, Trouble> {
    let mut contents = Contents::default();
    let mut input = Input::new(initramfs);
    let mut budget = MAX_UNPACKED;
    loop {
        if !input.skip_zeros().map_err(|error| damaged(&error))? {
            break;
        }
        let begin = input.peek(6).map_err(|error| damaged(&error))?;
        match magic(begin) {
            Magic::Archive => {
                archive(&mut input, wanted, &mut contents, &mut budget)
                    .map_err(|error| damaged(&error))?;
            }
            Magic::Compressed(compression) => {
                let unpack = || -> io::Result<Option<_>> {
                    let mut inner = Input::new(Frames::new(compression, input)?);
                    let before = contents.entries;
                    while inner.skip_zeros()? {
                        archive(&mut inner, wanted, &mut contents, &mut budget)?;
                    }
                    // Some decoders end without a word where their input does.
                    if contents.entries == before {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Ok(inner.into_inner().into_rest())
                };
                match unpack().map_err(|error| damaged(&error))? {
                    Some(rest) => input = rest,
                    None => break,
                }
            }
            Magic::Opaque(name) => return Err(Trouble::Opaque(name)),
            Magic::Unknown => {
                return Err(Trouble::Damaged("it is no archive".to_owned()));
            }
        }
    }
    if contents.entries == 0 {
        return Err(Trouble::Damaged("it is empty".to_owned()));
    }
    Ok(contents)
}

/// One field of a header: eight hexadecimal digits.
fn field(header: &[u8; HEADER], index: usize) -> io::Result<u64> {
    let begin = 6 + 8 * index;
    header
        .get(begin..begin + 8)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| wrong("one of its headers is no header"))
}

/// Passes over bytes, all of which must be there.
fn skip(input: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(count), &mut io::sink())?;
    if skipped == count {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// How many bytes are missing to a multiple of four.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

/// Reads one archive, its trailer included.
fn archive<R: Read>(
    input: &mut Input<R>,
    asked: &[&str],
    contents: &mut Contents,
    budget: &mut u64,
) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        input.read_exact(&mut header)?;
        if !matches!(header.get(..6), Some(b"070701" | b"070702")) {
            return Err(wrong("one of its headers is no header"));
        }
        let size = field(&header, 6)?;
        let name_length = field(&header, 11)?;
        if name_length == 0 || name_length > MAX_NAME {
            return Err(wrong("one of its names is too long"));
        }
        let spent = HEADER as u64 + name_length + size;
        *budget = budget
            .checked_sub(spent)
            .ok_or_else(|| wrong("it is larger than any machine could unpack"))?;
        let mut name = Vec::new();
        input.take(name_length).read_to_end(&mut name)?;
        if (name.len() as u64) < name_length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        skip(input, padding(HEADER as u64 + name_length))?;
        let name = String::from_utf8_lossy(&name);
        let path = name.trim_end_matches('\0');
        if path == "TRAILER!!!" {
            return Ok(());
        }
        contents.entries += 1;
        let path = path.trim_start_matches("./").trim_start_matches('/');
        // dracut's own library (`dracut-init.sh`).
        contents.dracut |= path.contains("lib/dracut/");
        contents.mounts_children |=
            path.contains("lib/dracut/hooks/mount/") && path.ends_with("beadm-rs-children.sh");
        if asked.contains(&path) {
            contents.wanted.insert(path.to_owned());
        }
        if let Some(kernel) = zfs_module(path) {
            contents.zfs_for.insert(kernel.to_owned());
        }
        let wanted = match path {
            "etc/hostid" => size.min(4),
            "etc/zfs/zpool.cache" => size.min(MAX_CACHE),
            _ => 0,
        };
        let mut bytes = Vec::new();
        input.take(wanted).read_to_end(&mut bytes)?;
        skip(input, size - bytes.len() as u64 + padding(size))?;
        match path {
            "etc/hostid" => contents.hostid = hostid(&bytes),
            "etc/zfs/zpool.cache" => contents.cache = Some(bytes),
            _ => {}
        }
    }
}

/// The pools a zpool.cache names, by their guids: a packed nvlist in XDR, in
/// which a pair is its name, padded to four bytes, its type, its number of
/// elements, its value, all big-endian (`nvs_xdr_nvpair` in `nvpair.c`).
#[must_use]
pub fn cached_pools(cache: &[u8]) -> BTreeSet<u64> {
    /// "pool_guid" padded, `DATA_TYPE_UINT64`, one element.
    const PAIR: &[u8] = b"pool_guid\0\0\0\0\0\0\x08\0\0\0\x01";
    cache
        .windows(PAIR.len() + 8)
        .filter_map(|window| window.strip_prefix(PAIR)?.try_into().ok())
        .map(u64::from_be_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::check::stand_in::cpio;

    const MODULE: &str = "usr/lib/modules/6.1/updates/dkms/zfs.ko.xz";

    fn expected() -> Contents {
        Contents {
            zfs_for: BTreeSet::from(["6.1".to_owned()]),
            hostid: Some(0x0102_0304),
            cache: Some(b"cache".to_vec()),
            dracut: false,
            mounts_children: false,
            wanted: BTreeSet::from(["etc/hostid".to_owned()]),
            entries: 4,
        }
    }

    fn read(initramfs: &[u8]) -> Result<Contents, Trouble> {
        super::read(initramfs, &["etc/hostid", "etc/key"])
    }

    fn main_archive() -> Vec<u8> {
        cpio(&[
            ("./etc/hostid", &0x0102_0304_u32.to_ne_bytes()),
            ("etc/zfs/zpool.cache", b"cache"),
            (MODULE, &[7; 1001]),
        ])
    }

    fn early() -> Vec<u8> {
        let mut archive = cpio(&[("kernel/x86/microcode/AuthenticAMD.bin", &[1; 77])]);
        archive.extend([0; 509]);
        archive
    }

    fn compressed(how: &str, plain: &[u8]) -> Vec<u8> {
        match how {
            "gzip" => {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(plain).unwrap();
                gz.finish().unwrap()
            }
            "xz" => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                xz.write_all(plain).unwrap();
                xz.finish().unwrap()
            }
            "zstd" => ruzstd::encoding::compress_to_vec(
                plain,
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            "lz4" | "lz4 legacy" => {
                let info = lz4_flex::frame::FrameInfo::new().legacy_frame(how == "lz4 legacy");
                let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                lz4.write_all(plain).unwrap();
                lz4.finish().unwrap()
            }
            other => panic!("{other}"),
        }
    }

    const ALL: [&str; 5] = ["gzip", "xz", "zstd", "lz4", "lz4 legacy"];

    #[test]
    fn every_compression_is_looked_into_behind_the_microcode() {
        let plain = [early(), main_archive()].concat();
        assert_eq!(read(plain.as_slice()), Ok(expected()), "plain");
        for how in ALL {
            let mut bytes = early();
            bytes.extend(compressed(how, &main_archive()));
            assert_eq!(read(bytes.as_slice()), Ok(expected()), "{how}");
            // Loaders pad with zeros.
            bytes.extend([0; 7]);
            if how != "lz4 legacy" {
                assert_eq!(read(bytes.as_slice()), Ok(expected()), "{how}, padded");
            }
        }
    }

    #[test]
    fn frames_one_after_the_other_are_one_archive() {
        let main = main_archive();
        let (one, other) = main.split_at(main.len() / 2);
        for how in ["gzip", "xz", "zstd", "lz4"] {
            let bytes = [early(), compressed(how, one), compressed(how, other)].concat();
            assert_eq!(read(bytes.as_slice()), Ok(expected()), "{how}");
        }
    }

    #[test]
    fn an_archive_behind_one_that_is_compressed_is_looked_into() {
        for how in ["gzip", "xz", "zstd"] {
            for last in [
                cpio(&[("x", b"y")]),
                compressed("gzip", &cpio(&[("x", b"y")])),
            ] {
                let main = compressed(how, &main_archive());
                let bytes = [early(), main, vec![0; 5], last].concat();
                let more = Contents {
                    entries: expected().entries + 1,
                    ..expected()
                };
                // Of the same compression it is one stream with the first.
                assert_eq!(read(bytes.as_slice()), Ok(more), "{how}");
            }
            let bytes = [compressed(how, &main_archive()), b"#!/bin/sh".to_vec()].concat();
            assert_eq!(
                read(bytes.as_slice()),
                Err(Trouble::Damaged("it is no archive".to_owned())),
                "{how}"
            );
        }
    }

    #[test]
    fn one_that_ends_too_early_is_damaged_wherever_it_ends() {
        for how in ALL {
            let whole = [early(), compressed(how, &main_archive())].concat();
            for length in [0, 3, 50, early().len() + 9, whole.len() - 30] {
                let cut = read(&whole[..length]);
                assert!(
                    matches!(cut, Err(Trouble::Damaged(_))),
                    "{how} {length}: {cut:?}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_looked_into_is_named() {
        for (begin, name) in [
            (&b"BZh91AY&SY"[..], "bzip2"),
            (b"\x5d\0\0\x80\0", "lzma"),
            (b"\x89LZO\0\r\n\x1a\n", "lzo"),
        ] {
            let bytes = [&early(), begin].concat();
            assert_eq!(read(bytes.as_slice()), Err(Trouble::Opaque(name)));
        }
        let bytes = [early(), b"#!/bin/sh".to_vec()].concat();
        assert_eq!(
            read(bytes.as_slice()),
            Err(Trouble::Damaged("it is no archive".to_owned()))
        );
    }

    #[test]
    fn a_size_beyond_all_bounds_is_damage_and_takes_no_memory() {
        let mut archive = cpio(&[("x", b"")]);
        archive[6 + 8 * 6..6 + 8 * 7].copy_from_slice(b"7fffffff");
        assert_eq!(
            read(archive.as_slice()),
            Err(Trouble::Damaged("it ends too early".to_owned()))
        );
        archive[6 + 8 * 11..6 + 8 * 12].copy_from_slice(b"ffffffff");
        assert_eq!(
            read(archive.as_slice()),
            Err(Trouble::Damaged("one of its names is too long".to_owned()))
        );
    }

    #[test]
    fn the_pools_of_a_cache_are_found_by_their_guids() {
        let mut cache = b"\x01\x01\0\0nonsense pool_guid".to_vec();
        for guid in [5_u64, u64::MAX] {
            cache.extend(b"\0\0\0\x09pool_guid\0\0\0\0\0\0\x08\0\0\0\x01");
            cache.extend(guid.to_be_bytes());
        }
        assert_eq!(cached_pools(&cache), BTreeSet::from([5, u64::MAX]));
        assert_eq!(cached_pools(b"pool_guid"), BTreeSet::new());
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(
            how in 0..ALL.len(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = compressed(ALL[how], &main_archive());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read(bytes.as_slice());
            let _ = read(main_archive().iter().copied().chain(tail.clone()).collect::<Vec<_>>().as_slice());
            let mut archive = main_archive();
            let at = at % archive.len();
            archive[at] = byte;
            let _ = read(archive.as_slice());
            let _ = read(tail.as_slice());
        }
    }
}
