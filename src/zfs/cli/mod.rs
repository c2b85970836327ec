//! The default engine: drives `zfs` and `zpool`.
//!
//! Operations that can share a transaction group run as one channel program
//! (`program.lua`): one process and one group instead of one of each per
//! dataset. Clones cannot (before OpenZFS 2.4, and never with properties), so
//! several `zfs clone` run at once.

mod clones;
mod listing;
mod message;
mod program;
mod properties;
mod settable;
mod stream;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};

#[cfg(feature = "libzetta")]
use super::lzc::Library;
use super::parse::{self, ParseError};
use super::{
    CloneOf, Dataset, DatasetName, Error, ErrorKind, Giving, Incoming, Meter, Outgoing, Pool,
    PoolName, Property, Result, Setting, SnapshotName, SyncOp, Taking, Transfer, UsedBy, Zfs,
};
use crate::sys::command::{self, Finished};

/// The most a channel program may be given (zfs-program(8)).
const INSTRUCTION_LIMIT: &str = "100000000";

/// Likewise, bytes.
const MEMORY_LIMIT: &str = "104857600";

/// The engine.
#[derive(Debug, Clone)]
pub struct Cli {
    zfs: Utf8PathBuf,
    zpool: Utf8PathBuf,
    settable: OnceLock<Vec<String>>,
    /// Columns of `zfs list` that this release does not know.
    lacking: OnceLock<Vec<&'static str>>,
    /// Streams are sent by this process.
    #[cfg(feature = "libzetta")]
    sends_itself: bool,
}

impl Cli {
    /// The engine over the installed `zfs` and `zpool`.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] where they are not installed.
    pub fn new() -> Result<Self> {
        let find = |name: &str| {
            command::find(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Missing,
                    format!("run {name}"),
                    "it is not installed",
                )
            })
        };
        Ok(Self::of(find("zfs")?, find("zpool")?))
    }

    /// The engine over `zfs` and `zpool` in a directory: for tests.
    #[must_use]
    pub fn in_directory(directory: &Utf8Path) -> Self {
        Self::of(directory.join("zfs"), directory.join("zpool"))
    }

    fn of(zfs: Utf8PathBuf, zpool: Utf8PathBuf) -> Self {
        Self {
            zfs,
            zpool,
            settable: OnceLock::new(),
            lacking: OnceLock::new(),
            #[cfg(feature = "libzetta")]
            sends_itself: false,
        }
    }

    /// The same engine, sending its streams through libzfs_core instead of by
    /// `zfs send`.
    #[cfg(feature = "libzetta")]
    #[must_use]
    pub fn sending_itself(mut self) -> Self {
        self.sends_itself = true;
        self
    }

    /// What it sends with, if not with `zfs send`.
    #[cfg(feature = "libzetta")]
    fn library(&self) -> Option<Library> {
        self.sends_itself.then(Library::open).flatten()
    }

    fn run(
        program: &Utf8Path,
        attempted: &str,
        arguments: &[String],
        input: Option<&str>,
    ) -> Result<Finished> {
        command::run(program, arguments, input).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::Missing,
                _ => ErrorKind::Other,
            };
            Error::new(
                kind,
                attempted,
                format!("{program} does not start: {error}"),
            )
        })
    }

    /// Runs `zfs`, which has to succeed; its output as text.
    fn zfs(&self, attempted: &str, arguments: &[String]) -> Result<String> {
        Self::succeed(&self.zfs, attempted, arguments)
    }

    /// Runs `zpool` in the same way.
    fn zpool(&self, attempted: &str, arguments: &[String]) -> Result<String> {
        Self::succeed(&self.zpool, attempted, arguments)
    }

    fn succeed(program: &Utf8Path, attempted: &str, arguments: &[String]) -> Result<String> {
        let finished = Self::run(program, attempted, arguments, None)?;
        if finished.status.success() {
            text(attempted, finished.stdout)
        } else {
            Err(said(attempted, &finished))
        }
    }

    /// Runs a channel program that changes nothing; what it returned.
    fn read_only_program(
        &self,
        attempted: &str,
        pool: &PoolName,
        program: &str,
        arguments: Vec<String>,
    ) -> Result<String> {
        let mut words = words(&["program", "-n", "-j", "-t", INSTRUCTION_LIMIT]);
        words.extend(["-m", MEMORY_LIMIT, pool.as_str(), "-"].map(str::to_owned));
        words.extend(arguments);
        let finished = Self::run(&self.zfs, attempted, &words, Some(program))?;
        if !finished.status.success() {
            return Err(said(attempted, &finished));
        }
        text(attempted, finished.stdout)
    }

    /// Sets the same of each dataset, one after the other.
    fn set_all(&self, datasets: &[&DatasetName], settings: &[Setting]) -> Result<()> {
        // Without `-u`, which 2.1 lacks: this program sets properties that could
        // mount something only on datasets with canmount=noauto, unmounted.
        let mut arguments = words(&["set"]);
        let assignments = settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        arguments.extend(assignments);
        arguments.extend(datasets.iter().map(ToString::to_string));
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        let datasets: Vec<&str> = datasets.iter().map(|dataset| dataset.as_str()).collect();
        let attempted = format!("set {} of {}", names.join(", "), datasets.join(", "));
        self.zfs(&attempted, &arguments).map(drop)
    }

    fn clone_one(&self, clone: &CloneOf, settings: &[Setting]) -> Result<()> {
        let mut arguments = words(&["clone"]);
        arguments.extend(options(settings));
        arguments.push(clone.snapshot.to_string());
        arguments.push(clone.target.to_string());
        let attempted = format!("clone {} as {}", clone.snapshot, clone.target);
        self.zfs(&attempted, &arguments).map(drop)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn options(settings: &[Setting]) -> impl Iterator<Item = String> + '_ {
    settings
        .iter()
        .flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
}

