//! What UEFI firmware boots by itself: its boot options (the variables
//! `Boot0000` to `BootFFFF`) and the one that boots once (`BootNext`), which it
//! deletes before it starts that (UEFI Specification 2.10, 3.1.3 and 3.3).

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{Error, Platform, Result};

/// The vendor of the firmware's own variables.
pub(super) const VENDOR: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What boots once.
pub(crate) const NEXT: &str = "BootNext";

/// The options in their order; every firmware that boots by options has it.
pub(crate) const ORDER: &str = "BootOrder";

/// How the titles of this program's options begin.
const OWN: &str = "beadm-rs: ";

/// Where this program's files are on a partition, as firmware writes it.
const OWN_FILES: &str = "\\beadm-rs\\";

/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;

/// What is set of all this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Boots {
    /// The option that boots once.
    pub next: Option<u16>,
    /// This program's options.
    pub own: BTreeMap<u16, BootOption>,
    /// The other options there are.
    pub others: Vec<u16>,
}

impl Boots {
    /// What is set, by the firmware's variables: each by its name and its bytes.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut found = Self::default();
        for (name, bytes) in variables {
            if name == NEXT {
                found.next = number_of_next(&bytes);
            }
            let Some(number) = numbered(&name) else {
                continue;
            };
            match BootOption::parse(&bytes).filter(BootOption::is_own) {
                Some(option) => {
                    found.own.insert(number, option);
                }
                None => found.others.push(number),
            }
        }
        found
    }

    /// This program's option that boots once.
    #[must_use]
    pub fn own_next(&self) -> Option<(u16, &BootOption)> {
        let next = self.next?;
        Some((next, self.own.get(&next)?))
    }

    /// The lowest number no option has.
    #[must_use]
    pub fn free(&self) -> Option<u16> {
        (0..=u16::MAX)
            .find(|number| !self.own.contains_key(number) && !self.others.contains(number))
    }
}

/// The variable of an option.
#[must_use]
pub(crate) fn variable(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// The number of the option a variable is.
#[must_use]
pub(crate) fn numbered(variable: &str) -> Option<u16> {
    let digits = variable.strip_prefix("Boot")?;
    let is_one = digits.len() == 4
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    u16::from_str_radix(digits, 16).ok().filter(|_| is_one)
}

fn number_of_next(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

/// Something that the firmware starts from a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootOption {
    /// What its menu calls it.
    pub title: String,
    /// The program, from the partition's root.
    pub file: Utf8PathBuf,
    /// Its arguments: a kernel's command line.
    pub options: String,
}

/// Where a partition is, as a boot option names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its number on its disk, from 1.
    pub number: u32,
    /// Its first block, in the disk's logical blocks.
    pub start: u64,
    /// How many it has.
    pub blocks: u64,
    /// Its identity (GPT), as it is written on the disk.
    pub uuid: [u8; 16],
}

impl Extent {
    /// The bytes of an identity as it is written in text: the first three groups
    /// are little-endian.
    #[must_use]
    pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return None;
        }
        let mut bytes = Vec::with_capacity(16);
        for (index, group) in groups.iter().enumerate() {
            let mut part = Vec::with_capacity(6);
            for at in (0..group.len()).step_by(2) {
                part.push(u8::from_str_radix(group.get(at..at + 2)?, 16).ok()?);
            }
            if index < 3 {
                part.reverse();
            }
            bytes.extend(part);
        }
        bytes.try_into().ok()
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// The text up to its NUL, and what is behind that.
fn text_of(bytes: &[u8]) -> (String, &[u8]) {
    let units = bytes.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    let text: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let rest = bytes.get(2 * text.len() + 2..).unwrap_or_default();
    (String::from_utf16_lossy(&text), rest)
}

/// A node of a device path.
fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = vec![kind, subtype];
    bytes.extend(length.to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Media, file path.
const FILE: (u8, u8) = (4, 4);

impl BootOption {
    /// One that starts an environment's copies.
    #[must_use]
    pub fn of_environment(name: &str, file: &Utf8Path, options: String) -> Self {
        Self {
            title: format!("{OWN}{name}"),
            file: file.to_owned(),
            options,
        }
    }

    /// The name of the environment it starts.
    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        self.title.strip_prefix(OWN)
    }

    fn is_own(&self) -> bool {
        self.environment().is_some() && self.file.as_str().starts_with("beadm-rs/")
    }

    /// The bytes of its variable, without the four of its attributes
    /// (`EFI_LOAD_OPTION`, 3.1.3; device path nodes in 10.3.5).
    #[must_use]
    pub fn encode(&self, extent: &Extent) -> Vec<u8> {
        let mut partition = extent.number.to_le_bytes().to_vec();
        partition.extend(extent.start.to_le_bytes());
        partition.extend(extent.blocks.to_le_bytes());
        partition.extend(extent.uuid);
        // A GPT, and a signature that is a GUID.
        partition.extend([2, 2]);
        let mut path = node(4, 1, &partition);
        let file = format!("\\{}", self.file.as_str().replace('/', "\\"));
        path.extend(node(FILE.0, FILE.1, &utf16(&file)));
        path.extend(node(0x7f, 0xff, &[]));
        let mut bytes = ACTIVE.to_le_bytes().to_vec();
        bytes.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(utf16(&self.title));
        bytes.extend(path);
        bytes.extend(utf16(&self.options));
        bytes
    }

    /// Reads one; `None` where it is none, or starts no file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let length = u16::from_le_bytes(bytes.get(4..6)?.try_into().ok()?);
        let (title, rest) = text_of(bytes.get(6..)?);
        let mut path = rest.get(..usize::from(length))?;
        let (options, _) = text_of(rest.get(usize::from(length)..)?);
        let mut file = None;
        while let [kind, subtype, low, high, ..] = path {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let data = path.get(4..length)?;
            if (*kind, *subtype) == FILE {
                file = Some(text_of(data).0);
            }
            path = path.get(length.max(4)..)?;
        }
        let file = file?;
        let file = match file.strip_prefix(OWN_FILES) {
            Some(rest) => format!("beadm-rs/{}", rest.replace('\\', "/")),
            None => file,
        };
        Some(Self {
            title,
            file: file.into(),
            options,
        })
    }
}

