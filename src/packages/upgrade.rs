//! How package managers bring a whole system up to date without asking, and
//! which one a system has.
//!
//! The options are those of the managers' own manuals: apt-get(8), dpkg(1)
//! (`--force-confold`: the administrator's configuration files stay),
//! zypper(8), dnf(8), pacman(8), xbps-install(1), apk-upgrade(8).

/// One package manager's way.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    /// What it is called.
    pub name: &'static str,
    /// The program that has to be there.
    pub program: &'static str,
    /// What its database is; of two managers that are both installed, the one
    /// with packages in its database is the system's.
    databases: &'static [&'static str],
    /// What to run, in this order.
    pub commands: &'static [&'static [&'static str]],
    /// Exit statuses besides 0 that are no failure.
    pub also_good: &'static [u8],
}

/// What every command is told besides: that nobody is there to ask, and that
/// what is running is not what is being changed.
pub const ENVIRONMENT: [(&str, &str); 7] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("APT_LISTBUGS_FRONTEND", "none"),
    // needrestart(1) and ucf(1).
    ("NEEDRESTART_SUSPEND", "1"),
    ("NEEDRESTART_MODE", "l"),
    ("UCF_FORCE_CONFFOLD", "1"),
];

/// Where programs are in a system.
const PLACES: [&str; 4] = ["usr/bin", "usr/sbin", "sbin", "bin"];

/// All of them; the first that a system has is taken.
pub const WAYS: [Way; 6] = [
    Way {
        name: "apt",
        program: "apt-get",
        databases: &["var/lib/dpkg/status"],
        commands: &[
            // Without Error-Mode a source that does not answer is a warning, and
            // an upgrade of nothing would pass for a system that is up to date.
            &[
                "apt-get",
                "-q",
                "-o",
                "APT::Update::Error-Mode=any",
                "update",
            ],
            &[
                "apt-get",
                "-q",
                "-y",
                "-o",
                "Dpkg::Use-Pty=0",
                "-o",
                "Dpkg::Options::=--force-confdef",
                "-o",
                "Dpkg::Options::=--force-confold",
                "dist-upgrade",
            ],
        ],
        also_good: &[],
    },
    Way {
        name: "zypper",
        program: "zypper",
        databases: &["usr/lib/sysimage/rpm", "var/lib/rpm"],
        commands: &[&["zypper", "--non-interactive", "dup"]],
        // zypper(8), EXIT CODES: a reboot or a restart of zypper is advised.
        also_good: &[102, 103],
    },
    Way {
        name: "dnf",
        program: "dnf",
        databases: &["usr/lib/sysimage/rpm", "var/lib/rpm"],
        commands: &[&["dnf", "-y", "--refresh", "upgrade"]],
        also_good: &[],
    },
    Way {
        name: "pacman",
        program: "pacman",
        databases: &["var/lib/pacman/local"],
        commands: &[&["pacman", "-Syu", "--noconfirm", "--noprogressbar"]],
        also_good: &[],
    },
    Way {
        name: "xbps",
        program: "xbps-install",
        databases: &["var/db/xbps"],
        commands: &[
            // It refuses everything else while there is a newer one of itself.
            &["xbps-install", "-Syu", "xbps"],
            &["xbps-install", "-yu"],
        ],
        also_good: &[],
    },
    Way {
        name: "apk",
        program: "apk",
        databases: &["lib/apk/db/installed", "usr/lib/apk/db/installed"],
        commands: &[&["apk", "-U", "upgrade"]],
        also_good: &[],
    },
];

/// The system's way; `is_there` says whether a path below its root is a
/// directory, or a file with something in it.
#[must_use]
pub fn find(mut is_there: impl FnMut(&str) -> bool) -> Option<&'static Way> {
    WAYS.iter().find(|way| {
        PLACES
            .iter()
            .any(|place| is_there(&format!("{place}/{}", way.program)))
            && way.databases.iter().any(|path| is_there(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_with_a_program_and_packages_is_the_systems() {
        let found = |paths: &[&str]| find(|path| paths.contains(&path)).map(|way| way.name);
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["usr/bin/apt-get"]), None);
        assert_eq!(found(&["var/lib/dpkg/status"]), None);
        assert_eq!(
            found(&[
                "usr/bin/apt-get",
                "var/lib/dpkg/status",
                "usr/bin/dnf",
                "var/lib/rpm"
            ]),
            Some("apt")
        );
        // Debian's tools on another system, without a package of theirs.
        assert_eq!(
            found(&["usr/bin/apt-get", "usr/bin/dnf", "usr/lib/sysimage/rpm"]),
            Some("dnf")
        );
        assert_eq!(
            found(&["usr/bin/zypper", "usr/bin/dnf", "usr/lib/sysimage/rpm"]),
            Some("zypper")
        );
        assert_eq!(found(&["sbin/apk", "lib/apk/db/installed"]), Some("apk"));
    }

    #[test]
    fn every_command_begins_with_the_program_that_was_looked_for() {
        for way in WAYS {
            for command in way.commands {
                assert_eq!(command.first(), Some(&way.program));
            }
        }
    }
}
