//! The children of the running environment as mount units of systemd
//! (systemd.mount(5)).

use std::fmt::Write as _;

use camino::Utf8Path;

use super::Own;
use crate::zfs::Property;

/// The settings of zfs-mount-generator(8) that are kept to.
pub const SETTINGS: [&str; 8] = [
    "org.openzfs.systemd:requires",
    "org.openzfs.systemd:requires-mounts-for",
    "org.openzfs.systemd:before",
    "org.openzfs.systemd:after",
    "org.openzfs.systemd:wanted-by",
    "org.openzfs.systemd:required-by",
    "org.openzfs.systemd:nofail",
    "org.openzfs.systemd:ignore",
];

/// A unit, and the links that have it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its file's name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Directories beside it that get a link to it: `local-fs.target.wants`.
    pub links: Vec<String>,
}

/// The name of the unit that mounts something on a directory (systemd.unit(5),
/// "String Escaping for Inclusion in Unit Names").
#[must_use]
pub fn name(directory: &Utf8Path) -> String {
    let path = directory.as_str().trim_matches('/');
    let mut name = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            // Writing to a string does not fail.
            other => drop(write!(name, "\\x{other:02x}")),
        }
    }
    name.push_str(".mount");
    name
}

/// What may stand in a list of units or paths without being anything else.
fn is_word(word: &str) -> bool {
    word.bytes().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b':' | b'_' | b'.' | b'@' | b'-' | b'\\' | b'/')
    })
}

struct Settings<'a>(&'a [Property]);

impl Settings<'_> {
    /// The words of one, without those that are no names.
    fn words(&self, setting: &str) -> Option<Vec<&str>> {
        let named = |property: &&Property| {
            property.name.strip_prefix("org.openzfs.systemd:") == Some(setting)
        };
        let value = &self.0.iter().find(named)?.value;
        Some(
            value
                .split_whitespace()
                .filter(|word| is_word(word))
                .collect(),
        )
    }

    fn is(&self, setting: &str, value: &str) -> bool {
        self.words(setting).is_some_and(|words| words == [value])
    }

    /// The units of one that names who wants the mount; `none` is nobody.
    fn units(&self, setting: &str) -> Option<Vec<&str>> {
        let mut words = self.words(setting)?;
        words.retain(|word| *word != "none" && !word.contains('/'));
        Some(words)
    }
}

/// `org.openzfs.systemd:ignore=on`.
#[must_use]
pub fn is_ignored(properties: &[Property]) -> bool {
    Settings(properties).is("ignore", "on")
}

/// The unit that mounts a child, as zfs-mount-generator(8) would make it, were it
/// not `noauto`.
#[must_use]
pub fn of(own: &Own, properties: &[Property]) -> Unit {
    let settings = Settings(properties);
    let name = name(&own.directory);
    let (mut wanted, mut required) = (Vec::new(), Vec::new());
    let mut before = vec!["zfs-mount.service", "beadm-rs-mount.service"];
    let by = (settings.units("wanted-by"), settings.units("required-by"));
    if by.0.is_none() && by.1.is_none() {
        if settings.is("nofail", "off") {
            required.push("local-fs.target");
        } else {
            wanted.push("local-fs.target");
        }
        if !settings.is("nofail", "on") {
            before.push("local-fs.target");
        }
    }
    wanted.extend(by.0.into_iter().flatten());
    required.extend(by.1.into_iter().flatten());
    before.extend(settings.units("before").into_iter().flatten());
    let mut text = format!(
        "# Made by beadm-rs-generator at each boot.\n\n[Unit]\nDescription={} of the boot \
         environment\nDocumentation=man:beadm-rs(8)\nBefore={}\n",
        percent(own.directory.as_str()),
        before.join(" ")
    );
    for (key, setting) in [
        ("After", "after"),
        ("Requires", "requires"),
        ("RequiresMountsFor", "requires-mounts-for"),
    ] {
        if let Some(words) = settings.words(setting).filter(|words| !words.is_empty()) {
            text.push_str(&format!("{key}={}\n", words.join(" ")));
        }
    }
    text.push_str(&format!(
        "\n[Mount]\nWhere={}\nWhat={}\nType=zfs\nOptions=zfsutil\n",
        percent(own.directory.as_str()),
        own.dataset
    ));
    let link = |kind: &'static str| move |unit: &str| format!("{unit}.{kind}");
    let links = wanted.into_iter().map(link("wants"));
    let links = links.chain(required.into_iter().map(link("requires")));
    Unit {
        name,
        text,
        links: links.collect(),
    }
}

/// As systemd wants a text in which it looks for specifiers.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::Source;

    fn own(dataset: &str, directory: &str) -> Own {
        Own {
            dataset: dataset.parse().unwrap(),
            directory: directory.into(),
        }
    }

    fn set(pairs: &[(&str, &str)]) -> Vec<Property> {
        let property = |(name, value): &(&str, &str)| Property {
            name: format!("org.openzfs.systemd:{name}"),
            source: Source::Local,
            value: (*value).to_owned(),
        };
        pairs.iter().map(property).collect()
    }

    #[test]
    fn a_directory_is_escaped_as_systemd_does() {
        // Compared with `systemd-escape --path --suffix=mount`, systemd 257.
        for (directory, name) in [
            ("/var", "var.mount"),
            ("/usr/local", "usr-local.mount"),
            ("/srv/a-b c/.d", "srv-a\\x2db\\x20c-.d.mount"),
            ("/.snap", "\\x2esnap.mount"),
            ("/ä", "\\xc3\\xa4.mount"),
        ] {
            assert_eq!(super::name(directory.into()), name, "{directory}");
        }
    }

    #[test]
    fn a_child_is_mounted_before_local_file_systems_are_there() {
        let unit = of(&own("rpool/ROOT/a b/var", "/var/100%"), &[]);
        assert_eq!(
            unit.text,
            "# Made by beadm-rs-generator at each boot.\n\n[Unit]\n\
             Description=/var/100%% of the boot environment\nDocumentation=man:beadm-rs(8)\n\
             Before=zfs-mount.service beadm-rs-mount.service local-fs.target\n\n[Mount]\n\
             Where=/var/100%%\nWhat=rpool/ROOT/a b/var\nType=zfs\nOptions=zfsutil\n"
        );
        assert_eq!(unit.links, ["local-fs.target.wants"]);
    }

    #[test]
    fn the_settings_of_openzfs_are_kept_to_and_nothing_else_gets_in() {
        let with = |pairs: &[(&str, &str)]| of(&own("r/a/var", "/var"), &set(pairs));
        assert_eq!(
            with(&[("nofail", "off")]).links,
            ["local-fs.target.requires"]
        );
        let weak = with(&[("nofail", "on")]);
        assert_eq!(weak.links, ["local-fs.target.wants"]);
        assert!(
            weak.text
                .contains("Before=zfs-mount.service beadm-rs-mount.service\n")
        );
        let other = with(&[
            ("wanted-by", "a.service b.target"),
            ("required-by", "none"),
            ("after", "c.service\n[Mount] $(x)"),
            ("requires-mounts-for", "/srv /opt"),
        ]);
        assert_eq!(other.links, ["a.service.wants", "b.target.wants"]);
        assert!(
            other
                .text
                .contains("\nAfter=c.service\nRequiresMountsFor=/srv /opt\n")
        );
        assert_eq!(with(&[("wanted-by", "../x")]).links, Vec::<String>::new());
        assert!(is_ignored(&set(&[("ignore", "on")])));
        assert!(!is_ignored(&set(&[("ignore", "off")])));
    }
}
