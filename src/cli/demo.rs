//! `demo`: the main job on a simulated pool, as a user would see it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::Global;
use super::error::{Trouble, USAGE};
use crate::check::{initramfs, stand_in};
use crate::zfs::DatasetName;
use crate::zfs::sim::{Import, NewPool, Sim};

/// Show it all on a simulated pool, made of a copy of this machine's /etc
///
/// Needs no root and no ZFS: creates, changes, activates and fails back, prints
/// every plan and the listing, and leaves the pool to play with. Nothing of
/// this machine is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Reboot the simulated machine (--sim DIR) into what boots next, and no more
    #[arg(long)]
    reboot: bool,

    /// Where to make the pool: a new or empty directory; by default a new one under the
    /// temporary directory
    #[arg(value_name = "DIR", conflicts_with = "reboot")]
    directory: Option<Utf8PathBuf>,
}

/// The file the demonstration changes, from the root: none that a machine has.
const NOTE: &str = "etc/beadm-rs-demo";

/// The simulated pool's size, bytes: what a small machine has.
const POOL_BYTES: u64 = 10 << 30;

/// Larger files of /etc are left out, bytes: nothing in the demonstration
/// needs them.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// All of /etc, bytes.
const MAX_ETC_BYTES: u64 = 64 << 20;

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<()> {
    if global.dry_run || global.json {
        let why = "demo prints for people what it does to a pool of its own: \
                   it has neither --dry-run nor --json";
        return Err(Trouble::new(USAGE, why).into());
    }
    if args.reboot {
        let Some(directory) = &global.sim else {
            bail!("--reboot needs the simulated machine: beadm-rs --sim DIR demo --reboot");
        };
        let booted = Sim::open(directory)?.reboot()?;
        writeln!(
            io::stderr(),
            "beadm-rs: the simulated machine runs from {booted} now"
        )?;
        return Ok(());
    }
    let directory = match &args.directory {
        Some(directory) => directory.clone(),
        None => new_directory()?,
    };
    let sim = prepare(&directory)?;
    Show { sim, directory }.play()
}

fn new_directory() -> anyhow::Result<Utf8PathBuf> {
    let made = tempfile::Builder::new()
        .prefix("beadm-rs-demo.")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .context("cannot make a directory for the simulated pool")?;
    Ok(Utf8PathBuf::try_from(made.keep())?)
}

/// A pool laid out like the OpenZFS guide for Debian, with a copy of /etc in it.
fn prepare(directory: &Utf8Path) -> anyhow::Result<Sim> {
    use crate::zfs::Zfs as _;
    let sim = Sim::create(
        directory,
        &[NewPool {
            name: "rpool".parse()?,
            size: POOL_BYTES,
        }],
    )?;
    let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    sim.set(&"rpool".parse()?, &set(&[("canmount", "off")]))?;
    sim.create(
        &"rpool/ROOT".parse()?,
        &set(&[("canmount", "off"), ("mountpoint", "none")]),
    )?;
    let root = "rpool/ROOT/debian".parse()?;
    sim.create(&root, &set(&[("canmount", "noauto"), ("mountpoint", "/")]))?;
    sim.create(
        &"rpool/ROOT/debian/var".parse()?,
        &set(&[("canmount", "noauto")]),
    )?;
    sim.set_bootfs(&"rpool".parse()?, Some(&root))?;
    let import = Import {
        into: "etc".into(),
        file_bytes: MAX_FILE_BYTES,
        total_bytes: MAX_ETC_BYTES,
    };
    let imported = sim.import_tree(&root, Path::new("/etc"), &import)?;
    bootable(&sim, &root)?;
    sim.reboot()?;
    writeln!(
        io::stdout(),
        "A simulated machine with a pool in {directory}: its root is a copy of this \
         machine's /etc\n({} files, {}; {} left out as unreadable, special or large). \
         Nothing of this machine is changed.",
        imported.files,
        super::output::size(imported.bytes),
        imported.skipped()
    )?;
    Ok(sim)
}

