//! pacman's database: `var/lib/pacman/local/<name-version>/desc`, fields as
//! `%NAME%` with their values on the lines below.

use super::Package;

/// Where it is, below the root of the tree: a directory for each package.
pub const DIRECTORY: &str = "var/lib/pacman/local";

/// The file in each of them.
pub const FILE: &str = "desc";

/// The package one `desc` describes.
#[must_use]
pub fn parse(text: &str) -> Option<Package> {
    let field = |wanted: &str| {
        let mut lines = text.lines();
        lines.find(|line| *line == wanted)?;
        lines.next().filter(|value| !value.is_empty())
    };
    Some(Package {
        name: field("%NAME%")?.to_owned(),
        architecture: field("%ARCH%").unwrap_or_default().to_owned(),
        version: field("%VERSION%")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desc_has_name_version_and_architecture() {
        let text = include_str!("../../tests/fixtures/packages/pacman/desc");
        assert_eq!(
            parse(text),
            Some(Package {
                name: "glibc".to_owned(),
                architecture: "x86_64".to_owned(),
                version: "2.42+r17+gd7274d718e6f-1".to_owned(),
            })
        );
    }

    #[test]
    fn rubbish_is_no_package() {
        for text in ["", "%NAME%", "%NAME%\n\n%VERSION%\n1", "%VERSION%\n1\n"] {
            assert_eq!(parse(text), None);
        }
    }
}