fn read<P: Platform + ?Sized>(platform: &P, attempted: &str) -> Result<Boots> {
    platform.firmware()?.ok_or_else(|| Error::Unexpected {
        attempted: attempted.to_owned(),
        detail: "there is no firmware that boots by options".to_owned(),
    })
}

fn changed_meanwhile(attempted: &str) -> Error {
    Error::Unexpected {
        attempted: attempted.to_owned(),
        detail: "it was changed since it was looked at".to_owned(),
    }
}

/// Makes one of this program's options, or takes it away; somebody else's stays.
pub(super) fn set_option<P: Platform + ?Sized>(
    platform: &P,
    attempted: &str,
    partition: &Utf8Path,
    number: u16,
    to: Option<&BootOption>,
) -> Result<()> {
    let boots = read(platform, attempted)?;
    if boots.others.contains(&number) {
        return Err(changed_meanwhile(attempted));
    }
    let bytes = match to {
        Some(option) => Some(option.encode(&platform.extent(partition)?)),
        None => None,
    };
    platform.set_firmware(&variable(number), bytes.as_deref())
}

/// Has an option boot once, or none, where it is as it was planned with.
pub(super) fn set_next<P: Platform + ?Sized>(
    platform: &P,
    attempted: &str,
    from: Option<u16>,
    to: Option<u16>,
) -> Result<()> {
    let boots = read(platform, attempted)?;
    if boots.next == to {
        return Ok(());
    }
    if boots.next != from {
        return Err(changed_meanwhile(attempted));
    }
    platform.set_firmware(
        NEXT,
        to.map(u16::to_le_bytes).as_ref().map(<[u8; 2]>::as_slice),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXTENT: Extent = Extent {
        number: 1,
        start: 2048,
        blocks: 1_048_576,
        uuid: [
            0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
            0xcd, 0xef,
        ],
    };

    fn option() -> BootOption {
        let options = "initrd=\\beadm-rs\\x\\initrd root=ZFS=rpool/ROOT/new ro".to_owned();
        BootOption::of_environment("new", "beadm-rs/x/linux".into(), options)
    }

    #[test]
    fn an_identity_is_written_as_a_gpt_has_it() {
        let text = "76543210-ba98-fedc-0123-456789abcdef";
        assert_eq!(Extent::uuid_bytes(text), Some(EXTENT.uuid));
        for text in [
            "",
            "1234abcd-01",
            "76543210-ba98-fedc-0123-456789abcdeg",
            "é6543210",
        ] {
            assert_eq!(Extent::uuid_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn an_option_is_laid_out_as_the_specification_says() {
        let bytes = option().encode(&EXTENT);
        // Attributes, the length of the path, the title.
        assert_eq!(bytes.get(..4), Some(&[1, 0, 0, 0][..]));
        let title = utf16("beadm-rs: new");
        assert_eq!(bytes.get(6..6 + title.len()), Some(title.as_slice()));
        // The partition: 42 bytes, of which the last two say GPT and GUID.
        let partition = bytes.get(6 + title.len()..).unwrap();
        assert_eq!(partition.get(..4), Some(&[4, 1, 42, 0][..]));
        assert_eq!(partition.get(4..8), Some(&[1, 0, 0, 0][..]));
        assert_eq!(partition.get(24..40), Some(EXTENT.uuid.as_slice()));
        assert_eq!(partition.get(40..44), Some(&[2, 2, 4, 4][..]));
        let path = utf16("\\beadm-rs\\x\\linux");
        assert_eq!(partition.get(46..46 + path.len()), Some(path.as_slice()));
        let end = partition.get(46 + path.len()..).unwrap();
        assert_eq!(end.get(..4), Some(&[0x7f, 0xff, 4, 0][..]));
        assert_eq!(text_of(end.get(4..).unwrap()).0, option().options);
        let length = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        assert_eq!(length, 42 + 4 + path.len() + 4);
    }

    #[test]
    fn what_is_set_is_told_apart() {
        let foreign = BootOption {
            title: "beadm-rs: new".to_owned(),
            file: "EFI/BOOT/BOOTX64.EFI".into(),
            options: String::new(),
        };
        let variables = [
            ("BootNext", vec![7, 0]),
            ("BootOrder", vec![0, 0]),
            ("Boot0000", foreign.encode(&EXTENT)),
            ("Boot0001", vec![1, 2, 3]),
            ("Boot0007", option().encode(&EXTENT)),
            ("Boot00a8", option().encode(&EXTENT)),
            ("BootCurrent", vec![0, 0]),
        ];
        let boots = Boots::of(variables.map(|(name, bytes)| (name.to_owned(), bytes)));
        assert_eq!(boots.own_next(), Some((7, &option())));
        assert_eq!(boots.others, [0, 1]);
        assert_eq!(boots.free(), Some(2));
        assert_eq!(option().environment(), Some("new"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_option_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BootOption::parse(&bytes);
        }

        #[test]
        fn an_option_is_read_as_it_was_written(
            name in "[a-zA-Z0-9._-]{1,20}",
            options in "[ -~äöß]{0,60}",
        ) {
            let option = BootOption::of_environment(&name, "beadm-rs/x/linux".into(), options);
            prop_assert_eq!(BootOption::parse(&option.encode(&EXTENT)), Some(option));
        }
    }
}