/// What this machine mounts is not there, and a kernel is not copied: files
/// that stand for one make `activate` find what it looks for.
fn bootable(sim: &Sim, root: &DatasetName) -> anyhow::Result<()> {
    use crate::os::Platform as _;
    sim.with_files(root, true, &mut |files| {
        let hostid = files.read("etc/hostid").unwrap_or_default();
        files.write("etc/fstab", "# everything is mounted by ZFS\n")?;
        stand_in::write_system(files, initramfs::hostid(&hostid))
    })?;
    Ok(())
}

struct Show {
    sim: Sim,
    directory: Utf8PathBuf,
}

impl Show {
    fn play(&self) -> anyhow::Result<()> {
        self.say("What there is:")?;
        self.command(&["list"])?;
        self.say("Before an upgrade, clone the running system. First, what that would do:")?;
        self.command(&["create", "-n", "-d", "with the upgrade", "upgrade"])?;
        self.command(&["create", "-d", "with the upgrade", "upgrade"])?;
        self.say("Change the clone; the machine keeps working:")?;
        let mount = self.directory.join("upgrade");
        self.command(&["mount", "upgrade", mount.as_str()])?;
        let note = mount.join(NOTE);
        writeln!(io::stdout(), "$ echo 'upgraded' > {note}")?;
        fs::write(&note, "upgraded\n").with_context(|| format!("cannot write {note}"))?;
        self.command(&["unmount", "upgrade"])?;
        self.say("Make it boot next, if it can:")?;
        self.command(&["check", "upgrade"])?;
        self.command(&["activate", "-n", "upgrade"])?;
        self.command(&["activate", "upgrade"])?;
        self.command(&["list"])?;
        self.reboot()?;
        self.command(&["list"])?;
        self.show_note()?;
        self.say("Newer was not better. The way back:")?;
        self.command(&["failback", "-n"])?;
        self.command(&["failback"])?;
        self.reboot()?;
        self.command(&["list"])?;
        self.show_note()?;
        self.command(&["list", "--tree"])?;
        self.say(&format!(
            "The pool stays for you to play with:\n\n    alias beadm-rs={}\n    \
             export BEADM_RS_SIM={}\n    beadm-rs list\n    beadm-rs create another\n    \
             beadm-rs demo --reboot\n    beadm-rs destroy upgrade\n\nRemove it with: rm -r {}",
            std::env::current_exe()?.display(),
            self.directory,
            self.directory
        ))
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        writeln!(io::stdout(), "\n{text}\n")?;
        Ok(())
    }

    /// Runs one command line of this program, as typed.
    fn command(&self, words: &[&str]) -> anyhow::Result<()> {
        let typed: Vec<String> = words
            .iter()
            .map(|word| {
                if word.contains(' ') {
                    format!("'{word}'")
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        writeln!(io::stdout(), "$ beadm-rs {}", typed.join(" "))?;
        let line = ["beadm-rs", "--sim", self.directory.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .map(OsString::from);
        match super::run(line) {
            0 => Ok(()),
            exit => bail!("the demonstration stopped: exit code {exit}"),
        }
    }

    fn reboot(&self) -> anyhow::Result<()> {
        let booted = self.sim.reboot()?;
        writeln!(
            io::stdout(),
            "\n~~~ the simulated machine reboots, into {booted} ~~~\n"
        )?;
        Ok(())
    }

    /// The changed file, as the running system sees it.
    fn show_note(&self) -> anyhow::Result<()> {
        use crate::os::Platform as _;
        let running = self.sim.root_dataset()?.context("nothing is running")?;
        let mut text = String::new();
        self.sim.with_files(&running, false, &mut |root| {
            text = root
                .read_to_string(NOTE)
                .unwrap_or_else(|_| format!("cat: /{NOTE}: No such file or directory\n"));
            Ok(())
        })?;
        write!(io::stdout(), "$ cat /{NOTE}\n{text}")?;
        Ok(())
    }
}
