//! This project's units in the running system: which are installed and not
//! enabled.

use camino::Utf8Path;
use cap_std_ext::cap_std::fs::Dir;

/// Where packages and `make install` put units.
const INSTALLED: [&str; 4] = [
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "usr/local/lib/systemd/system",
    "etc/systemd/system",
];

/// Where `systemctl enable` makes its links.
const ENABLED: &str = "etc/systemd/system";

/// The largest unit that is read, bytes.
const MAX_UNIT: u64 = 64 << 10;

/// Where a unit's `[Install]` section wants links to it: `x.target.wants`.
#[must_use]
pub fn links(unit: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in unit.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[Install]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let kind = match key.trim() {
            "WantedBy" => "wants",
            "RequiredBy" => "requires",
            _ => continue,
        };
        let units = value.split_whitespace();
        found.extend(units.map(|unit| format!("{unit}.{kind}")));
    }
    found
}

/// The name of a unit of this project, as a file in a directory of units.
fn is_ours(name: &str) -> bool {
    const KINDS: [&str; 3] = [".service", ".timer", ".path"];
    name.starts_with("beadm-rs-") && KINDS.iter().any(|kind| name.ends_with(kind))
}

fn read(root: &Dir, path: &Utf8Path) -> Option<String> {
    let found = root.metadata(path).ok()?;
    (found.is_file() && found.len() <= MAX_UNIT)
        .then(|| root.read_to_string(path).ok())
        .flatten()
}

/// The units that are installed in a system and not enabled, with the links that
/// would enable each. One that was masked there was meant to be off, and one
/// without an `[Install]` section is started otherwise.
#[must_use]
pub fn not_enabled(root: &Dir) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for directory in INSTALLED {
        let entries = root.read_dir(directory).into_iter().flatten();
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            if !is_ours(&name) || found.iter().any(|(other, _)| *other == name) {
                continue;
            }
            let own = Utf8Path::new(ENABLED).join(&name);
            let masked = root.read_link_contents(&own).is_ok();
            let text = read(root, &Utf8Path::new(directory).join(&name)).unwrap_or_default();
            let links = links(&text);
            let there = |link: &String| {
                let link = Utf8Path::new(ENABLED).join(link).join(&name);
                root.symlink_metadata(link).is_ok()
            };
            if !masked && !links.is_empty() && !links.iter().all(there) {
                found.push((name, links));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std_ext::cap_std::ambient_authority;

    const UNIT: &str = "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=a.target b.target\n\
                        RequiredBy = c.target\nAlias=x.service\n";

    #[test]
    fn an_install_section_says_where_the_links_go() {
        assert_eq!(
            links(UNIT),
            ["a.target.wants", "b.target.wants", "c.target.requires"]
        );
        assert!(links("WantedBy=a.target\n").is_empty());
    }

    #[test]
    fn what_is_installed_and_neither_enabled_nor_masked_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(scratch.path(), ambient_authority()).unwrap();
        let installed = "usr/lib/systemd/system";
        root.create_dir_all(installed).unwrap();
        root.create_dir_all("etc/systemd/system/a.target.wants")
            .unwrap();
        let wanted = "[Install]\nWantedBy=a.target\n";
        for (name, text) in [
            ("beadm-rs-mount.service", wanted),
            ("beadm-rs-enabled.service", wanted),
            ("beadm-rs-masked.service", wanted),
            ("beadm-rs-static.service", "[Service]\n"),
            ("other.service", wanted),
            ("beadm-rs-note.txt", wanted),
        ] {
            root.write(format!("{installed}/{name}"), text).unwrap();
        }
        let link = "etc/systemd/system/a.target.wants/beadm-rs-enabled.service";
        root.symlink_contents("/nowhere", link).unwrap();
        let masked = "etc/systemd/system/beadm-rs-masked.service";
        root.symlink_contents("/dev/null", masked).unwrap();
        assert_eq!(
            not_enabled(&root),
            [(
                "beadm-rs-mount.service".to_owned(),
                vec!["a.target.wants".to_owned()]
            )]
        );
    }
}
