//! Kernels and unified kernel images as programs of the firmware: the PE
//! format, of which the signature and a few sections are looked at.

use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;

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
    /// The version of its kernel: `.uname` of a unified image.
    pub version: Option<String>,
    /// What its system calls itself, os-release(5): `.osrel` of a unified image.
    pub release: Option<String>,
    /// Where in the file its initramfs is: `.initrd` of a unified image.
    pub initramfs: Option<Range<u64>>,
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
    let text = |name| {
        let section = image.section_by_name(name)?;
        let bytes = (section.size() <= MAX_TEXT).then(|| section.data().ok())??;
        let text = String::from_utf8_lossy(bytes);
        Some(text.trim_end_matches('\0').trim().to_owned())
    };
    let initramfs = image
        .section_by_name(".initrd")
        .and_then(|section| section.file_range())
        .and_then(|(begin, length)| Some(begin..begin.checked_add(length)?));
    Some(Image {
        signed: signature.is_some_and(|directory| directory.size.get(object::LittleEndian) > 0),
        command_line: text(".cmdline"),
        version: text(".uname"),
        release: text(".osrel"),
        initramfs,
    })
}

/// An image of headers and these sections, for tests.
#[cfg(test)]
pub(crate) fn example(sections: &[(&str, &[u8])], signed: bool) -> Vec<u8> {
    const BEGIN: usize = 0x200;
    let mut image = vec![0_u8; BEGIN];
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &number(0x40));
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &number(sections.len())[..2]);
    put(0x54, &240_u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 108, &number(16));
    if signed {
        put(optional + 112 + 8 * 4, &number(0x200));
        put(optional + 112 + 8 * 4 + 4, &number(8));
    }
    let mut contents: Vec<u8> = Vec::new();
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let header = optional + 240 + index * 40;
        put(header, name.as_bytes());
        put(header + 8, &number(bytes.len()));
        put(header + 16, &number(bytes.len()));
        put(header + 20, &number(BEGIN + contents.len()));
        contents.extend(*bytes);
    }
    image.extend(contents);
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
    fn the_sections_and_the_signature_are_seen() {
        let line = b"root=ZFS=rpool/ROOT/a ro\n\0";
        for signed in [false, true] {
            let sections: [(&str, &[u8]); 3] = [
                (".cmdline", line),
                (".uname", b"6.1"),
                (".initrd", b"070701"),
            ];
            let begin = 0x200 + 29;
            assert_eq!(
                parsed(&example(&sections, signed)),
                Some(Image {
                    signed,
                    command_line: Some("root=ZFS=rpool/ROOT/a ro".to_owned()),
                    version: Some("6.1".to_owned()),
                    release: None,
                    initramfs: Some(begin..begin + 6),
                })
            );
        }
        assert_eq!(parsed(&example(&[], false)), Some(Image::default()));
        assert_eq!(parsed(b"\x1f\x8b not an image"), None);
        assert_eq!(parsed(b""), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(at in 0_usize..0x210, byte in any::<u8>(), length in 0_usize..0x220) {
            let mut image = example(&[(".cmdline", b"root=zfs:AUTO quiet")], true);
            image.truncate(length);
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
            let _ = parsed(&image);
        }
    }
}
