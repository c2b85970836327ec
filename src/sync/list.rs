//! The synclist: which files are carried, and by which rule.
//!
//! ```text
//! # a comment
//! /etc/passwd              MERGE
//! /var/spool/cron                       # OVERWRITE, with everything below
//! /var/spool/cron/.cache   -            # but not this
//! "/srv/a name with blanks" OVERWRITE
//! ```
//!
//! The words are those of Live Upgrade's `synclist(4)`, with `MERGE`; a comment need
//! not begin in the first column as there, for no path begins with `#`.

use std::collections::BTreeMap;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::diff::tree::below;

/// Where the list is; where it is not there, the built-in one holds.
pub const PATH: &str = "/etc/beadm-rs/synclist";

/// Where more of it is: files ending in `.conf`, in the order of their names.
pub const DIRECTORY: &str = "/etc/beadm-rs/synclist.d";

/// Whether a file of the list may be at a place or below it, from the root of the tree.
#[must_use]
pub fn lies_in(place: &[u8]) -> bool {
    [PATH, DIRECTORY].into_iter().any(|path| {
        let path = path.trim_start_matches('/').as_bytes();
        below(place, path).is_some() || below(path, place).is_some()
    })
}

/// The built-in list, with its reasons.
const BUILT_IN: &str = include_str!("../../dist/synclist");

/// By which rule a file is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Policy {
    /// The source's takes the target's place.
    Overwrite,
    /// What was added at the end of the source's is added to the target's.
    Append,
    /// What was added at the beginning of the source's is added to the target's.
    Prepend,
    /// What changed in the source's is changed in the target's.
    Merge,
}

impl Policy {
    /// As the list has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overwrite => "OVERWRITE",
            Self::Append => "APPEND",
            Self::Prepend => "PREPEND",
            Self::Merge => "MERGE",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file, or the directory with everything below: absolute, without `.`,
    /// `..`, empty components and a slash at the end.
    pub path: Utf8PathBuf,
    /// How; `None` for what is not carried.
    pub policy: Option<Policy>,
    /// The file the line is in; `None` for the built-in list.
    pub file: Option<Utf8PathBuf>,
    /// The line's number in it, from 1.
    pub line: usize,
}

/// A file of the list.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its path, for messages.
    pub file: &'a str,
    /// What is in it.
    pub text: &'a [u8],
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The file.
    pub file: Utf8PathBuf,
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Lines that are none: every one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListError(pub Vec<Wrong>);

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, wrong) in self.0.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{wrong}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ListError {}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synclist {
    rules: BTreeMap<Utf8PathBuf, Rule>,
}

impl Synclist {
    /// The built-in list.
    #[must_use]
    pub fn defaults() -> Self {
        let mut rules = BTreeMap::new();
        read(None, BUILT_IN.as_bytes(), &mut rules, &mut Vec::new());
        Self { rules }
    }

    /// Reads the list: `main` (the file at [`PATH`]), or the built-in one where it
    /// is not there, and then `more` (those in [`DIRECTORY`], in order). A later
    /// rule for the same path takes the earlier one's place.
    ///
    /// # Errors
    /// Where there is a line that is none.
    pub fn parse(main: Option<Source<'_>>, more: &[Source<'_>]) -> Result<Self, ListError> {
        let mut list = match main {
            Some(_) => Self {
                rules: BTreeMap::new(),
            },
            None => Self::defaults(),
        };
        let mut wrong = Vec::new();
        for source in main.iter().chain(more) {
            read(Some(source.file), source.text, &mut list.rules, &mut wrong);
        }
        if wrong.is_empty() {
            Ok(list)
        } else {
            Err(ListError(wrong))
        }
    }

    /// The rule that holds for a path: that of the path itself, or of the nearest
    /// directory above that has one. With or without the slash at the beginning.
    #[must_use]
    pub fn rule_of(&self, path: &[u8]) -> Option<&Rule> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let mut ends: Vec<usize> = ends.chain([path.len()]).collect();
        while let Some(end) = ends.pop() {
            // No rule has a path that is not UTF-8; one above it may.
            let Some(Ok(above)) = path.get(..end).map(std::str::from_utf8) else {
                continue;
            };
            if let Some(rule) = self.rules.get(Utf8Path::new(&format!("/{above}"))) {
                return Some(rule);
            }
        }
        None
    }

    /// How a path is carried; `None` where it is not.
    #[must_use]
    pub fn policy_of(&self, path: &[u8]) -> Option<Policy> {
        self.rule_of(path)?.policy
    }

    /// Where to start: every path that is carried by a rule of its own and not
    /// already by one above it. Going down from each, and into nothing that is
    /// not carried ([`Self::policy_of`]), meets every path once.
    pub fn tops(&self) -> impl Iterator<Item = &Rule> {
        self.rules().filter(|rule| {
            let above = rule.path.parent();
            rule.policy.is_some()
                && above.is_none_or(|above| self.policy_of(above.as_str().as_bytes()).is_none())
        })
    }

    /// Whether anything at a path or below it is carried.
    #[must_use]
    pub fn reaches(&self, path: &[u8]) -> bool {
        let lies_in = |rule: &Rule| {
            let own = rule.path.as_str().trim_start_matches('/').as_bytes();
            rule.policy.is_some() && below(path, own).is_some()
        };
        self.policy_of(path).is_some() || self.rules().any(lies_in)
    }

    /// Every rule, in the order of paths.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }
}

