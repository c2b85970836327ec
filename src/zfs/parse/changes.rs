//! What `zfs diff` prints.

use super::{ParseError, fail};

/// The paths in what `zfs diff -FH` printed of a dataset mounted on a directory,
/// without that directory: each one named, of a rename both.
///
/// Of an attribute that is kept in a hidden directory (`xattr=dir`) the path of
/// the file is among them. What is open and has no name any more is left out.
///
/// # Errors
/// Where a line is not one of `zfs diff`'s.
pub fn changes(text: &[u8], directory: &[u8]) -> Result<Vec<Vec<u8>>, ParseError> {
    // Of a dataset on / nothing is put before the path (get_mountpoint).
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let mut paths = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let wrong = |what| fail(index + 1, what, &String::from_utf8_lossy(line));
        let mut fields = line.split(|byte| *byte == b'\t');
        let sign = fields.next().unwrap_or_default();
        let _kind = fields.next();
        let count = match sign {
            b"R" => 2,
            b"M" | b"+" | b"-" => 1,
            _ => return Err(wrong("a sign of zfs diff expected")),
        };
        for _ in 0..count {
            let field = fields.next().ok_or_else(|| wrong("a path expected"))?;
            let path = unescaped(field).ok_or_else(|| wrong("an octal number expected"))?;
            let path = path
                .strip_prefix(directory)
                .ok_or_else(|| wrong("a path in the dataset's directory expected"))?;
            let path = match path {
                b"(on_delete_queue)" => continue,
                [b'/', path @ ..] => path,
                _ => return Err(wrong("a path in the dataset's directory expected")),
            };
            let hidden = b"/<xattrdir>";
            let end = path
                .windows(hidden.len())
                .position(|window| window == hidden);
            paths.extend(end.and_then(|end| path.get(..end)).map(<[u8]>::to_vec));
            // Nothing keeps a file from being called so.
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

/// Bytes that `zfs diff` wrote as a backslash and four octal digits
/// (`stream_bytes` in libzfs_diff.c).
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'\\' {
            let (digits, after) = after.split_at_checked(4)?;
            let digits = str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zfs_diff_prints_is_read_with_its_escapes_and_renames() {
        let text = b"M\t/\t/mnt/b/\n\
            R\tF\t/mnt/b/a\\0040b\t/mnt/b/c\\0134\\0012\\0377\n\
            M\tF\t/mnt/b/d2/d\t(+1)\n\
            +\tF\t/mnt/b/x/<xattrdir>/user.a\n\
            -\tF\t/mnt/b(on_delete_queue)\n\
            -\t@\t/mnt/b/l\n";
        let hidden = b"x/<xattrdir>/user.a";
        let expected: [&[u8]; 7] = [b"", b"a b", b"c\\\n\xff", b"d2/d", b"x", hidden, b"l"];
        assert_eq!(changes(text, b"/mnt/b").unwrap(), expected);
        assert_eq!(changes(b"M\tF\t/etc/x\n", b"/").unwrap(), [b"etc/x"]);
        for wrong in [
            &b"x\tF\t/a"[..],
            b"M\tF",
            b"M\tF\t/other",
            b"R\tF\t/mnt/b/a",
            b"M\tF\t/mnt/b/\\09",
            b"M\tF\t/mnt/b/\\0999",
        ] {
            assert!(changes(wrong, b"/mnt/b").is_err());
        }
    }
}
