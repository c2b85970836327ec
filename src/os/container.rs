//! An environment as a contained system of its own: what is started, and how
//! systemd-nspawn(1) is told so.

use camino::Utf8PathBuf;

/// The longest name of a machine or host, bytes (hostname(7)).
const MAX_NAME: usize = 64;

/// A contained system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What machinectl(1) calls it.
    pub name: String,
    /// Where the environment is mounted, with everything below it.
    pub root: Utf8PathBuf,
    /// What it calls itself.
    pub hostname: String,
    /// It has a network of its own, with nothing in it but a loopback device; else it uses
    /// the machine's, which it cannot configure.
    pub private_network: bool,
    /// What is run in it; nothing where it boots.
    pub command: Option<Vec<String>>,
}

/// One that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What machinectl(1) calls it.
    pub name: String,
    /// Its first process.
    pub leader: Option<u32>,
    /// Where its root is mounted.
    pub root: Option<Utf8PathBuf>,
}

/// Whether systemd takes a text as the name of a machine (`hostname_is_valid`).
#[must_use]
pub fn is_machine_name(text: &str) -> bool {
    machine_name(text) == text
}

/// A name for a machine out of a name that ZFS takes: what systemd does not take becomes a
/// hyphen.
#[must_use]
pub fn machine_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(MAX_NAME) {
        let begins = name.is_empty() || name.ends_with('.');
        name.push(match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => c,
            '-' | '.' if !begins => c,
            _ if begins => 'x',
            _ => '-',
        });
    }
    while name.ends_with(['.', '-']) {
        name.pop();
    }
    name
}

impl Container {
    /// The unit that a system which boots is run by.
    #[must_use]
    pub fn unit(&self) -> String {
        format!("beadm-rs-jail-{}.service", self.name)
    }

    /// What systemd-nspawn is told: the environment's own files for the time zone and the
    /// journal stay as they are, and the machine's way to names is shown over its own.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "--quiet",
            "--link-journal=no",
            "--timezone=off",
            "--resolv-conf=bind-host",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--machine={}", self.name),
            format!("--hostname={}", self.hostname),
            format!("--directory={}", self.root),
        ]);
        if self.private_network {
            arguments.push("--private-network".to_owned());
        }
        match &self.command {
            Some(words) => {
                // Its output goes where this program's goes, and is what it wrote.
                arguments.extend(["--console=autopipe", "--"].map(str::to_owned));
                arguments.extend(words.iter().cloned());
            }
            None => arguments.extend(["--keep-unit", "--boot"].map(str::to_owned)),
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_names_of_machines() {
        for (name, machine) in [
            ("debian", "debian"),
            ("2026-11_new.1", "2026-11-new.1"),
            ("a:b c", "a-b-c"),
            ("_a", "xa"),
            ("a.", "a"),
            ("a..b", "a.xb"),
        ] {
            assert_eq!(machine_name(name), machine);
            assert!(is_machine_name(machine), "{machine}");
        }
        // systemd-nspawn takes no underscore either.
        assert!(!is_machine_name("a b") && !is_machine_name("a_b"));
    }

    #[test]
    fn what_boots_is_kept_in_its_unit_and_a_command_stands_last() {
        let mut container = Container {
            name: "new".to_owned(),
            root: "/mnt".into(),
            hostname: "host".to_owned(),
            private_network: false,
            command: Some(vec!["/bin/ls".to_owned(), "-l".to_owned()]),
        };
        let common = "--quiet --link-journal=no --timezone=off --resolv-conf=bind-host \
                      --machine=new --hostname=host --directory=/mnt";
        assert_eq!(
            container.arguments().join(" "),
            format!("{common} --console=autopipe -- /bin/ls -l")
        );
        container.command = None;
        container.private_network = true;
        assert_eq!(
            container.arguments().join(" "),
            format!("{common} --private-network --keep-unit --boot")
        );
        assert_eq!(container.unit(), "beadm-rs-jail-new.service");
    }
}
