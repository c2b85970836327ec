//! The shared dataset: what of `/var` all environments have in common, so that
//! no mail and no print job stays behind when another one is booted.
//!
//! - [`record`]: what is shared, noted on the dataset; pure
//! - [`uses`]: which services a directory belongs to, and where a symbolic link
//!   would stop them; pure
//! - [`history`]: the snapshots that activations took of it; pure
//! - [`find`]: the dataset; [`look`]: a directory that may be moved into it
//! - [`copy`]: a tree copied with everything, never through a symbolic link
//! - [`layout`]: what an environment has in the places of what is shared
//! - [`lost`]: what a restore from a snapshot puts aside
//! - [`change`]: what is done to files, step by step; [`switch`]: how a directory
//!   gives way and comes back; `out`: back out of it

pub mod change;
pub mod copy;
pub mod find;
pub mod history;
pub mod layout;
pub mod look;
pub mod lost;
mod out;
pub mod record;
pub mod switch;
pub mod uses;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::intent::OpId;
use crate::zfs::DatasetName;
use record::Form;

/// What the dataset is called, directly below its pool.
pub const DATASET: &str = "VARSHARE";

/// Where it is mounted.
pub const DIRECTORY: &str = "/var/share";

/// The mark on it, without the prefix.
pub const KEY: &str = "share";

/// A directory of an environment and its place in the shared dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The directory, as the running system has it.
    pub path: Utf8PathBuf,
    /// The dataset of the environment that it lies in.
    pub home: DatasetName,
    /// Where in that dataset.
    pub below: Utf8PathBuf,
    /// The shared dataset.
    pub share: DatasetName,
    /// Its name there.
    pub name: String,
    /// How the directory leads there.
    pub form: Form,
}

impl Place {
    /// Where its files are for the running system.
    #[must_use]
    pub fn shared_path(&self) -> Utf8PathBuf {
        Utf8Path::new(DIRECTORY).join(&self.name)
    }

    /// What the symbolic link says: `share/mail`, relative, so that it is true
    /// wherever the environment is mounted.
    #[must_use]
    pub fn link(&self) -> Utf8PathBuf {
        relative(
            self.path.parent().unwrap_or(Utf8Path::new("/")),
            &self.shared_path(),
        )
    }

    /// The unit that mounts it.
    #[must_use]
    pub fn unit(&self) -> String {
        crate::own::unit::name(&self.path)
    }

    /// The text of that unit (systemd.mount(5)). Users of the directory follow it
    /// by `RequiresMountsFor=`, which most have without saying so, or by
    /// local-fs.target; zfs-mount.service mounts what it leads to.
    #[must_use]
    pub fn unit_text(&self) -> String {
        format!(
            "# Made by beadm-rs share add.\n\n[Unit]\nDescription={path} in the shared dataset\n\
             Documentation=man:beadm-rs(8)\nAfter=zfs-mount.service\nBefore=local-fs.target\n\
             ConditionPathIsDirectory={from}\n\n[Mount]\nWhere={path}\nWhat={from}\nType=none\n\
             Options=bind\n\n[Install]\nWantedBy=local-fs.target\n",
            path = self.path.as_str().replace('%', "%%"),
            from = self.shared_path().as_str().replace('%', "%%"),
        )
    }
}

/// What is beside something while an operation is under way, and what it leaves:
/// `mail.beadm-rs-0123abcd`.
#[must_use]
pub fn aside(leaf: &str, id: OpId) -> String {
    format!("{leaf}.beadm-rs-{}", id.short())
}

/// What is about to be restored, in the root of the shared dataset, which is
/// root's alone.
#[must_use]
pub fn staged(id: OpId) -> Utf8PathBuf {
    aside("restored", id).into()
}

/// A path as a link in a directory says it; both absolute.
fn relative(directory: &Utf8Path, to: &Utf8Path) -> Utf8PathBuf {
    let from: Vec<_> = directory.components().collect();
    let to: Vec<_> = to.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", from.len().saturating_sub(common));
    let down = to.iter().skip(common).map(camino::Utf8Component::as_str);
    up.chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, form: Form) -> Place {
        let path = Utf8PathBuf::from(path);
        Place {
            home: "rpool/ROOT/a".parse().unwrap(),
            below: path.strip_prefix("/").unwrap().to_owned(),
            share: "rpool/VARSHARE".parse().unwrap(),
            name: path.file_name().unwrap().to_owned(),
            path,
            form,
        }
    }

    #[test]
    fn a_link_is_relative_so_that_it_is_true_below_any_root() {
        for (path, link) in [
            ("/var/mail", "share/mail"),
            ("/var/lib/dhcp", "../share/dhcp"),
            ("/srv/data", "../var/share/data"),
            ("/srv", "var/share/srv"),
        ] {
            assert_eq!(place(path, Form::Link).link(), link);
        }
    }

    #[test]
    fn a_bind_mount_comes_after_the_dataset_and_before_its_users() {
        let place = place("/var/tmp", Form::Bind);
        assert_eq!(place.unit(), "var-tmp.mount");
        assert_eq!(
            place.unit_text(),
            "# Made by beadm-rs share add.\n\n[Unit]\nDescription=/var/tmp in the shared dataset\n\
             Documentation=man:beadm-rs(8)\nAfter=zfs-mount.service\nBefore=local-fs.target\n\
             ConditionPathIsDirectory=/var/share/tmp\n\n[Mount]\nWhere=/var/tmp\n\
             What=/var/share/tmp\nType=none\nOptions=bind\n\n[Install]\nWantedBy=local-fs.target\n"
        );
    }
}
