//! Which services a directory belongs to, as units and AppArmor profiles say,
//! and where a symbolic link in its place would stop them; without I/O.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

/// Why a directory belongs to something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Use {
    /// The unit or profile.
    pub who: String,
    /// What it says: `ReadWritePaths=/var/mail`.
    pub what: String,
}

/// Settings of units that hold paths, one word each (systemd.exec(5)).
const PATHS: [&str; 12] = [
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ReadWriteDirectories",
    "ReadOnlyDirectories",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "RootDirectory",
    "RequiresMountsFor",
    "WantsMountsFor",
    "Where",
];

/// Settings that name a directory below another one.
const BELOW: [(&str, &str); 3] = [
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];

/// The directories of which one setting speaks.
fn named(key: &str, value: &str) -> Vec<Utf8PathBuf> {
    // A source and a destination, and options, are separated by colons.
    let parts = |word: &str| -> Vec<String> { word.split(':').map(str::to_owned).collect() };
    let words = value.split_whitespace().map(|word| word.trim_matches('"'));
    if PATHS.contains(&key) {
        return words
            .flat_map(|word| parts(word.trim_start_matches(['-', '+'])))
            .filter(|part| part.starts_with('/'))
            .map(Utf8PathBuf::from)
            .collect();
    }
    if let Some((_, above)) = BELOW.iter().find(|(setting, _)| *setting == key) {
        return words
            .filter_map(|word| parts(word).into_iter().next())
            .map(|part| Utf8Path::new(above).join(part))
            .collect();
    }
    if key == "PrivateTmp" && matches!(value, "yes" | "true" | "on" | "1" | "disconnected") {
        return vec!["/var/tmp".into()];
    }
    Vec::new()
}

/// What a unit says of a directory or of what is in it, in the paths of its
/// namespace: systemd opens these without following, or mounts on them.
#[must_use]
pub fn of_unit(name: &str, text: &str, path: &Utf8Path) -> Vec<Use> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if named(key, value)
            .iter()
            .any(|other| other.starts_with(path))
        {
            found.push(Use {
                who: name.to_owned(),
                what: format!("{key}={value}"),
            });
        }
    }
    found
}

/// What an AppArmor profile allows in a directory: it goes by the path that a
/// link leads to, and would forbid what it allowed.
#[must_use]
pub fn of_profile(name: &str, text: &str, path: &Utf8Path) -> Option<Use> {
    let line = text.lines().map(str::trim).find(|line| {
        !line.starts_with('#')
            && line.match_indices(path.as_str()).any(|(at, found)| {
                let after = line.get(at + found.len()..).unwrap_or_default();
                !after.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_')
            })
    })?;
    Some(Use {
        who: format!("the AppArmor profile {name}"),
        what: line.to_owned(),
    })
}

/// What holds for a directory whatever is installed.
#[must_use]
pub fn of_system(path: &Utf8Path) -> Option<Use> {
    let said = |who: &str, what: &str| {
        Some(Use {
            who: who.to_owned(),
            what: what.to_owned(),
        })
    };
    if path == "/var/tmp" {
        return said("systemd", "services with a private /var/tmp mount on it");
    }
    let journal = Utf8Path::new("/var/log/journal");
    if journal.starts_with(path) || path.starts_with(journal) {
        return said(
            "the journal",
            "it is written to before links are safe to follow",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, path: &str) -> Vec<String> {
        of_unit("x.service", text, path.into())
            .into_iter()
            .map(|one| one.what)
            .collect()
    }

    #[test]
    fn what_a_unit_says_of_a_directory_is_found_and_of_others_not() {
        let unit = "[Service]\nReadWritePaths=-/var/mail /srv\nStateDirectory=dhcp foo:bar\n\
                    PrivateTmp = yes\nBindPaths=/a:/var/spool/x:rbind\nProtectSystem=strict\n\
                    # ReadWritePaths=/var/no\n";
        assert_eq!(told(unit, "/var/mail"), ["ReadWritePaths=-/var/mail /srv"]);
        assert_eq!(told(unit, "/var/lib/dhcp"), ["StateDirectory=dhcp foo:bar"]);
        assert_eq!(told(unit, "/var/tmp"), ["PrivateTmp=yes"]);
        assert_eq!(
            told(unit, "/var/spool"),
            ["BindPaths=/a:/var/spool/x:rbind"]
        );
        assert_eq!(told(unit, "/var/mailman"), [""; 0]);
        assert_eq!(told("PrivateTmp=no\n", "/var/tmp"), [""; 0]);
        assert_eq!(told(unit, "/var/no"), [""; 0]);
    }

    #[test]
    fn a_profile_names_a_directory_as_a_whole_path() {
        let profile = "# /var/mail\nprofile x {\n  /var/mailx/** r,\n  owner /var/mail/** rw,\n}\n";
        let found = of_profile("x", profile, "/var/mail".into()).unwrap();
        assert_eq!(found.what, "owner /var/mail/** rw,");
        assert_eq!(of_profile("x", profile, "/var/spool".into()), None);
    }
}
