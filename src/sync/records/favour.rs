//! Conflicts decided by naming a winner, field by field, so that nothing else that
//! either side did is lost with them.

use super::file::{File, fields};
use super::{Conflict, Format};

/// One side's file with the other's fields where they are in conflict; `None` where
/// there is a conflict that is not about fields (an account deleted here and changed
/// there, two of one number): to decide that in one file alone could leave an account
/// in passwd and not in shadow.
#[must_use]
pub fn in_favour(
    format: Format,
    loser: &[u8],
    winner: &[u8],
    conflicts: &[Conflict],
) -> Option<Vec<u8>> {
    let (file, other) = (
        File::read(format, Some(loser)).ok()?,
        File::read(format, Some(winner)).ok()?,
    );
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut decided = 0;
    for (key, line) in &file.lines {
        let shown = key.text.shown();
        let mut made: Vec<Vec<u8>> = fields(line).into_iter().map(<[u8]>::to_owned).collect();
        for conflict in conflicts {
            match conflict {
                Conflict::Field { record, field } if *record == shown => {
                    let at = format.fields().iter().position(|(name, _)| name == field)?;
                    let theirs = fields(other.get(key)?);
                    *made.get_mut(at)? = theirs.get(at)?.to_vec();
                    decided += 1;
                }
                Conflict::Added { record, .. } if *record == shown => {
                    made = fields(other.get(key)?)
                        .into_iter()
                        .map(<[u8]>::to_owned)
                        .collect();
                    decided += 1;
                }
                _ => {}
            }
        }
        lines.push(made.join(&b':'));
    }
    if decided != conflicts.len() {
        return None;
    }
    let mut bytes = lines.join(&b'\n');
    if file.ended == Some(true) {
        bytes.push(b'\n');
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"# users\nroot:x:0:0::/root:/bin/sh\nal:x:1:1:A:/:/bin/a\n";
    const OTHER: &[u8] = b"al:x:1:1:B:/:/bin/b\nroot:x:0:0::/root:/bin/sh";

    fn field(field: &'static str) -> Conflict {
        Conflict::Field {
            record: "al".to_owned(),
            field,
        }
    }

    #[test]
    fn only_the_field_in_conflict_becomes_the_winners() {
        let made = in_favour(Format::Passwd, ONE, OTHER, &[field("shell")]).unwrap();
        assert_eq!(
            String::from_utf8(made).unwrap(),
            "# users\nroot:x:0:0::/root:/bin/sh\nal:x:1:1:A:/:/bin/b\n"
        );
    }

    #[test]
    fn what_both_made_becomes_the_winners_as_a_whole() {
        let added = Conflict::Added {
            record: "al".to_owned(),
            field: "comment",
        };
        let made = in_favour(Format::Passwd, ONE, OTHER, &[added]).unwrap();
        assert_eq!(
            String::from_utf8(made).unwrap(),
            "# users\nroot:x:0:0::/root:/bin/sh\nal:x:1:1:B:/:/bin/b\n"
        );
    }

    #[test]
    fn a_conflict_about_whole_accounts_is_not_decided() {
        let deleted = Conflict::Deleted {
            record: "al".to_owned(),
            by_source: true,
        };
        for conflicts in [vec![deleted.clone()], vec![field("shell"), deleted]] {
            assert_eq!(in_favour(Format::Passwd, ONE, OTHER, &conflicts), None);
        }
    }
}