fn text(attempted: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        Error::new(
            ErrorKind::Unexpected,
            attempted,
            format!("a value in its output is not UTF-8 text ({error})"),
        )
    })
}

fn unexpected(attempted: &str) -> impl FnOnce(ParseError) -> Error + '_ {
    move |error| Error::new(ErrorKind::Unexpected, attempted, error)
}

/// The error of a command that exited with a failure.
fn said(attempted: &str, finished: &Finished) -> Error {
    let detail = if finished.stderr.is_empty() {
        format!("it ended with {} and said nothing", finished.status)
    } else {
        finished.stderr.clone()
    };
    Error::new(message::classify(&detail), attempted, detail)
}

impl Zfs for Cli {
    fn label(&self) -> String {
        #[cfg(feature = "libzetta")]
        if self.sends_itself {
            return "OpenZFS, sending through libzfs_core".to_owned();
        }
        "OpenZFS".to_owned()
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        let attempted = "list the pools";
        let arguments = words(&["list", "-Hp", "-o", parse::POOL_COLUMNS]);
        let text = self.zpool(attempted, &arguments)?;
        parse::pools(&text).map_err(unexpected(attempted))
    }

    fn tree(&self, roots: &[DatasetName], snapshots: bool) -> Result<Vec<Dataset>> {
        let types = if snapshots {
            "filesystem,volume,snapshot"
        } else {
            "filesystem,volume"
        };
        self.list(roots, &["-r", "-t", types])
    }

    fn children(&self, roots: &[DatasetName]) -> Result<Vec<Dataset>> {
        self.list(roots, &["-d", "1", "-t", "filesystem,volume"])
    }

    fn properties(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        self.all_properties(root)
    }

    fn effective(
        &self,
        root: &DatasetName,
        names: &[&str],
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let text = self.get_from(root, "local,received,inherited", &names.join(","))?;
        let attempted = format!("read the properties of {root}");
        parse::effective(&text).map_err(unexpected(&attempted))
    }

    fn active_features(&self, pool: &PoolName) -> Result<Vec<String>> {
        let attempted = format!("list the features of {pool}");
        let arguments = words(&["get", "-H", "-o", "property,value", "all", pool.as_str()]);
        let text = self.zpool(&attempted, &arguments)?;
        Ok(parse::active_features(&text))
    }

    fn lacking_features(&self, pool: &PoolName, needed: &[String]) -> Result<Vec<String>> {
        if needed.is_empty() {
            return Ok(Vec::new());
        }
        let attempted = format!("list the features of {pool}");
        let arguments = words(&["get", "-H", "-o", "property,value", "all", pool.as_str()]);
        let text = self.zpool(&attempted, &arguments)?;
        let there = parse::usable_features(&text);
        let lacking = needed.iter().filter(|name| !there.contains(name));
        Ok(lacking.cloned().collect())
    }

    fn knows_property(&self, name: &str) -> Result<bool> {
        Ok(name.contains(':') || self.settable()?.iter().any(|known| known == name))
    }

    fn data_errors(&self, pool: &PoolName) -> Result<Option<String>> {
        let attempted = format!("ask how {pool} is");
        let arguments = words(&["status", pool.as_str()]);
        let text = self.zpool(&attempted, &arguments)?;
        Ok(parse::data_errors(&text))
    }

