//! What becomes of a jail's parameters (jail(8)) where systemd-nspawn contains the system.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::os::container::{is_machine_name, machine_name};

/// Those that bectl does not let anybody set, and what begins like one (bectl_jail.c).
const DISABLED: [&str; 4] = ["command", "exec.start", "nopersist", "persist"];

/// The parameters, as they were set and unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    set: BTreeMap<String, String>,
}

/// What they come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant {
    /// The machine's name.
    pub(super) name: String,
    /// What it calls itself.
    pub(super) hostname: String,
    /// Where the environment is to be mounted.
    pub(super) path: Option<Utf8PathBuf>,
    /// It has no network but its own.
    pub(super) private_network: bool,
}

impl Default for Parameters {
    /// bectl's own.
    fn default() -> Self {
        let own = [
            ("allow.mount", "true"),
            ("allow.mount.devfs", "true"),
            ("enforce_statfs", "1"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            set: BTreeMap::from(own),
        }
    }
}

impl Parameters {
    /// `-o name=value`.
    ///
    /// # Errors
    /// What bectl says of one it does not take.
    pub(super) fn set(&mut self, text: &str) -> Result<(), String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("bectl jail: malformed jail option '{text}'"));
        };
        if DISABLED.iter().any(|disabled| name.starts_with(disabled)) {
            return Err(format!("invalid jail parameter: {name}"));
        }
        self.set.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// `-u name`.
    pub(super) fn unset(&mut self, text: &str) {
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        self.set.remove(name);
    }

    /// What they come to for an environment.
    ///
    /// # Errors
    /// Those without a counterpart, as they were set.
    pub(super) fn meant(&self, environment: &str) -> Result<Meant, Vec<String>> {
        let own = machine_name(environment);
        let mut meant = Meant {
            name: own.clone(),
            hostname: own,
            path: None,
            private_network: false,
        };
        let mut without = Vec::new();
        for (name, value) in &self.set {
            match (name.as_str(), value.as_str()) {
                ("name", value) if is_machine_name(value) => value.clone_into(&mut meant.name),
                ("host.hostname", value) if is_machine_name(value) => {
                    value.clone_into(&mut meant.hostname);
                }
                ("path", value) => meant.path = Some(value.into()),
                // It has mounts and a /dev of its own, sees only these, and shares no
                // memory with the machine: nspawn has no way without.
                ("allow.mount" | "allow.mount.devfs" | "mount.devfs", "true" | "1")
                | ("enforce_statfs", "1" | "2")
                | ("sysvmsg" | "sysvsem" | "sysvshm", "new")
                | ("ip4" | "ip6" | "vnet", "inherit") => {}
                ("vnet", "new" | "true" | "1") => meant.private_network = true,
                // Only all of it can be taken away.
                ("ip4", "disable") if self.has("ip6", "disable") => meant.private_network = true,
                ("ip6", "disable") if self.has("ip4", "disable") => {}
                (name, value) => without.push(format!("{name}={value}")),
            }
        }
        match without.is_empty() {
            true => Ok(meant),
            false => Err(without),
        }
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.set.get(name).is_some_and(|other| other == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[&str]) -> Parameters {
        let mut parameters = Parameters::default();
        for text in set {
            parameters.set(text).unwrap();
        }
        parameters
    }

    #[test]
    fn an_environment_names_its_machine_where_nothing_else_does() {
        let meant = with(&[]).meant("2026:11").unwrap();
        assert_eq!(
            (meant.name.as_str(), meant.hostname.as_str(), meant.path),
            ("2026-11", "2026-11", None)
        );
        let set = ["name=a", "host.hostname=b.example", "path=/mnt/be"];
        let meant = with(&set).meant("be").unwrap();
        assert_eq!(meant.name, "a");
        assert_eq!(meant.hostname, "b.example");
        assert_eq!(meant.path, Some("/mnt/be".into()));
        assert!(!meant.private_network);
    }

    #[test]
    fn a_network_is_shared_or_wholly_its_own() {
        assert!(with(&["vnet=new"]).meant("be").unwrap().private_network);
        let none = with(&["ip4=disable", "ip6=disable"]);
        assert!(none.meant("be").unwrap().private_network);
        assert!(!with(&["ip4=inherit"]).meant("be").unwrap().private_network);
        let half = with(&["ip4=disable"]).meant("be");
        assert_eq!(half, Err(vec!["ip4=disable".to_owned()]));
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let set = [
            "ip4.addr=10.0.0.2",
            "securelevel=2",
            "enforce_statfs=0",
            "name=a b",
        ];
        let expected = [
            "enforce_statfs=0",
            "ip4.addr=10.0.0.2",
            "name=a b",
            "securelevel=2",
        ];
        assert_eq!(with(&set).meant("be").unwrap_err(), expected);
    }

    #[test]
    fn some_cannot_be_set_and_any_can_be_unset() {
        let mut parameters = with(&["securelevel=2"]);
        let said = |text: &str| Parameters::default().set(text).unwrap_err();
        assert_eq!(said("x"), "bectl jail: malformed jail option 'x'");
        assert_eq!(said("persist=0"), "invalid jail parameter: persist");
        assert_eq!(said("command=ls"), "invalid jail parameter: command");
        parameters.unset("securelevel");
        parameters.unset("allow.mount=true");
        assert!(parameters.meant("be").is_ok());
    }
}
