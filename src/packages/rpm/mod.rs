//! rpm's database: headers in an SQLite file, read without SQLite and without
//! writing (rpm itself makes missing indexes when it reads).
//!
//! Before rpm 4.16 the headers were in a Berkeley DB, and SUSE keeps them in
//! "ndb"; both are refused by name.

pub mod header;
pub mod sqlite;

use std::io;

use super::Package;

/// Where the database may be, below the root of the tree: since 2022 in
/// `/usr` (Fedora's and SUSE's move), and there again for ostree.
pub const DIRECTORIES: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"];

/// The file that is read.
pub const FILE: &str = "rpmdb.sqlite";

/// What was written and not yet put into the file.
pub const WRITE_AHEAD: &str = "rpmdb.sqlite-wal";

/// Files of databases that are not read, and what they are called.
pub const REFUSED: [(&str, &str); 2] = [
    ("Packages", "a Berkeley DB (rpm before 4.16)"),
    ("Packages.db", "in SUSE's ndb format"),
];

/// Reads the packages out of a database.
///
/// # Errors
/// Where it cannot be read, or is not what rpm writes.
pub fn read(
    file: &dyn sqlite::Bytes,
    write_ahead: Option<&dyn sqlite::Bytes>,
) -> io::Result<Vec<Package>> {
    let database = sqlite::Database::open(file, write_ahead)?;
    let table = database.table("Packages")?;
    let mut packages = Vec::new();
    database.rows(table, &mut |columns| {
        // hnum INTEGER PRIMARY KEY (kept apart, as NULL), blob
        let blob = columns
            .get(1)
            .ok_or_else(|| damaged("a row has no header"))?;
        packages.push(header::parse(blob).map_err(|why| damaged(&why.to_string()))?);
        Ok(())
    })?;
    Ok(packages)
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &[u8], write_ahead: Option<&[u8]>) -> Vec<String> {
        let write_ahead = write_ahead
            .as_ref()
            .map(|bytes| bytes as &dyn sqlite::Bytes);
        read(&file, write_ahead)
            .unwrap()
            .into_iter()
            .map(|package| {
                format!(
                    "{} {} {}",
                    package.name, package.version, package.architecture
                )
            })
            .collect()
    }

    const PLAIN: &[u8] = include_bytes!("../../../tests/fixtures/packages/rpm/plain/rpmdb.sqlite");
    const SMALL: &[u8] =
        include_bytes!("../../../tests/fixtures/packages/rpm/small-pages/rpmdb.sqlite");
    const BEHIND: &[u8] = include_bytes!("../../../tests/fixtures/packages/rpm/wal/rpmdb.sqlite");
    const AHEAD: &[u8] =
        include_bytes!("../../../tests/fixtures/packages/rpm/wal/rpmdb.sqlite-wal");

    const ALL: [&str; 5] = [
        "kernel 6.1-1 noarch",
        "beta 5:2.0^git1-3.fc40 noarch",
        "alpha 1.0~rc1-1 noarch",
        "kernel 6.2-1 noarch",
        "gamma 3-1 noarch",
    ];

    #[test]
    fn what_rpm_4_18_wrote_is_read() {
        assert_eq!(told(PLAIN, None), ALL);
    }

    #[test]
    fn headers_over_many_pages_below_inner_pages_are_read() {
        assert_eq!(told(SMALL, None), ALL);
    }

    #[test]
    fn what_was_committed_to_the_write_ahead_log_counts_and_what_was_not_does_not() {
        assert_eq!(told(BEHIND, None), ALL[..3]);
        assert_eq!(told(BEHIND, Some(AHEAD)), ALL[1..4]);
        // Cut short by a power cut: what was committed whole.
        let half = &AHEAD[..40];
        assert_eq!(told(BEHIND, Some(half)), ALL[..3]);
        // A frame that was not written whole ends the log.
        let mut torn = AHEAD.to_vec();
        torn[100] ^= 1;
        assert_eq!(told(BEHIND, Some(&torn)), ALL[..3]);
        assert_eq!(told(BEHIND, Some(&[])), ALL[..3]);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error_or_an_answer() {
        for end in (0..SMALL.len()).step_by(97) {
            let _ = read(&&SMALL[..end], None);
        }
        for at in (0..SMALL.len()).step_by(7) {
            for flip in [0xff, 0x01, 0x80] {
                let mut changed = SMALL.to_vec();
                changed[at] ^= flip;
                let _ = read(&changed.as_slice(), None);
            }
        }
        for text in [&b""[..], b"SQLite format 3\0", &[0; 4096], &[0xff; 4096]] {
            assert!(read(&text, None).is_err());
        }
    }
}
