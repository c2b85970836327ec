//! Rows of one table of an SQLite file, read page by page (the file format:
//! <https://www.sqlite.org/fileformat2.html>; numbers in brackets are its
//! sections).
//!
//! Only what rpm's database needs: tables with a rowid, no indexes, no
//! writing. A library would bring C into the build, and SQLite itself writes
//! beside a database that has a write-ahead log.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// How deep a b-tree is followed: SQLite's own bound (`BTCURSOR_MAX_DEPTH`).
const MAX_DEPTH: usize = 20;

/// The largest row, bytes: rpm's own bound on a header.
const MAX_ROW: u64 = 256 << 20;

/// Bytes at positions.
pub trait Bytes {
    /// How many there are.
    ///
    /// # Errors
    /// Where that cannot be asked.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from a position on.
    ///
    /// # Errors
    /// Where there are not so many.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Bytes for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Bytes for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let found = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..at.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn short() -> io::Error {
    damaged("a page is cut short")
}

fn be16(bytes: &[u8], at: usize) -> io::Result<usize> {
    let field = bytes
        .get(at..at + 2)
        .and_then(|field| field.try_into().ok());
    field
        .map(u16::from_be_bytes)
        .map(usize::from)
        .ok_or_else(short)
}

fn be32(bytes: &[u8], at: usize) -> io::Result<u32> {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    field.map(u32::from_be_bytes).ok_or_else(short)
}

/// A variable-length integer (1.6), and what follows it.
fn varint(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            value = (value << 8) | u64::from(*byte);
        } else {
            value = (value << 7) | u64::from(byte & 0x7f);
        }
        if index == 8 || byte & 0x80 == 0 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(short())
}

/// Length of a column by its type in the record (2.1).
fn column_size(kind: u64) -> u64 {
    match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        _ => kind.saturating_sub(12) / 2,
    }
}

/// Is given the columns of a row, as bytes.
pub type Row<'a> = dyn FnMut(&[&[u8]]) -> io::Result<()> + 'a;

/// A database that is read.
pub struct Database<'a> {
    file: &'a dyn Bytes,
    page_size: usize,
    /// Bytes at the end of each page that are somebody else's.
    reserved: usize,
    pages: u32,
    write_ahead: Option<&'a dyn Bytes>,
    /// Where in the write-ahead log a page's last committed state is.
    ahead: HashMap<u32, u64>,
}

