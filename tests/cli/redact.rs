//! What differs from run to run, replaced by something of the same width where
//! it stands in a column. Equal things stay equal, different ones different.

use std::collections::BTreeMap;

/// Replaces what differs; remembers what it has seen.
#[derive(Debug, Default)]
pub struct Redactions {
    /// Of each kind, what was seen, in that order.
    seen: BTreeMap<&'static str, Vec<String>>,
    /// Names of directories.
    directories: Vec<(String, &'static str)>,
}

/// Whether a text looks like a pattern: `0` a digit, `x` a hexadecimal digit,
/// anything else itself.
fn looks_like(text: &[u8], pattern: &str) -> bool {
    text.len() >= pattern.len()
        && text
            .iter()
            .zip(pattern.bytes())
            .all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                wanted => *byte == wanted,
            })
}

impl Redactions {
    /// A directory and what it is called.
    pub fn directory(&mut self, path: &str, name: &'static str) {
        self.directories.push((path.to_owned(), name));
    }

    fn number(&mut self, kind: &'static str, found: &str) -> usize {
        let seen = self.seen.entry(kind).or_default();
        let at = seen.iter().position(|other| other == found);
        at.unwrap_or_else(|| {
            seen.push(found.to_owned());
            seen.len() - 1
        }) + 1
    }

    /// The text that is the same in every run.
    pub fn apply(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, name) in &self.directories {
            text = text.replace(path.as_str(), name);
        }
        let mut out = String::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (taken, redacted) = self.first(rest, out.chars().last());
            out.push_str(&redacted);
            rest = &rest[taken..];
        }
        out
    }

    /// What is redacted at the beginning of a text: how long it is, and by what.
    fn first(&mut self, text: &str, before: Option<char>) -> (usize, String) {
        const STAMP: &str = "beadm-rs.00000000T000000Z.xxxxxxxx";
        const STAGING: &str = "beadm-rs.import.xxxxxxxx";
        const RFC: &str = "0000-00-00T00:00:00Z";
        const FRACTION: &str = "0000-00-00T00:00:00.";
        const SECONDS: &str = "0000-00-00 00:00:00Z";
        const MINUTES: &str = "0000-00-00 00:00";
        const DAY: &str = "0000-00-00";
        const COMPACT: &str = "00000000T000000.000Z";
        const ID: &str = "xxxxxxxxxxxxxxxx";
        const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
        const MADE: &str = "MACHINE/mnt/";
        const ASIDE: &str = ".beadm-rs-xxxxxxxx";
        let bytes = text.as_bytes();
        let take = |pattern: &str| text[..pattern.len()].to_owned();
        if looks_like(bytes, STAMP) {
            let number = self.number("snapshot", &take(STAMP));
            return (
                STAMP.len(),
                format!("beadm-rs.YYYYMMDDThhmmssZ.{number:08}"),
            );
        }
        if looks_like(bytes, STAGING) {
            let number = self.number("staging", &take(STAGING));
            return (STAGING.len(), format!("beadm-rs.import.{number:08}"));
        }
        if looks_like(bytes, FRACTION) {
            let end = text.find('Z').map_or(text.len(), |at| at + 1);
            return (end, "YYYY-MM-DDThh:mm:ssZ".to_owned());
        }
        if looks_like(bytes, ASIDE) {
            let number = self.number("aside", &take(ASIDE));
            return (ASIDE.len(), format!(".beadm-rs-{number:08}"));
        }
        for (pattern, shown) in [
            (RFC, "YYYY-MM-DDThh:mm:ssZ"),
            (SECONDS, "YYYY-MM-DD hh:mm:ssZ"),
            (MINUTES, "YYYY-MM-DD hh:mm"),
            (DAY, "YYYY-MM-DD"),
            (COMPACT, "YYYYMMDDThhmmssZ"),
        ] {
            if looks_like(bytes, pattern) {
                return (pattern.len(), shown.to_owned());
            }
        }
        if looks_like(bytes, UUID) {
            let number = self.number("uuid", &take(UUID));
            return (UUID.len(), format!("UUID-{number}"));
        }
        if let Some((name, rest)) = text
            .strip_prefix(MADE)
            .and_then(|made| made.split_once('.'))
        {
            // Where something is mounted has a name that is made up.
            let made = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
            if made == 6 && !name.contains(['/', ' ']) {
                let taken = MADE.len() + name.len() + 1 + made;
                return (taken, format!("{MADE}{name}.XXXXXX"));
            }
        }
        let word = before.is_none_or(|c| !c.is_ascii_alphanumeric());
        let length = bytes
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let found = &text[..length];
        if word && length == ID.len() && looks_like(bytes, ID) {
            let number = self.number("operation", found);
            return (length, format!("OPERATION-{number:06}"));
        }
        if word && digits == length && length >= 15 {
            return (length, format!("GUID-{}", self.number("guid", found)));
        }
        // Seconds since the epoch, of this century.
        if word && digits == length && length == 10 && found.starts_with(['1', '2']) {
            return (length, "SECONDS".to_owned());
        }
        if word && text.starts_with("pid ") {
            let digits = bytes[4..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits > 0 {
                return (4 + digits, "pid PID".to_owned());
            }
        }
        let length = text.chars().next().map_or(1, char::len_utf8);
        (length, text[..length].to_owned())
    }
}
