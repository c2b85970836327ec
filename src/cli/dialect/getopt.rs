//! Options as getopt(3) of FreeBSD and illumos reads them: letters after one hyphen, several
//! in a word, up to the first operand or `--`. Nothing after that is an option.

/// What stands before the operands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// The letters, with their values where they take one.
    pub(super) found: Vec<(char, Option<&'a str>)>,
    /// The operands.
    pub(super) rest: &'a [String],
}

/// A letter that is none, or lacks its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    /// The letter.
    pub(super) letter: char,
    /// What getopt says about it, after the program's name.
    what: &'static str,
}

impl Bad {
    /// What getopt says.
    pub(super) fn said(self, program: &str) -> String {
        format!("{program}: {} -- {}", self.what, self.letter)
    }
}

/// Reads words by a list of letters; a colon follows those that take a value.
pub(super) fn read<'a>(words: &'a [String], letters: &str) -> Result<Options<'a>, Bad> {
    let mut found = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let Some(mut inside) = word.strip_prefix('-').filter(|inside| !inside.is_empty()) else {
            break;
        };
        rest = after;
        if inside == "-" {
            break;
        }
        while let Some(letter) = inside.chars().next() {
            inside = inside.get(letter.len_utf8()..).unwrap_or_default();
            let known = letters.find(letter).filter(|_| letter != ':');
            let Some(place) = known else {
                let what = "illegal option";
                return Err(Bad { letter, what });
            };
            let takes = letters
                .get(place + letter.len_utf8()..)
                .is_some_and(|more| more.starts_with(':'));
            if !takes {
                found.push((letter, None));
                continue;
            }
            let value = match (inside, rest.split_first()) {
                ("", Some((value, after))) => {
                    rest = after;
                    value.as_str()
                }
                ("", None) => {
                    let what = "option requires an argument";
                    return Err(Bad { letter, what });
                }
                (value, _) => value,
            };
            found.push((letter, Some(value)));
            break;
        }
    }
    Ok(Options { found, rest })
}

impl<'a> Options<'a> {
    /// A letter is among them.
    pub(super) fn has(&self, letter: char) -> bool {
        self.found.iter().any(|(other, _)| *other == letter)
    }

    /// The value of a letter; the last one where there are several.
    pub(super) fn value(&self, letter: char) -> Option<&'a str> {
        let mut all = self.found.iter().rev();
        all.find(|(other, _)| *other == letter)
            .and_then(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn letters_stand_together_and_values_beside_them_or_after() {
        let line = words("-re one -oa=b -o c=d new -x");
        let options = read(&line, "re:o:").unwrap();
        assert_eq!(
            options.found,
            [
                ('r', None),
                ('e', Some("one")),
                ('o', Some("a=b")),
                ('o', Some("c=d")),
            ]
        );
        assert_eq!(options.rest, ["new", "-x"]);
        assert_eq!(options.value('o'), Some("c=d"));
        assert!(options.has('r') && !options.has('x'));
    }

    #[test]
    fn two_hyphens_end_the_options_and_one_is_an_operand() {
        assert_eq!(read(&words("-r -- -e"), "re:").unwrap().rest, ["-e"]);
        assert_eq!(read(&words("- -r"), "r").unwrap().rest, ["-", "-r"]);
    }

    #[test]
    fn what_is_no_option_is_said_as_getopt_says_it() {
        let said = |line: &str| read(&words(line), "re:").unwrap_err().said("bectl");
        assert_eq!(said("-rx"), "bectl: illegal option -- x");
        assert_eq!(said("-:"), "bectl: illegal option -- :");
        assert_eq!(said("--help"), "bectl: illegal option -- -");
        assert_eq!(said("-re"), "bectl: option requires an argument -- e");
    }
}