impl<'a> Database<'a> {
    /// Opens a database with its write-ahead log.
    ///
    /// # Errors
    /// Where it cannot be read, or is none.
    pub fn open(file: &'a dyn Bytes, write_ahead: Option<&'a dyn Bytes>) -> io::Result<Self> {
        let mut header = [0; 100];
        file.read(&mut header, 0)?;
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(damaged("it is not an SQLite database"));
        }
        let page_size = match be16(&header, 16)? {
            1 => 65536,
            size if size.is_power_of_two() && size >= 512 => size,
            _ => return Err(damaged("its page size is none")),
        };
        let mut database = Self {
            file,
            page_size,
            reserved: usize::from(header[20]),
            pages: u32::try_from(file.size()? / page_size as u64)
                .map_err(|_| damaged("it is larger than SQLite's are"))?,
            write_ahead: None,
            ahead: HashMap::new(),
        };
        if let Some(log) = write_ahead {
            database.read_write_ahead(log)?;
        }
        Ok(database)
    }

    /// Finds the committed frames of a write-ahead log (4.1 to 4.3). What
    /// follows the first frame that does not belong there is left over from
    /// before, or was not written to its end.
    fn read_write_ahead(&mut self, log: &'a dyn Bytes) -> io::Result<()> {
        let mut header = [0; 32];
        if log.size()? < 32 {
            return Ok(());
        }
        log.read(&mut header, 0)?;
        let big_endian = match be32(&header, 0)? {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return Ok(()),
        };
        if be32(&header, 8)? as usize != self.page_size {
            return Ok(());
        }
        let mut sum = checksum((0, 0), &header[..24], big_endian);
        if sum != (be32(&header, 24)?, be32(&header, 28)?) {
            return Ok(());
        }
        let mut pending = HashMap::new();
        let mut frame = vec![0; 24 + self.page_size];
        let mut at: u64 = 32;
        while log.read(&mut frame, at).is_ok() {
            let (head, page) = frame.split_at(24);
            sum = checksum(sum, &head[..8], big_endian);
            sum = checksum(sum, page, big_endian);
            let belongs =
                head.get(8..16) == header.get(16..24) && sum == (be32(head, 16)?, be32(head, 20)?);
            if !belongs {
                break;
            }
            pending.insert(be32(head, 0)?, at + 24);
            let size = be32(head, 4)?;
            if size != 0 {
                self.ahead.extend(pending.drain());
                self.pages = size;
            }
            at += frame.len() as u64;
        }
        self.write_ahead = Some(log);
        Ok(())
    }

    fn page(&self, number: u32) -> io::Result<Vec<u8>> {
        if number == 0 || number > self.pages {
            return Err(damaged("a page it points to is not there"));
        }
        let mut page = vec![0; self.page_size];
        match (self.ahead.get(&number), self.write_ahead) {
            (Some(at), Some(log)) => log.read(&mut page, *at)?,
            _ => {
                let at = u64::from(number - 1) * self.page_size as u64;
                self.file.read(&mut page, at)?;
            }
        }
        Ok(page)
    }

    /// The first page of a table (2.6).
    ///
    /// # Errors
    /// Where there is no such table.
    pub fn table(&self, name: &str) -> io::Result<u32> {
        let mut found = None;
        self.rows(1, &mut |columns| {
            // type, name, tbl_name, rootpage, sql
            if let [kind, this, _, root, ..] = columns
                && *kind == b"table"
                && *this == name.as_bytes()
            {
                let number = root
                    .iter()
                    .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
                found = u32::try_from(number).ok();
            }
            Ok(())
        })?;
        found.ok_or_else(|| damaged(&format!("it has no table {name}")))
    }

    /// Every row of a table, in the order of their ids.
    ///
    /// # Errors
    /// Where the table cannot be read, or `work` says so.
    pub fn rows(&self, root: u32, work: &mut Row<'_>) -> io::Result<()> {
        // A tree that points back into itself would never end.
        let mut left = self.pages;
        self.walk(root, 0, &mut left, work)
    }

    fn walk(
        &self,
        number: u32,
        depth: usize,
        left: &mut u32,
        work: &mut Row<'_>,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH || *left == 0 {
            return Err(damaged("its pages point in a circle"));
        }
        *left -= 1;
        let page = self.page(number)?;
        let begin = if number == 1 { 100 } else { 0 };
        let kind = *page.get(begin).ok_or_else(short)?;
        let cells = be16(&page, begin + 3)?;
        let pointers = begin + if kind == 5 { 12 } else { 8 };
        for cell in 0..cells {
            let at = be16(&page, pointers + 2 * cell)?;
            match kind {
                5 => self.walk(be32(&page, at)?, depth + 1, left, work)?,
                13 => self.row(page.get(at..).ok_or_else(short)?, work)?,
                _ => return Err(damaged("a page is not one of a table")),
            }
        }
        if kind == 5 {
            self.walk(be32(&page, begin + 8)?, depth + 1, left, work)?;
        }
        Ok(())
    }

    /// One cell of a leaf (1.6): size, id, as much as fits here, and the page
    /// on which the rest begins.
    fn row(&self, cell: &[u8], work: &mut Row<'_>) -> io::Result<()> {
        let (size, rest) = varint(cell)?;
        let (_, rest) = varint(rest)?;
        if size > MAX_ROW.min(u64::from(self.pages) * self.page_size as u64) {
            return Err(damaged("a row is larger than rpm's are"));
        }
        let size = usize::try_from(size).map_err(|_| short())?;
        let usable = self.page_size - self.reserved.min(32);
        let most = usable - 35;
        let here = if size <= most {
            size
        } else {
            let least = (usable - 12) * 32 / 255 - 23;
            let fitting = least + (size - least) % (usable - 4);
            if fitting <= most { fitting } else { least }
        };
        let mut payload = rest.get(..here).ok_or_else(short)?.to_vec();
        let mut next = if here < size { be32(rest, here)? } else { 0 };
        while payload.len() < size {
            let page = self.page(next)?;
            let wanted = (size - payload.len()).min(usable - 4);
            payload.extend(page.get(4..4 + wanted).ok_or_else(short)?);
            next = be32(&page, 0)?;
        }
        let (header_size, _) = varint(&payload)?;
        let header_size = usize::try_from(header_size).map_err(|_| short())?;
        let (header, mut values) = payload.split_at_checked(header_size).ok_or_else(short)?;
        let (_, mut header) = varint(header)?;
        let mut columns = Vec::new();
        while !header.is_empty() {
            let (kind, rest) = varint(header)?;
            let length = usize::try_from(column_size(kind)).map_err(|_| short())?;
            let (value, after) = values.split_at_checked(length).ok_or_else(short)?;
            columns.push(value);
            (header, values) = (rest, after);
        }
        work(&columns)
    }
}

/// The log's checksum (4.2), carried on over more bytes.
fn checksum((mut one, mut two): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        if big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for pair in bytes.chunks_exact(8) {
        let (first, second) = pair.split_at(4);
        one = one.wrapping_add(word(first)).wrapping_add(two);
        two = two.wrapping_add(word(second)).wrapping_add(one);
    }
    (one, two)
}