    fn key_location(&self, root: &DatasetName) -> Result<Option<String>> {
        let attempted = format!("ask where the key of {root} is");
        let arguments = words(&["get", "-H", "-o", "value", "keylocation", root.as_str()]);
        let value = self.zfs(&attempted, &arguments)?.trim_end().to_owned();
        Ok(Some(value).filter(|value| value != "-" && value != "none"))
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>> {
        let arguments = words(&["holds", "-H", snapshot.as_str()]);
        self.zfs(&format!("list the holds of {snapshot}"), &arguments)
            .and_then(|text| parse::holds(&text, snapshot).map_err(unexpected("list the holds")))
    }

    fn transact(&self, pool: &PoolName, ops: &[SyncOp]) -> Result<()> {
        program::transact(self, pool, ops)
    }

    fn clone_all(&self, clones: &[CloneOf]) -> Result<()> {
        clones::make(self, clones, None)
    }

    fn clone_beside(
        &self,
        clones: &[CloneOf],
        pool: &PoolName,
        operations: &[SyncOp],
    ) -> Result<()> {
        clones::make(self, clones, Some((pool, operations)))
    }

    fn create(&self, target: &DatasetName, settings: &[Setting]) -> Result<()> {
        // With canmount=noauto among the settings nothing is mounted; `-u`
        // says so on the releases that know it (2.0 and later).
        let mut arguments = words(&["create", "-u"]);
        arguments.extend(options(settings));
        arguments.push(target.to_string());
        self.zfs(&format!("create {target}"), &arguments).map(drop)
    }

    fn set(&self, dataset: &DatasetName, settings: &[Setting]) -> Result<()> {
        self.set_all(&[dataset], settings)
    }

    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        let attempted = format!("rename {from} to {to}");
        let arguments = words(&["rename", "-u", from.as_str(), to.as_str()]);
        self.zfs(&attempted, &arguments).map(drop).map_err(|error| {
            // Killed, or failing at what it does after the ioctl, it may have
            // renamed all the same: only what has its old name still was not.
            let there = words(&["list", "-H", "-o", "name", from.as_str()]);
            let renamed =
                error.kind != ErrorKind::NotFound && self.zfs(&attempted, &there).is_err();
            error.partial(renamed)
        })
    }

    fn changes(&self, from: &SnapshotName, to: &str) -> Result<Vec<u8>> {
        let attempted = format!("compare {from} with {to}");
        let arguments = words(&["diff", "-FH", from.as_str(), to]);
        let finished = Self::run(&self.zfs, &attempted, &arguments, None)?;
        // An object whose path it cannot tell is left out with a message and
        // exit status 0 (libzfs_diff.c, write_inuse_diffs_one).
        if finished.status.success() && finished.stderr.is_empty() {
            Ok(finished.stdout)
        } else {
            Err(said(&attempted, &finished))
        }
    }

    fn set_bootfs(&self, pool: &PoolName, dataset: Option<&DatasetName>) -> Result<()> {
        let value = dataset.map(ToString::to_string).unwrap_or_default();
        let attempted = format!("set bootfs of {pool} to '{value}'");
        let arguments = vec![
            "set".to_owned(),
            format!("bootfs={value}"),
            pool.to_string(),
        ];
        let finished = Self::run(&self.zpool, &attempted, &arguments, None)?;
        if finished.status.success() {
            Ok(())
        } else {
            Err(said(&attempted, &finished))
        }
    }

    fn transfer_size(&self, transfer: &Transfer) -> Result<u64> {
        let mut arguments = words(&["send", "-nP"]);
        if transfer.raw {
            arguments.push("-w".to_owned());
        }
        arguments.push(transfer.snapshot.to_string());
        let attempted = format!("estimate a stream of {}", transfer.snapshot);
        parse::send_size(&self.zfs(&attempted, &arguments)?).map_err(unexpected(&attempted))
    }

    fn transfer(&self, transfer: &Transfer, meter: &dyn Meter) -> Result<()> {
        stream::carry(self, transfer, meter)
    }

    fn send_size(&self, outgoing: &Outgoing) -> Result<u64> {
        let mut arguments = words(&["send", "-nP"]);
        arguments.extend(stream::sending(outgoing));
        let attempted = format!("estimate a stream of {}", outgoing.snapshot);
        parse::send_size(&self.zfs(&attempted, &arguments)?).map_err(unexpected(&attempted))
    }

    fn send(&self, outgoing: &Outgoing, take: &mut Taking<'_>) -> Result<std::io::Result<()>> {
        stream::send(self, outgoing, take)
    }

    fn receive(&self, incoming: &Incoming, give: &mut Giving<'_>) -> Result<std::io::Result<()>> {
        stream::receive(self, incoming, give)
    }

    fn used_by(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, UsedBy>> {
        let attempted = format!("list what the space below {root} is for");
        let mut arguments = words(&["list", "-Hp", "-d", "1", "-t", "filesystem", "-o"]);
        arguments.extend([parse::USED_BY_COLUMNS.to_owned(), root.to_string()]);
        let mut used =
            parse::used_by(&self.zfs(&attempted, &arguments)?).map_err(unexpected(&attempted))?;
        used.remove(root);
        Ok(used)
    }
}