fn read(
    file: Option<&str>,
    text: &[u8],
    rules: &mut BTreeMap<Utf8PathBuf, Rule>,
    wrong: &mut Vec<Wrong>,
) {
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        match rule(line) {
            Ok(None) => {}
            Ok(Some((path, policy))) => {
                let rule = Rule {
                    path: path.clone(),
                    policy,
                    file: file.map(Utf8PathBuf::from),
                    line: number,
                };
                rules.insert(path, rule);
            }
            Err(what) => wrong.push(Wrong {
                file: file.unwrap_or("the built-in list").into(),
                line: number,
                what,
            }),
        }
    }
}

/// What a line says; `None` where it says nothing.
fn rule(line: &[u8]) -> Result<Option<(Utf8PathBuf, Option<Policy>)>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (path, rest) = match line.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => plain(line)?,
    };
    let path = absolute(&path)?;
    let words = rest.split_ascii_whitespace();
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).collect();
    let policy = match words.as_slice() {
        [] | ["OVERWRITE"] => Some(Policy::Overwrite),
        ["APPEND"] => Some(Policy::Append),
        ["PREPEND"] => Some(Policy::Prepend),
        ["MERGE"] => Some(Policy::Merge),
        ["-"] => None,
        [word] => {
            return Err(format!(
                "{word:?} is no policy: OVERWRITE, APPEND, PREPEND, MERGE, or - for a path that \
                 is not carried"
            ));
        }
        [_, more, ..] => {
            return Err(format!(
                "there is more after the policy: {more:?} (a path with a blank in it is written \
                 in double quotes)"
            ));
        }
    };
    Ok(Some((path, policy)))
}

/// A path up to the next blank, and what follows it.
fn plain(line: &str) -> Result<(String, &str), String> {
    let end = line
        .find(|char: char| char.is_ascii_whitespace())
        .unwrap_or(line.len());
    let (path, rest) = line.split_at(end);
    // Somebody who writes these means a pattern, or believes in escapes.
    match path.chars().find(|char| "*?[\"\\".contains(*char)) {
        Some(char) => Err(format!(
            "there is a {char} in the path: patterns are not known, and a name with that in it is \
             written in double quotes"
        )),
        None => Ok((path.to_owned(), rest)),
    }
}

/// A path up to the closing quote, and what follows that.
fn unquoted(line: &str) -> Result<(String, &str), String> {
    let mut path = String::new();
    let mut chars = line.chars();
    loop {
        match chars.next() {
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some(char @ ('"' | '\\')) => path.push(char),
                _ => return Err("between quotes, only \\\" and \\\\ are written so".to_owned()),
            },
            Some(char) => path.push(char),
            None => return Err("the quote is not closed".to_owned()),
        }
    }
    let rest = chars.as_str();
    if rest.is_empty() || rest.starts_with(|char: char| char.is_ascii_whitespace()) {
        Ok((path, rest))
    } else {
        Err("there is no blank after the closing quote".to_owned())
    }
}

