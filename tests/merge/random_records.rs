//! Properties of the merge of records.

use std::collections::BTreeSet;

use beadm_rs::sync::content::Contents;
use beadm_rs::sync::records::{Format, lock, merge};
use proptest::prelude::*;

use super::{Edit, config, edited, edits};

/// One of some words with blanks between them; `.` for none. (A pattern would make the same
/// in a hundred times the time.)
fn one(words: &'static str) -> impl Strategy<Value = &'static str> + Clone {
    let words: Vec<&'static str> = words
        .split(' ')
        .map(|word| word.trim_matches('.'))
        .collect();
    prop::sample::select(words)
}

/// A line with few names and few values, so that the sides meet.
fn line(format: Format) -> BoxedStrategy<String> {
    let name = one("a b c d e");
    let number = one("1 2 3 4");
    let record = match format {
        Format::Passwd => (
            name,
            one("x x ! *"),
            number,
            one(". g h"),
            one("zsh nologin"),
        )
            .prop_map(|(name, password, uid, comment, shell)| {
                format!("{name}:{password}:{uid}:1:{comment}:/h:{shell}")
            })
            .boxed(),
        Format::Shadow => (
            name,
            one(". h i j !h !i !j !!h ! * !*"),
            one("0 1 2 3"),
            one(". 7"),
            one(". 0 1 2"),
        )
            .prop_map(|(name, password, changed, age, end)| {
                format!("{name}:{password}:{changed}:0:99:{age}::{end}:")
            })
            .boxed(),
        Format::Group | Format::Gshadow => {
            (name, one("x !"), number, one(". a b c a,b b,c a,c,d b,a"))
                .prop_map(|(name, password, gid, members)| {
                    format!("{name}:{password}:{gid}:{members}")
                })
                .boxed()
        }
        Format::Subuid | Format::Subgid => (name, one("0 10 20 30 40"), one("0 1 10 15"))
            .prop_map(|(name, first, count)| format!("{name}:{first}:{count}"))
            .boxed(),
    };
    prop_oneof![
        12 => record,
        3 => one(". . #_x #_y +:::::: -a:::::: +b::::::").prop_map(str::to_owned),
    ]
    .boxed()
}

fn format() -> impl Strategy<Value = Format> + Clone {
    prop::sample::select(vec![
        Format::Passwd,
        Format::Shadow,
        Format::Group,
        Format::Gshadow,
        Format::Subuid,
        Format::Subgid,
    ])
}

/// What a record is known by; all of a line that is none.
fn key(format: Format, line: &str) -> String {
    if line.is_empty() || line.starts_with(['#', '+', '-']) {
        return line.to_owned();
    }
    let keys = match format {
        Format::Subuid | Format::Subgid => 2,
        _ => 1,
    };
    line.split(':').take(keys).collect::<Vec<_>>().join(":")
}

/// A file of the four.
#[derive(Debug, Clone, PartialEq)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        let mut text = self.lines.join("\n");
        if !self.lines.is_empty() && (self.ended || text.is_empty() || text.ends_with('\n')) {
            text.push('\n');
        }
        text.into_bytes()
    }

    fn read(bytes: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// The four versions.
#[derive(Debug, Clone)]
struct Four {
    format: Format,
    base_source: Text,
    source: Text,
    base_target: Text,
    target: Text,
}

impl Four {
    fn merge_into(&self, target: &[u8]) -> Option<Vec<u8>> {
        let contents = Contents {
            base_source: Some(&self.base_source.bytes()),
            source: &self.source.bytes(),
            base_target: Some(&self.base_target.bytes()),
            target,
        };
        merge(self.format, &contents).ok()
    }

    fn merge(&self) -> Option<Vec<u8>> {
        self.merge_into(&self.target.bytes())
    }

    fn keys(&self, text: &Text) -> BTreeSet<String> {
        text.lines
            .iter()
            .map(|line| key(self.format, line))
            .collect()
    }

    /// The line of a key, where there is one alone.
    fn only<'a>(&self, lines: &'a [String], wanted: &str) -> Option<&'a str> {
        let mut found = lines.iter().filter(|line| key(self.format, line) == wanted);
        found
            .next()
            .filter(|_| found.next().is_none())
            .map(String::as_str)
    }
}

