//! dpkg's database: `var/lib/dpkg/status`, stanzas as in deb822(5).

use super::Package;

/// Where it is, below the root of the tree.
pub const PATH: &str = "var/lib/dpkg/status";

/// The packages whose files are there: every state but `not-installed` and
/// `config-files` (dpkg(1), package states).
#[must_use]
pub fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    // A stanza ends at an empty line, which may hold spaces.
    for stanza in stanzas(text) {
        let field = |wanted: &str| {
            stanza.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else {
            continue;
        };
        let state = field("Status").and_then(|status| status.split_whitespace().nth(2));
        if matches!(state, None | Some("not-installed" | "config-files")) {
            continue;
        }
        packages.push(Package {
            name: name.to_owned(),
            architecture: field("Architecture").unwrap_or_default().to_owned(),
            version: version.to_owned(),
        });
    }
    packages
}

fn stanzas(text: &str) -> Vec<Vec<&str>> {
    let mut stanzas = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if !line.starts_with([' ', '\t'])
            && let Some(stanza) = stanzas.last_mut()
        {
            // Continuation lines hold nothing that is asked for here.
            stanza.push(line);
        }
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_and_half_installed_packages_are_there_and_removed_ones_are_not() {
        let text = include_str!("../../tests/fixtures/packages/dpkg/status");
        let found: Vec<String> = parse(text)
            .into_iter()
            .map(|package| {
                format!(
                    "{}:{} {}",
                    package.name, package.architecture, package.version
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "libc6:amd64 2.36-9+deb12u10",
                "libc6:i386 2.36-9+deb12u10",
                "held:all 1:2.0~rc1-1",
                "broken:amd64 3",
            ]
        );
    }

    #[test]
    fn rubbish_is_passed_over() {
        for text in [
            "",
            ":",
            "Package",
            "Package: a\nVersion: 1",
            "\u{0}\n\n\u{ff}",
        ] {
            assert_eq!(parse(text), []);
        }
    }
}
