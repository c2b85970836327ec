//! apk's database: `lib/apk/db/installed`, records of one-letter fields with
//! an empty line between them (apk-v2(5)).

use super::Package;

/// Where it may be, below the root of the tree: since apk-tools 3 with a merged
/// `/usr` the second.
pub const PATHS: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// The packages: `P:` name, `V:` version, `A:` architecture.
#[must_use]
pub fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut fields: [Option<&str>; 3] = [None; 3];
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if let [Some(name), Some(version), architecture] = fields {
                packages.push(Package {
                    name: name.to_owned(),
                    architecture: architecture.unwrap_or_default().to_owned(),
                    version: version.to_owned(),
                });
            }
            fields = [None; 3];
            continue;
        }
        let [name, version, architecture] = &mut fields;
        match line.split_once(':') {
            Some(("P", value)) => *name = Some(value),
            Some(("V", value)) => *version = Some(value),
            Some(("A", value)) => *architecture = Some(value),
            _ => {}
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_a_package_whatever_files_it_lists() {
        let text = include_str!("../../tests/fixtures/packages/apk/installed");
        let found: Vec<String> = parse(text)
            .into_iter()
            .map(|package| {
                format!(
                    "{}:{} {}",
                    package.name, package.architecture, package.version
                )
            })
            .collect();
        assert_eq!(found, ["musl:x86_64 1.2.5-r9", "busybox:x86_64 1.37.0-r12"]);
    }

    #[test]
    fn rubbish_is_passed_over() {
        for text in ["", "P:a", "P:a\n\nV:1\n", "::::\n\n\n:"] {
            assert_eq!(parse(text), []);
        }
    }
}
