//! Kernels and unified kernel images as programs of the firmware: the PE
//! format, of which the signature and a few sections are looked at.

use std::fs::File;
use std::io::{Read, Seek};

use object::pe::IMAGE_DIRECTORY_ENTRY_SECURITY;
use object::read::pe::PeFile64;
use object::read::{Object as _, ObjectSection as _, ReadCache};

/// A longer section of text is not read, bytes.
const MAX_TEXT: u64 = 64 << 10;

/// What is in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// It carries a signature; by whom is the firmware's to say.
    pub signed: bool,
    /// The command line it brings along: `.cmdline` of a unified image.
    pub command_line: Option<String>,
}

/// Reads an image; `None` where it is none that firmware could start.
#[must_use]
pub fn read(file: File) -> Option<Image> {
    parse(file)
}

fn parse(image: impl Read + Seek) -> Option<Image> {
    let cache = ReadCache::new(image);
    let image = PeFile64::parse(&cache).ok()?;
    let signature = image.data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY);
    let command_line = image
        .section_by_name(".cmdline")
        .filter(|section| section.size() <= MAX_TEXT)
        .and_then(|section| section.data().ok())
        .map(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.trim_end_matches('\0').trim().to_owned()
        });
    Some(Image {
        signed: signature.is_some_and(|directory| directory.size.get(object::LittleEndian) > 0),
        command_line,
    })
}

/// An image of headers and one section, for tests.
#[cfg(test)]
pub(super) fn example(command_line: Option<&str>, signed: bool) -> Vec<u8> {
    const BEGIN: usize = 0x200;
    let mut image = vec![0_u8; BEGIN];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &u16::from(command_line.is_some()).to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    if signed {
        put(optional + 112 + 8 * 4, &0x200_u32.to_le_bytes());
        put(optional + 112 + 8 * 4 + 4, &8_u32.to_le_bytes());
    }
    if let Some(text) = command_line {
        let section = optional + 240;
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        put(section, b".cmdline");
        put(section + 8, &length);
        put(section + 16, &length);
        put(section + 20, &u32::try_from(BEGIN).unwrap().to_le_bytes());
        image.extend(text.bytes());
    }
    image
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn parsed(bytes: &[u8]) -> Option<Image> {
        parse(Cursor::new(bytes.to_vec()))
    }

    #[test]
    fn the_command_line_and_the_signature_are_seen() {
        let line = "root=ZFS=rpool/ROOT/a ro\n\0";
        for signed in [false, true] {
            assert_eq!(
                parsed(&example(Some(line), signed)),
                Some(Image {
                    signed,
                    command_line: Some("root=ZFS=rpool/ROOT/a ro".to_owned()),
                })
            );
        }
        assert_eq!(parsed(&example(None, false)), Some(Image::default()));
        assert_eq!(parsed(b"\x1f\x8b not an image"), None);
        assert_eq!(parsed(b""), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(at in 0_usize..0x210, byte in any::<u8>(), length in 0_usize..0x220) {
            let mut image = example(Some("root=zfs:AUTO quiet"), true);
            image.truncate(length);
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
            let _ = parsed(&image);
        }
    }
}
