//! systemd's generator (systemd.generator(7)): this program under another name.
//!
//! A generator runs before anything else is mounted, and its units take part in
//! systemd's ordering: what fstab mounts below a child comes after it, and so
//! does a service that says what directories it needs. zfs-mount-generator(8) reads a
//! cache, since pools may not be imported then; the pool `/` is mounted from is.
//!
//! The units go where they come before those of other generators: a cache of
//! zfs-mount-generator may name another environment's datasets. What an
//! administrator wrote for a place, in fstab or as a unit, is left alone.
//!
//! Whatever happens, the machine goes on booting: this never fails, and gives up
//! after a time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;

use super::unit::{self, Unit};
use super::{Around, Own, Why};
use crate::be::rewrite;
use crate::os::linux::Linux;
use crate::os::{Error, Platform};
use crate::survey::SurveyError;
use crate::zfs::cli::Cli;
use crate::zfs::{Dataset, DatasetName, Property, Zfs};

/// The name this program is a generator by.
pub const NAME: &str = "beadm-rs-generator";

/// How long a pool may take to answer. systemd waits much longer for its
/// generators, and for nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where an administrator puts units; they come before those of generators but
/// for the place where these are put.
const ADMINISTRATORS: [&str; 3] = [
    "etc/systemd/system.control",
    "etc/systemd/system",
    "run/systemd/system",
];

/// The largest fstab that is read, bytes.
const MAX_FSTAB: u64 = 4 << 20;

/// The units for the running environment, and what gets none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The units.
    pub units: Vec<Unit>,
    /// What belongs to the environment and gets none.
    pub left: Vec<(Own, Why)>,
}

/// The fstab of a system, empty where there is none.
///
/// # Errors
/// Where there is one that cannot be read, or that is no file of its own: what it
/// mounts is not known then.
pub fn fstab(root: &Dir) -> crate::os::Result<Vec<u8>> {
    let read = match root.metadata(rewrite::FSTAB) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(found) if found.is_file() && found.len() <= MAX_FSTAB => root.read(rewrite::FSTAB),
        Ok(_) => Err(io::Error::other(format!(
            "it is no file of at most {MAX_FSTAB} bytes"
        ))),
    };
    read.map_err(Error::io(format!("read /{}", rewrite::FSTAB)))
}

/// The datasets of one environment's tree, without its root.
fn below<'a>(root: &DatasetName, datasets: &'a [Dataset]) -> impl Iterator<Item = &'a Dataset> {
    datasets
        .iter()
        .filter(move |dataset| dataset.name != *root && dataset.name.is_within(root))
}