fn absolute(path: &str) -> Result<Utf8PathBuf, String> {
    let Some(inside) = path.strip_prefix('/') else {
        return Err(format!("{path:?} is no absolute path"));
    };
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    if inside.is_empty() {
        return Err("the whole environment is not carried: it is what differs".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err(format!("{path:?} has a control character in it"));
    }
    match inside
        .split('/')
        .find(|name| matches!(*name, "" | "." | ".."))
    {
        Some("") => Err(format!("{path} has an empty name in it")),
        Some(name) => Err(format!("{path} has {name} in it: write where it leads")),
        None => Ok(format!("/{inside}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(main: &str, more: &[(&str, &str)]) -> Result<Synclist, String> {
        let source = |file, text: &'static str| Source {
            file,
            text: text.as_bytes(),
        };
        let leak = |text: &str| -> &'static str { text.to_owned().leak() };
        let more: Vec<Source<'_>> = more
            .iter()
            .map(|(file, text)| source(leak(file), leak(text)))
            .collect();
        Synclist::parse(Some(source(PATH, leak(main))), &more).map_err(|wrong| wrong.to_string())
    }

    fn shown<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<String> {
        rules
            .map(|rule| {
                let policy = rule.policy.map_or("-", Policy::as_str);
                format!("{} {policy}", rule.path)
            })
            .collect()
    }

    #[test]
    fn every_line_of_the_built_in_list_is_one_and_its_own() {
        let mut rules = BTreeMap::new();
        let mut wrong = Vec::new();
        read(None, BUILT_IN.as_bytes(), &mut rules, &mut wrong);
        assert_eq!(wrong, []);
        let lines = BUILT_IN.lines();
        let written = lines.filter(|line| line.starts_with('/')).count();
        assert_eq!(rules.len(), written, "a path is there twice");
        assert_eq!(
            Synclist::defaults().policy_of(b"/etc/shadow"),
            Some(Policy::Merge)
        );
    }

    #[test]
    fn a_line_is_a_path_and_a_policy_and_comments_are_none() {
        let list = list(
            "# all\n\n/a\n\t/b MERGE # why\n/c/d/ APPEND\r\n/c/e PREPEND\n/c/f -\n\"/g \\\"h\\\\\" \
             OVERWRITE\n/i#j #k\n\"/l*\"",
            &[],
        );
        assert_eq!(
            shown(list.unwrap().rules()),
            [
                "/a OVERWRITE",
                "/b MERGE",
                "/c/d APPEND",
                "/c/e PREPEND",
                "/c/f -",
                "/g \"h\\ OVERWRITE",
                "/i#j OVERWRITE",
                "/l* OVERWRITE",
            ]
        );
    }

    #[test]
    fn every_wrong_line_is_named_with_its_file_and_what_is_wrong() {
        let wrong = list(
            "etc/passwd\n/a/../b\n/a//b\n/\n/a merge\n/a MERGE now\n/*.conf\n\"/a\n\"/a\"b\n\"/a\\n\"",
            &[("/etc/beadm-rs/synclist.d/x.conf", "/ok\n//\n/./a\n\"/a\tb\"")],
        )
        .unwrap_err();
        assert_eq!(
            wrong,
            r#"/etc/beadm-rs/synclist:1: "etc/passwd" is no absolute path
/etc/beadm-rs/synclist:2: /a/../b has .. in it: write where it leads
/etc/beadm-rs/synclist:3: /a//b has an empty name in it
/etc/beadm-rs/synclist:4: the whole environment is not carried: it is what differs
/etc/beadm-rs/synclist:5: "merge" is no policy: OVERWRITE, APPEND, PREPEND, MERGE, or - for a path that is not carried
/etc/beadm-rs/synclist:6: there is more after the policy: "now" (a path with a blank in it is written in double quotes)
/etc/beadm-rs/synclist:7: there is a * in the path: patterns are not known, and a name with that in it is written in double quotes
/etc/beadm-rs/synclist:8: the quote is not closed
/etc/beadm-rs/synclist:9: there is no blank after the closing quote
/etc/beadm-rs/synclist:10: between quotes, only \" and \\ are written so
/etc/beadm-rs/synclist.d/x.conf:2: the whole environment is not carried: it is what differs
/etc/beadm-rs/synclist.d/x.conf:3: /./a has . in it: write where it leads
/etc/beadm-rs/synclist.d/x.conf:4: "/a\tb" has a control character in it"#
        );
    }

    #[test]
    fn the_nearest_rule_holds_and_a_later_one_takes_the_place_of_an_earlier_one() {
        let list = list(
            "/var MERGE\n/var/a -\n/var/a/b APPEND\n/etc/x\n",
            &[("1", "/var/c OVERWRITE\n/etc/x -"), ("2", "/etc/x PREPEND")],
        )
        .unwrap();
        for (path, policy) in [
            ("/var", Some(Policy::Merge)),
            ("var/z/y", Some(Policy::Merge)),
            ("/var/a", None),
            ("/var/ab", Some(Policy::Merge)),
            ("/var/a/x", None),
            ("/var/a/b/c", Some(Policy::Append)),
            ("/var/c", Some(Policy::Overwrite)),
            ("/etc/x", Some(Policy::Prepend)),
            ("/etc", None),
            ("/", None),
        ] {
            assert_eq!(list.policy_of(path.as_bytes()), policy, "{path}");
        }
        assert_eq!(list.policy_of(b"/var/\xff/a"), Some(Policy::Merge));
        assert_eq!(
            shown(list.tops()),
            ["/etc/x PREPEND", "/var MERGE", "/var/a/b APPEND"]
        );
    }

    #[test]
    fn without_a_list_of_ones_own_more_is_added_to_the_built_in_one() {
        let more = Source {
            file: "more",
            text: b"/etc/hosts -\n/srv/x",
        };
        let list = Synclist::parse(None, &[more]).unwrap();
        assert_eq!(list.policy_of(b"/etc/hosts"), None);
        assert_eq!(list.policy_of(b"/srv/x"), Some(Policy::Overwrite));
        assert_eq!(list.policy_of(b"/etc/passwd"), Some(Policy::Merge));
    }

    #[test]
    fn a_place_is_reached_by_what_is_named_in_it_or_above_it() {
        let text = b"/srv/www\n/var/lib\n/var/lib/docker -\n";
        let file = PATH;
        let list = Synclist::parse(Some(Source { file, text }), &[]).unwrap();
        for (place, reached) in [
            ("srv", true),
            ("srv/www", true),
            ("srv/ww", false),
            ("var/lib/mysql", true),
            ("var/lib/docker", false),
            ("home", false),
        ] {
            assert_eq!(list.reaches(place.as_bytes()), reached, "{place}");
        }
        assert!(lies_in(b"etc") && lies_in(b"etc/beadm-rs/synclist.d"));
        assert!(!lies_in(b"etc/cron.d"));
    }
}