/// The four, of one origin; each name once at the beginning, or as it comes.
fn four() -> impl Strategy<Value = Four> {
    (format(), any::<bool>(), any::<bool>()).prop_flat_map(|(format, unique, apart)| {
        let origin = prop::collection::vec(line(format), 0..7);
        let changes = || (edits(line(format)), prop::bool::weighted(0.95));
        (origin, [changes(), changes(), changes(), changes()]).prop_map(
            move |(mut origin, changes)| {
                let mut seen = BTreeSet::new();
                origin.retain(|line| !unique || seen.insert(key(format, line)));
                let origin = Text {
                    lines: origin,
                    ended: true,
                };
                let change = |text: &Text, (edits, ended): &(Vec<Edit<String>>, bool)| {
                    let mut lines = edited(&text.lines, edits, |old, new| {
                        // A changed record keeps its name mostly.
                        if old.starts_with(|char: char| char.is_ascii_lowercase())
                            && new.starts_with(|char: char| char.is_ascii_lowercase())
                        {
                            let rest = new.split_once(':').unwrap().1;
                            format!("{}:{rest}", old.split(':').next().unwrap())
                        } else {
                            new.clone()
                        }
                    });
                    let mut seen = BTreeSet::new();
                    lines.retain(|line| !unique || seen.insert(key(format, line)));
                    Text {
                        lines,
                        ended: *ended,
                    }
                };
                let (base_source, base_target) = if apart {
                    (change(&origin, &changes[0]), change(&origin, &changes[1]))
                } else {
                    (origin.clone(), origin)
                };
                Four {
                    format,
                    source: change(&base_source, &changes[2]),
                    target: change(&base_target, &changes[3]),
                    base_source,
                    base_target,
                }
            },
        )
    })
}

