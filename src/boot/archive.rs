//! A cpio archive in the format "newc", as the kernel unpacks it into its first
//! root file system (Documentation/driver-api/early-userspace/buffer-format.rst).
//! Pure, and the same for the same files: its digest is its name.

/// A member: a name from the root, its mode with its type, the device it is, and
/// what is in it.
struct Member<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An uncompressed archive is looked for where a multiple of this begins, bytes:
/// what follows one that is as long as that is found too, whoever puts them
/// one after the other, and with whatever between them.
const ALIGNMENT: usize = 4;

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// Appends a member; `None` where it is longer than the format can say.
fn append(archive: &mut Vec<u8>, number: u32, member: &Member<'_>) -> Option<()> {
    let length = u32::try_from(member.content.len()).ok()?;
    let name = u32::try_from(member.name.len() + 1).ok()?;
    let (major, minor) = member.device;
    archive.extend(b"070701");
    // Number, mode, owner, group, links, time, length, device of the file system
    // (two), device it is (two), length of the name, checksum.
    for field in [
        number,
        member.mode,
        0,
        0,
        1,
        0,
        length,
        0,
        0,
        major,
        minor,
        name,
        0,
    ] {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(member.name.bytes());
    archive.push(0);
    align(archive);
    archive.extend(member.content);
    align(archive);
    Some(())
}

/// The archive with one program in the root directory, and with what a program
/// needs that the kernel starts before anything is mounted: `/dev/null`, which
/// Rust's start opens where there is no console. `None` where it is too long.
pub(super) fn of_program(name: &str, program: &[u8]) -> Option<Vec<u8>> {
    let members = [
        ("dev", 0o040_755, (0, 0), [].as_slice()),
        ("dev/null", 0o020_666, (1, 3), [].as_slice()),
        (name, 0o100_755, (0, 0), program),
        (TRAILER, 0, (0, 0), [].as_slice()),
    ];
    let mut archive = Vec::with_capacity(program.len() + 1024);
    for (number, (name, mode, device, content)) in (1..).zip(members) {
        let member = Member {
            name,
            mode,
            device,
            content,
        };
        append(&mut archive, number, &member)?;
    }
    Some(archive)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// What cpio(1) says of an archive, with times and owners as numbers.
    fn listed(archive: &[u8]) -> String {
        let mut cpio = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .env_clear()
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(archive).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    fn has_cpio() -> bool {
        let said = Command::new("cpio").arg("--version").output();
        said.is_ok_and(|output| output.status.success())
    }

    #[test]
    fn an_archive_is_what_cpio_takes_for_one() {
        if !has_cpio() {
            return;
        }
        for length in 0..5 {
            let archive = of_program("program", &vec![b'x'; length]).unwrap();
            let lines: Vec<String> = listed(&archive)
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(
                lines,
                [
                    "drwxr-xr-x 1 0 0 0 Jan 1 1970 dev".to_owned(),
                    "crw-rw-rw- 1 0 0 1, 3 Jan 1 1970 dev/null".to_owned(),
                    format!("-rwxr-xr-x 1 0 0 {length} Jan 1 1970 program"),
                ]
            );
        }
    }

    #[test]
    fn an_archive_has_these_bytes() {
        let archive = of_program("p", b"12345").unwrap();
        let text = String::from_utf8(archive).unwrap();
        assert_eq!(
            text,
            [
                // dev: a directory.
                "070701",
                "00000001000041ed000000000000000000000001000000000000000000000000",
                "0000000000000000000000000000000400000000",
                "dev\0\0\0",
                // dev/null: a character device, 1:3.
                "070701",
                "00000002000021b6000000000000000000000001000000000000000000000000",
                "0000000000000001000000030000000900000000",
                "dev/null\0\0",
                // The program: five bytes, filled up to eight.
                "070701",
                "00000003000081ed000000000000000000000001000000000000000500000000",
                "0000000000000000000000000000000200000000",
                "p\0",
                "12345\0\0\0",
                "070701",
                "0000000400000000000000000000000000000001000000000000000000000000",
                "0000000000000000000000000000000b00000000",
                "TRAILER!!!\0\0\0\0",
            ]
            .concat()
        );
        assert_eq!(text.len() % ALIGNMENT, 0);
    }
}