/// Makes the units. Nothing where `/` is no dataset, or is a pool's own one: what
/// lies below that is not its alone.
///
/// # Errors
/// Where ZFS or the system cannot be read.
pub fn make(zfs: &dyn Zfs, platform: &dyn Platform) -> Result<Made, SurveyError> {
    let Some(root) = platform.root_dataset()? else {
        return Ok(Made::default());
    };
    if root.parent().is_none() {
        return Ok(Made::default());
    }
    let (pools, datasets, properties) = std::thread::scope(|scope| {
        let pools = scope.spawn(|| zfs.pools());
        let properties = scope.spawn(|| zfs.effective(&root, &unit::SETTINGS));
        let datasets = zfs.tree(std::slice::from_ref(&root), false);
        (pools.join(), datasets, properties.join())
    });
    let datasets = datasets?;
    // What is not known of pools and settings changes little; that there are
    // children, much.
    let altroot = pools
        .ok()
        .and_then(Result::ok)
        .and_then(|pools| pools.into_iter().find(|pool| pool.name == root.pool()))
        .and_then(|pool| pool.altroot);
    let properties = properties.ok().and_then(Result::ok).unwrap_or_default();
    let of = |dataset: &DatasetName| -> &[Property] {
        properties
            .get(dataset)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let files = platform.running_files()?;
    let fstab = files.as_ref().map(|files| fstab(&files.root)).transpose()?;
    let ignored = datasets
        .iter()
        .filter(|dataset| unit::is_ignored(of(&dataset.name)))
        .map(|dataset| dataset.name.clone())
        .collect();
    let around = Around {
        fstab: fstab.as_deref().unwrap_or_default(),
        // What the initramfs has mounted gets its unit too, so that what is below it
        // comes after it.
        mounted: BTreeSet::new(),
        occupied: BTreeSet::new(),
        ignored,
    };
    let decided = super::decide(below(&root, &datasets), altroot.as_ref(), &around);
    let written = |name: &str| {
        let there = |place: &&str| {
            let path = Utf8Path::new(place).join(name);
            let root = files.as_ref().map(|files| &files.root);
            root.is_some_and(|root| root.symlink_metadata(&path).is_ok())
        };
        ADMINISTRATORS.iter().any(there)
    };
    Ok(Made {
        units: decided
            .mounts
            .iter()
            .map(|own| unit::of(own, of(&own.dataset)))
            .filter(|unit| !written(&unit.name))
            .collect(),
        left: decided.left,
    })
}

/// Writes units into a directory; what another one has written there stays.
///
/// # Errors
/// The first that could not be written; the others are.
pub fn write(units: &[Unit], directory: &Utf8Path) -> io::Result<()> {
    let mut done = Ok(());
    for unit in units {
        done = done.and(write_one(unit, directory));
    }
    done
}

fn write_one(unit: &Unit, directory: &Utf8Path) -> io::Result<()> {
    let path = directory.join(&unit.name);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?.write_all(unit.text.as_bytes())?,
    }
    for link in &unit.links {
        let beside = directory.join(link);
        fs::create_dir_all(&beside)?;
        match symlink(format!("../{}", unit.name), beside.join(&unit.name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A line for the kernel's log, which is all there is that early.
fn say(text: &str) {
    // 12: a warning of the facility "user" (syslog(3)).
    let line = format!("<12>{NAME}: {}\n", text.replace(char::is_control, " "));
    let log = OpenOptions::new().write(true).open("/dev/kmsg");
    let said = log.and_then(|mut log| log.write_all(line.as_bytes()));
    if said.is_err() {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// In an initramfs, a container or a user's systemd there is nothing to do
/// (systemd.generator(7), "Environment"; before systemd 251 only files tell).
fn is_elsewhere(
    variable: impl Fn(&str) -> Option<String>,
    is_there: impl Fn(&str) -> bool,
) -> bool {
    is_there("/etc/initrd-release")
        || is_there("/run/systemd/container")
        || variable("SYSTEMD_IN_INITRD").is_some_and(|value| value == "1")
        || variable("SYSTEMD_SCOPE").is_some_and(|value| value == "user")
        || variable("SYSTEMD_VIRTUALIZATION").is_some_and(|value| value.starts_with("container"))
}

fn run(directory: &Utf8Path) {
    // No more than this of a machine: its loader's files are not mounted yet.
    let made = Cli::new()
        .map_err(SurveyError::from)
        .and_then(|zfs| make(&zfs, &Linux::default()));
    let made = match made {
        Ok(made) => made,
        Err(error) => return say(&format!("no unit is made for the children of /: {error}")),
    };
    for (own, why) in &made.left {
        say(&format!(
            "{} will not be mounted on {}: {why}",
            own.dataset, own.directory
        ));
    }
    if let Err(error) = write(&made.units, directory) {
        say(&format!("cannot write a unit into {directory}: {error}"));
    }
}

/// Does a generator's work where the program was started under its name; its
/// exit code.
#[must_use]
pub fn entry(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<Utf8PathBuf> = arguments
        .into_iter()
        .filter_map(|argument| Utf8PathBuf::from_path_buf(argument.into()).ok())
        .collect();
    if arguments.first()?.file_name() != Some(NAME) {
        return None;
    }
    // Three directories: with the priority of generators, above all, below all.
    let directory = arguments.get(2).or(arguments.get(1)).cloned();
    let Some(directory) = directory else {
        let usage = format!("{NAME}: systemd starts this with the directories for its units\n");
        let _ = io::stderr().write_all(usage.as_bytes());
        return Some(ExitCode::SUCCESS);
    };
    let is_there = |path: &str| Utf8Path::new(path).exists();
    if is_elsewhere(|name| std::env::var(name).ok(), is_there) {
        return Some(ExitCode::SUCCESS);
    }
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || {
        run(&directory);
        let _ = done.send(());
    });
    if end.recv_timeout(PATIENCE).is_err() {
        say("the pool does not answer: no unit is made for the children of /");
    }
    Some(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfs::sim::{NewPool, Sim};

    fn machine() -> (Sim, tempfile::TempDir) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(scratch.path()).unwrap();
        let pool = NewPool {
            name: "rpool".parse().unwrap(),
            size: 1 << 30,
        };
        let sim = Sim::create(&directory.join("machine"), &[pool]).unwrap();
        for (name, mountpoint, canmount) in [
            ("rpool/ROOT", "none", "off"),
            ("rpool/ROOT/a", "/", "noauto"),
            ("rpool/ROOT/a/var", "/var", "noauto"),
            ("rpool/ROOT/a/var/lib", "/var/lib", "noauto"),
            ("rpool/ROOT/a/srv", "/srv", "noauto"),
            ("rpool/ROOT/a/opt", "/opt", "noauto"),
            ("rpool/ROOT/a/off", "/off", "noauto"),
            ("rpool/ROOT/b", "/", "noauto"),
            ("rpool/ROOT/b/var", "/var", "noauto"),
            ("rpool/ROOT/b/only", "/only", "noauto"),
        ] {
            let settings = [("mountpoint", mountpoint), ("canmount", canmount)];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            sim.create(&name.parse().unwrap(), &settings).unwrap();
        }
        let set = |dataset: &str, name: &str, value: &str| {
            let settings = [(format!("org.openzfs.systemd:{name}"), value.to_owned())];
            sim.set(&dataset.parse().unwrap(), &settings).unwrap();
        };
        set("rpool/ROOT/a/off", "ignore", "on");
        set("rpool/ROOT/a/var", "nofail", "off");
        let root: DatasetName = "rpool/ROOT/a".parse().unwrap();
        let fstab = b"rpool/ROOT/a/opt /opt zfs zfsutil 0 0\n";
        sim.write_file(&root, "etc/fstab", fstab).unwrap();
        sim.write_file(&root, "etc/systemd/system/srv.mount", b"")
            .unwrap();
        sim.edit(|edit| edit.running(&root)).unwrap();
        (sim, scratch)
    }

    #[test]
    fn the_running_environments_children_get_units_and_no_others() {
        let (sim, scratch) = machine();
        let made = make(&sim, &sim).unwrap();
        let names: Vec<&str> = made.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["var.mount", "var-lib.mount"]);
        assert!(made.units[0].text.contains("What=rpool/ROOT/a/var\n"));
        assert_eq!(made.left.len(), 1);
        assert_eq!(made.left[0].1, Why::Ignored);

        let early = Utf8Path::from_path(scratch.path()).unwrap().join("early");
        fs::create_dir(&early).unwrap();
        fs::write(early.join("var-lib.mount"), "of another").unwrap();
        write(&made.units, &early).unwrap();
        write(&made.units, &early).unwrap();
        // Inherited from the child above it.
        let link = early.join("local-fs.target.requires/var.mount");
        assert_eq!(fs::read_to_string(link).unwrap(), made.units[0].text);
        let other = fs::read_to_string(early.join("var-lib.mount")).unwrap();
        assert_eq!(other, "of another");
        assert!(
            !early
                .join("local-fs.target.requires/var-lib.mount")
                .exists()
        );
        assert_eq!(made.units[1].links, ["local-fs.target.requires"]);
    }

    #[test]
    fn without_an_fstab_that_can_be_read_nothing_is_made() {
        let (sim, _scratch) = machine();
        let root: DatasetName = "rpool/ROOT/a".parse().unwrap();
        sim.with_files(&root, true, &mut |files| {
            files.remove_file("etc/fstab")?;
            files.symlink_contents("/elsewhere/fstab", "etc/fstab")
        })
        .unwrap();
        let error = make(&sim, &sim).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /etc/fstab: "), "{error}");
    }

    #[test]
    fn another_name_is_no_generators() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(entry(words(&["/usr/sbin/beadm-rs", "beadm-rs-generator"])).is_none());
        assert!(entry(words(&[])).is_none());
        assert!(entry(words(&["/x/beadm-rs-generator"])).is_some());
    }

    #[test]
    fn in_an_initramfs_a_container_and_for_a_user_nothing_is_made() {
        let with = |name: &'static str, value: &'static str| {
            let variable = move |asked: &str| (asked == name).then(|| value.to_owned());
            is_elsewhere(variable, |_| false)
        };
        for file in ["/etc/initrd-release", "/run/systemd/container"] {
            assert!(is_elsewhere(|_| None, |asked| asked == file));
        }
        assert!(with("SYSTEMD_IN_INITRD", "1"));
        assert!(with("SYSTEMD_SCOPE", "user"));
        assert!(with("SYSTEMD_VIRTUALIZATION", "container:systemd-nspawn"));
        assert!(!with("SYSTEMD_VIRTUALIZATION", "vm:kvm"));
        assert!(!with("SYSTEMD_IN_INITRD", "0"));
    }
}