/// What is hardly a file of records.
fn bytes() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a:x:1:",
        "b:x:1:c",
        "a:1:2",
        "a:x:1:1::/:",
        "a:!:1::::::",
        "b:h:2::::::",
        "\n",
        "\n",
        "\n",
        "\n",
        "\n",
        ":",
        "+",
        "#",
        ",",
        "\r",
        "\u{e9}",
        " ",
    ];
    let pieces = prop::collection::vec(prop::sample::select(pieces), 0..12);
    pieces.prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_record_that_a_side_has_and_the_other_did_not_delete_is_lost(four in four()) {
        let Some(merged) = four.merge() else { return Ok(()) };
        let merged = Text { lines: Text::read(&merged), ended: true };
        let result = four.keys(&merged);
        let deleted = |base, text, key: &String| {
            four.keys(base).contains(key) && !four.keys(text).contains(key)
        };
        for key in four.keys(&four.source) {
            let there = result.contains(&key) || deleted(&four.base_target, &four.target, &key);
            // Neither did it come back, where the target had it not and nobody touched it.
            let untouched = four.keys(&four.base_source).contains(&key);
            prop_assert!(there || key.is_empty() || untouched, "{key} of the source");
        }
        for key in four.keys(&four.target) {
            let there = result.contains(&key) || deleted(&four.base_source, &four.source, &key);
            prop_assert!(there || key.is_empty(), "{key} of the target");
        }
        for key in result {
            prop_assert!(
                four.keys(&four.source).contains(&key) || four.keys(&four.target).contains(&key),
                "{key} comes from nowhere"
            );
        }
    }

    #[test]
    fn merging_the_result_again_changes_nothing(four in four()) {
        let Some(merged) = four.merge() else { return Ok(()) };
        let again = four.merge_into(&merged);
        let again = again.map(|bytes| String::from_utf8(bytes).unwrap());
        prop_assert_eq!(again, Some(String::from_utf8(merged).unwrap()));
    }

    #[test]
    fn lines_stay_in_the_target_s_order(four in four()) {
        // Where only the source did anything, it is the source's.
        if four.base_source == four.base_target && four.target == four.base_target {
            return Ok(());
        }
        let Some(merged) = four.merge() else { return Ok(()) };
        let merged = Text::read(&merged);
        let place = |lines: &[String], wanted: &String| {
            lines.iter().position(|line| key(four.format, line) == *wanted)
        };
        let unique = |wanted: &&String| {
            four.only(&four.target.lines, wanted).is_some() && four.only(&merged, wanted).is_some()
        };
        let keys: Vec<String> =
            four.target.lines.iter().map(|line| key(four.format, line)).collect();
        let places: Vec<usize> =
            keys.iter().filter(unique).filter_map(|key| place(&merged, key)).collect();
        prop_assert!(places.is_sorted(), "{merged:?}");
    }

    #[test]
    fn what_the_source_did_not_touch_is_the_target_s_to_the_byte(four in four()) {
        let Some(merged) = four.merge() else { return Ok(()) };
        let merged = Text::read(&merged);
        for wanted in four.keys(&four.target) {
            let line = |text: &Text| four.only(&text.lines, &wanted).map(str::to_owned);
            let (before, source) = (line(&four.base_source), line(&four.source));
            if let Some(target) = line(&four.target)
                && before.is_some()
                && before == source
            {
                prop_assert_eq!(four.only(&merged, &wanted), Some(target.as_str()));
            }
        }
    }

    #[test]
    fn without_a_change_in_the_source_the_target_is_as_it_was(mut four in four()) {
        four.source = four.base_source.clone();
        prop_assert_eq!(four.merge(), Some(four.target.bytes()));
    }

    #[test]
    fn of_equal_sides_the_result_is_both(mut four in four()) {
        four.target = four.source.clone();
        prop_assert_eq!(four.merge(), Some(four.source.bytes()));
    }

    #[test]
    fn only_the_source_s_changes_make_it_the_source(mut four in four()) {
        four.base_target = four.base_source.clone();
        four.target = four.base_source.clone();
        prop_assert_eq!(four.merge(), Some(four.source.bytes()));
    }

    #[test]
    fn what_a_side_locked_stays_locked_and_nothing_is_unlocked_by_itself(four in four()) {
        if !matches!(four.format, Format::Shadow | Format::Passwd) {
            return Ok(());
        }
        let Some(merged) = four.merge() else { return Ok(()) };
        let merged = Text::read(&merged);
        let password = |lines: &[String], name: &str| {
            let line = four.only(lines, name)?;
            line.contains(':').then(|| line.split(':').nth(1).unwrap().to_owned())
        };
        for name in ["a", "b", "c", "d", "e"] {
            let Some(result) = password(&merged, name) else { continue };
            let locked = |password: &String| lock::is_locked(password.as_bytes());
            for (base, side) in [
                (&four.base_source, &four.source),
                (&four.base_target, &four.target),
            ] {
                let (before, after) = (password(&base.lines, name), password(&side.lines, name));
                if let (Some(before), Some(after)) = (before, after)
                    && !locked(&before)
                    && locked(&after)
                {
                    prop_assert!(locked(&result), "{name}: {result}");
                }
            }
            let sides = [&four.source, &four.target].map(|side| password(&side.lines, name));
            prop_assert!(locked(&result) || sides.contains(&Some(result)), "{name} is unlocked");
        }
    }

    #[test]
    fn no_two_users_come_to_share_a_number(four in four()) {
        if four.format != Format::Passwd {
            return Ok(());
        }
        let Some(merged) = four.merge() else { return Ok(()) };
        let pairs = |lines: &[String]| {
            let users: Vec<(String, String)> = lines
                .iter()
                .filter(|line| line.starts_with(|char: char| char.is_ascii_lowercase()))
                .map(|line| {
                    let fields: Vec<&str> = line.split(':').collect();
                    (fields[0].to_owned(), fields[2].to_owned())
                })
                .collect();
            let mut pairs = BTreeSet::new();
            for (name, uid) in &users {
                for (other, others) in &users {
                    if name < other && uid == others {
                        pairs.insert((name.clone(), other.clone(), uid.clone()));
                    }
                }
            }
            pairs
        };
        let known: BTreeSet<_> = pairs(&four.source.lines)
            .union(&pairs(&four.target.lines))
            .cloned()
            .collect();
        let merged = pairs(&Text::read(&merged));
        prop_assert!(merged.is_subset(&known), "{:?}", merged.difference(&known));
    }

    #[test]
    fn whatever_the_bytes_are_the_result_can_be_merged_again(
        format in format(),
        versions in prop::array::uniform4(bytes()),
    ) {
        let contents = |target| Contents {
            base_source: Some(versions[0].as_bytes()),
            source: versions[1].as_bytes(),
            base_target: Some(versions[2].as_bytes()),
            target,
        };
        if let Ok(merged) = merge(format, &contents(versions[3].as_bytes())) {
            prop_assert_eq!(merge(format, &contents(&merged)), Ok(merged.clone()));
        }
    }
}
