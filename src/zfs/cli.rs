//! The default engine: drives `zfs` and `zpool`.
//!
//! Operations that can share a transaction group run as one channel program
//! (`program.lua`): one process and one group instead of one of each per
//! dataset. Clones cannot (before OpenZFS 2.4, and never with properties), so
//! several `zfs clone` run at once.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::parse::{self, ParseError};
use super::{
    CloneOf, Dataset, DatasetName, Error, ErrorKind, Guard, Meter, PREFIX, Pool, PoolName,
    Property, Result, Setting, SnapshotName, SyncOp, Transfer, Zfs,
};
use crate::sys::command::{self, Finished};

/// The channel program behind [`Zfs::transact`].
const PROGRAM: &str = include_str!("program.lua");

/// The channel program behind [`Zfs::properties`].
const USER_PROPERTIES: &str = include_str!("user_properties.lua");

/// The most a channel program may be given (zfs-program(8)).
const INSTRUCTION_LIMIT: &str = "100000000";

/// Likewise, bytes.
const MEMORY_LIMIT: &str = "104857600";

/// How many `zfs clone` run at once. Measured in emulation, 20 clones: one
/// after another 5.8 s, eight at a time 3.4 s, twenty at a time 3.2 s.
const CLONES_AT_ONCE: usize = 8;

/// How much of a stream is carried at a time, bytes.
const STREAM_BUFFER: usize = 1 << 20;

/// The engine.
#[derive(Debug, Clone)]
pub struct Cli {
    zfs: Utf8PathBuf,
    zpool: Utf8PathBuf,
    settable: OnceLock<Vec<String>>,
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
                    "it is not installed; install the OpenZFS user tools \
                     (Debian: zfsutils-linux), or try the simulator: beadm-rs demo",
                )
            })
        };
        Ok(Self {
            zfs: find("zfs")?,
            zpool: find("zpool")?,
            settable: OnceLock::new(),
        })
    }

    /// The engine over `zfs` and `zpool` in a directory: for tests.
    #[must_use]
    pub fn in_directory(directory: &Utf8Path) -> Self {
        Self {
            zfs: directory.join("zfs"),
            zpool: directory.join("zpool"),
            settable: OnceLock::new(),
        }
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
        let finished = Self::run(&self.zfs, attempted, arguments, None)?;
        if finished.status.success() {
            text(attempted, finished.stdout)
        } else {
            Err(said(attempted, &finished))
        }
    }

    /// Lists datasets; a root that does not exist is left out.
    fn list(&self, roots: &[DatasetName], how: &[&str]) -> Result<Vec<Dataset>> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let attempted = "list the datasets";
        let mut arguments = words(&["list", "-Hp"]);
        arguments.extend(words(how));
        arguments.extend(["-o".to_owned(), parse::tree_columns()]);
        arguments.extend(roots.iter().map(ToString::to_string));
        let finished = Self::run(&self.zfs, attempted, &arguments, None)?;
        // The others are listed even so, and the exit status is 1.
        let only_missing = !finished.stderr.is_empty()
            && finished.stderr.lines().all(|line| {
                line.starts_with("cannot open ")
                    && (line.ends_with("dataset does not exist") || line.ends_with("no such pool"))
            });
        if !finished.status.success() && !only_missing {
            return Err(said(attempted, &finished));
        }
        parse::tree(&text(attempted, finished.stdout)?).map_err(unexpected(attempted))
    }

    /// The native properties that can be set on this release, from the table
    /// `zfs get` prints when it is called without arguments.
    ///
    /// Asking for `all` instead is three times slower (measured in emulation: 520
    /// and 170 ms for seven datasets): for `version`, `utf8only`,
    /// `normalization` and `casesensitivity` the kernel opens each file system
    /// again and again.
    fn settable(&self) -> Result<&[String]> {
        if let Some(names) = self.settable.get() {
            return Ok(names);
        }
        let usage = Self::run(&self.zfs, "list the properties", &words(&["get"]), None)?;
        Ok(self.settable.get_or_init(|| parse::settable(&usage.stderr)))
    }

    fn get(
        &self,
        root: &DatasetName,
        properties: &str,
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let attempted = format!("read the properties of {root}");
        let mut arguments = words(&["get", "-Hp", "-r", "-t", "filesystem"]);
        arguments.extend(words(&["-s", "local,received"]));
        arguments.extend(words(&["-o", "name,property,source,value"]));
        arguments.extend([properties.to_owned(), root.to_string()]);
        parse::properties(&self.zfs(&attempted, &arguments)?).map_err(unexpected(&attempted))
    }

    /// The user properties, whose names only a channel program can tell.
    fn user_properties(&self, root: &DatasetName) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let attempted = format!("read the user properties of {root}");
        let mut arguments = words(&["program", "-n", "-j", "-t", INSTRUCTION_LIMIT]);
        arguments.extend(words(&["-m", MEMORY_LIMIT, root.pool().as_str(), "-"]));
        arguments.push(root.to_string());
        let finished = Self::run(&self.zfs, &attempted, &arguments, Some(USER_PROPERTIES))?;
        if !finished.status.success() {
            return Err(said(&attempted, &finished));
        }
        parse::user_properties(&text(&attempted, finished.stdout)?).map_err(unexpected(&attempted))
    }

    fn clone_one(&self, clone: &CloneOf) -> Result<()> {
        let mut arguments = words(&["clone"]);
        arguments.extend(options(&clone.settings));
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
    Error::new(classify(&detail), attempted, detail)
}

/// The class of a message of `zfs` or `zpool`: the texts of
/// `zfs_standard_error_fmt` in `libzfs_util.c`, the same from 0.8 to 2.4.
fn classify(message: &str) -> ErrorKind {
    const TEXTS: [(&str, ErrorKind); 37] = [
        ("source and target pools differ", ErrorKind::Unsupported),
        ("within same pool", ErrorKind::Unsupported),
        ("crosses datasets", ErrorKind::Unsupported),
        ("must be one of", ErrorKind::Invalid),
        ("must be an absolute path", ErrorKind::Invalid),
        ("must be power of 2", ErrorKind::Invalid),
        ("bad numeric value", ErrorKind::Invalid),
        ("use 'none'", ErrorKind::Invalid),
        ("is readonly", ErrorKind::Invalid),
        ("does not apply to datasets", ErrorKind::Invalid),
        ("cannot be a descendant", ErrorKind::Invalid),
        ("size is less than", ErrorKind::NoSpace),
        ("size is greater than", ErrorKind::NoSpace),
        ("does not exist", ErrorKind::NotFound),
        ("no such pool", ErrorKind::NotFound),
        ("already exists", ErrorKind::Exists),
        ("dataset exists", ErrorKind::Exists),
        ("has dependent clones", ErrorKind::HasDependents),
        ("has children", ErrorKind::HasDependents),
        ("busy", ErrorKind::Busy),
        ("out of space", ErrorKind::NoSpace),
        ("No space left", ErrorKind::NoSpace),
        ("quota exceeded", ErrorKind::NoSpace),
        ("space quota", ErrorKind::NoSpace),
        ("Disk quota exceeded", ErrorKind::NoSpace),
        ("read-only", ErrorKind::ReadOnly),
        ("Read-only", ErrorKind::ReadOnly),
        ("suspended", ErrorKind::Io),
        ("I/O error", ErrorKind::Io),
        ("permission denied", ErrorKind::PermissionDenied),
        ("Permission denied", ErrorKind::PermissionDenied),
        ("key not loaded", ErrorKind::Key),
        ("encryption", ErrorKind::Key),
        ("too long", ErrorKind::Invalid),
        ("invalid", ErrorKind::Invalid),
        ("/dev/zfs", ErrorKind::Missing),
        ("modules cannot be auto-loaded", ErrorKind::Missing),
    ];
    TEXTS
        .iter()
        .find(|(text, _)| message.contains(text))
        .map_or(ErrorKind::Other, |(_, kind)| *kind)
}

/// What `program.lua` returns.
#[derive(Debug, Deserialize)]
struct Returned {
    #[serde(rename = "return")]
    value: ReturnedValue,
}

#[derive(Debug, Deserialize)]
struct ReturnedValue {
    failed: usize,
    errno: i32,
    why: String,
    done: usize,
}

/// An operation as arguments of `program.lua`.
fn encode(op: &SyncOp) -> Vec<String> {
    let (name, arguments): (&str, Vec<String>) = match op {
        SyncOp::Mark { object, key, text } => (
            "mark",
            vec![object.clone(), format!("{PREFIX}{key}"), text.clone()],
        ),
        SyncOp::Unmark { object, key } => {
            ("unmark", vec![object.clone(), format!("{PREFIX}{key}")])
        }
        SyncOp::Snapshot { snapshot } => ("snapshot", vec![snapshot.to_string()]),
        SyncOp::Promote { dataset, checked } => (
            "promote",
            vec![
                dataset.to_string(),
                if *checked { "checked" } else { "unchecked" }.to_owned(),
            ],
        ),
        SyncOp::Destroy {
            object,
            guard,
            missing_ok,
        } => {
            let [kind, name, value] = encode_guard(guard);
            let missing = if *missing_ok { "missing-ok" } else { "present" };
            (
                "destroy",
                vec![object.clone(), kind, name, value, missing.to_owned()],
            )
        }
        SyncOp::Rollback { dataset, guard } => {
            let [kind, name, value] = encode_guard(guard);
            ("rollback", vec![dataset.to_string(), kind, name, value])
        }
    };
    let mut encoded = vec![name.to_owned(), arguments.len().to_string()];
    encoded.extend(arguments);
    encoded
}

/// The kind of guard, the property looked at, and its value.
fn encode_guard(guard: &Guard) -> [String; 3] {
    let (kind, name, value) = match guard {
        Guard::Guid(guid) => ("guid", "guid".to_owned(), guid.to_string()),
        Guard::Origin(origin) => ("origin", "origin".to_owned(), origin.to_string()),
        Guard::Mark { key, text } => ("mark", format!("{PREFIX}{key}"), text.clone()),
        Guard::Setting { key, value } => ("setting", format!("{PREFIX}{key}"), value.clone()),
    };
    [kind.to_owned(), name, value]
}

/// What the kernel means by an errno, for a person.
fn explain(op: &SyncOp, errno: i32, why: &str) -> String {
    let why = why.trim();
    let told = |text: &str| {
        if why.is_empty() {
            text.to_owned()
        } else {
            format!("{text}: {why}")
        }
    };
    match (op, ErrorKind::from_errno(errno)) {
        (SyncOp::Promote { .. }, ErrorKind::Exists) => {
            told("both sides have snapshots (or bookmarks) of the same name")
        }
        (SyncOp::Promote { .. }, ErrorKind::Busy) => told(
            "a snapshot that would move is in use (a running zfs send, or mounted under .zfs/snapshot)",
        ),
        (SyncOp::Promote { .. }, ErrorKind::Key) => told("its key's encryption root would change"),
        (SyncOp::Destroy { object, .. }, ErrorKind::Busy) if object.contains('@') => {
            told("the snapshot is held, or in use")
        }
        (SyncOp::Destroy { .. }, ErrorKind::Exists) => told("clones hang on it"),
        (_, ErrorKind::Busy) => told("it is in use (mounted somewhere, sent or received)"),
        (_, ErrorKind::NotFound) => told("it is not there"),
        (_, ErrorKind::Exists) => told("there is one already"),
        (_, ErrorKind::NoSpace) => told("no space, or a quota is reached"),
        (_, ErrorKind::ReadOnly) => told("the pool is read-only"),
        _ => told(&std::io::Error::from_raw_os_error(errno).to_string()),
    }
}

impl Zfs for Cli {
    fn label(&self) -> String {
        "OpenZFS".to_owned()
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        let attempted = "list the pools";
        let arguments = words(&["list", "-Hp", "-o", parse::POOL_COLUMNS]);
        let finished = Self::run(&self.zpool, attempted, &arguments, None)?;
        if !finished.status.success() {
            return Err(said(attempted, &finished));
        }
        parse::pools(&text(attempted, finished.stdout)?).map_err(unexpected(attempted))
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
        let settable = self.settable()?;
        if settable.is_empty() {
            return self.get(root, "all");
        }
        let (native, user) = std::thread::scope(|scope| {
            let user = scope.spawn(|| self.user_properties(root));
            (self.get(root, &settable.join(",")), user.join())
        });
        let mut found = native?;
        let user = user.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Other,
                format!("read the properties of {root}"),
                "the thread that did it panicked",
            ))
        });
        let user = match user {
            // No channel program runs on such a pool, not even one that only
            // reads (`POOL_CHECK_READONLY` in `zfs_ioctl_init`).
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::Io) => {
                return self.get(root, "all");
            }
            user => user?,
        };
        for (dataset, properties) in user {
            found.entry(dataset).or_default().extend(properties);
        }
        Ok(found)
    }

    fn active_features(&self, pool: &PoolName) -> Result<Vec<String>> {
        let attempted = format!("list the features of {pool}");
        let arguments = words(&["get", "-H", "-o", "property,value", "all", pool.as_str()]);
        let finished = Self::run(&self.zpool, &attempted, &arguments, None)?;
        if !finished.status.success() {
            return Err(said(&attempted, &finished));
        }
        Ok(parse::active_features(&text(&attempted, finished.stdout)?))
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>> {
        let arguments = words(&["holds", "-H", snapshot.as_str()]);
        self.zfs(&format!("list the holds of {snapshot}"), &arguments)
            .map(|text| parse::holds(&text))
    }

    fn transact(&self, pool: &PoolName, ops: &[SyncOp]) -> Result<()> {
        let attempted = format!("run {} operations on {pool}", ops.len());
        let mut arguments = words(&[
            "program",
            "-j",
            "-t",
            INSTRUCTION_LIMIT,
            "-m",
            MEMORY_LIMIT,
            pool.as_str(),
            "-",
        ]);
        arguments.extend(ops.iter().flat_map(encode));
        let finished = Self::run(&self.zfs, &attempted, &arguments, Some(PROGRAM))?;
        if !finished.status.success() {
            let error = said(&attempted, &finished);
            // A program that was stopped, by a limit or an error of its own, keeps
            // what it did until then (zfs-program(8)); one that was not begun did
            // nothing.
            let begun = !finished.stderr.starts_with("cannot open ");
            return Err(error.partial(begun));
        }
        let output = text(&attempted, finished.stdout).map_err(|error| error.partial(true))?;
        let returned: Returned = serde_json::from_str(&output).map_err(|error| {
            Error::new(
                ErrorKind::Unexpected,
                &attempted,
                format!("the channel program returned {output:?} ({error})"),
            )
            .partial(true)
        })?;
        let ReturnedValue {
            failed,
            errno,
            why,
            done,
        } = returned.value;
        if failed == 0 && done == ops.len() {
            return Ok(());
        }
        match failed.checked_sub(1).and_then(|index| ops.get(index)) {
            Some(op) => Err(
                Error::new(ErrorKind::from_errno(errno), op, explain(op, errno, &why))
                    .partial(done > 0),
            ),
            None => Err(Error::new(
                ErrorKind::Unexpected,
                attempted,
                format!("the channel program returned {output:?}"),
            )
            .partial(true)),
        }
    }

    fn clone_all(&self, clones: &[CloneOf]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some(clone) = clones.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.clone_one(clone) {
                    // Nobody begins another one; the first failure is told.
                    next.store(clones.len(), Ordering::Relaxed);
                    if let Ok(mut failure) = failure.lock() {
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..CLONES_AT_ONCE.min(clones.len()) {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(poisoned) => Err(Error::new(ErrorKind::Other, "clone", poisoned)),
        }
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
        // Without `-u`, which 2.1 lacks: this program sets properties that could
        // mount something only on datasets with canmount=noauto, unmounted.
        let mut arguments = words(&["set"]);
        arguments.extend(
            settings
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        arguments.push(dataset.to_string());
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        self.zfs(
            &format!("set {} of {dataset}", names.join(", ")),
            &arguments,
        )
        .map(drop)
    }

    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<()> {
        let arguments = words(&["rename", "-u", from.as_str(), to.as_str()]);
        self.zfs(&format!("rename {from} to {to}"), &arguments)
            .map(drop)
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
        let attempted = format!("send {} to {}", transfer.snapshot, transfer.target);
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::Other, &attempted, error.to_string());
        let mut sending = words(&["send"]);
        if transfer.raw {
            sending.push("-w".to_owned());
        }
        sending.push(transfer.snapshot.to_string());
        let mut receiving = words(&["receive", "-u"]);
        receiving.extend(options(&transfer.settings));
        receiving.push(transfer.target.to_string());

        let mut receiver = command::command(&self.zfs, &receiving)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut sender = match command::command(&self.zfs, &sending).spawn() {
            Ok(sender) => sender,
            Err(error) => {
                drop(receiver.stdin.take());
                let _ = receiver.wait();
                return Err(failed(error));
            }
        };
        let mut interrupted = false;
        if let (Some(mut from), Some(mut to)) = (sender.stdout.take(), receiver.stdin.take()) {
            let mut buffer = vec![0; STREAM_BUFFER];
            // A write that fails means that the receiver ended: its own words,
            // read below, say why.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let Some(part) = buffer.get(..count) else {
                    break;
                };
                if to.write_all(part).is_err() {
                    break;
                }
                if !meter.advance(count as u64) {
                    interrupted = true;
                    let _ = sender.kill();
                    let _ = receiver.kill();
                    break;
                }
            }
        }
        let received = command::finish(receiver).map_err(failed)?;
        let sent = command::finish(sender).map_err(failed)?;
        if interrupted {
            return Err(Error::new(
                ErrorKind::Interrupted,
                &attempted,
                "interrupted",
            ));
        }
        if !received.status.success() {
            return Err(said(&attempted, &received));
        }
        if !sent.status.success() {
            return Err(said(&attempted, &sent));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_zfs_are_classed() {
        for (message, kind) in [
            (
                "cannot open 'p/x': dataset does not exist",
                ErrorKind::NotFound,
            ),
            (
                "cannot create 'p/x': dataset already exists",
                ErrorKind::Exists,
            ),
            (
                "cannot unmount '/x': pool or dataset is busy",
                ErrorKind::Busy,
            ),
            ("cannot create 'p/x': out of space", ErrorKind::NoSpace),
            ("The ZFS modules cannot be auto-loaded.", ErrorKind::Missing),
            ("something new", ErrorKind::Other),
        ] {
            assert_eq!(classify(message), kind, "{message}");
        }
    }

    #[test]
    fn an_operation_is_its_name_a_count_and_its_arguments() {
        let op = SyncOp::Destroy {
            object: "p/a@s".to_owned(),
            guard: Guard::Guid(super::super::Guid(u64::MAX)),
            missing_ok: true,
        };
        assert_eq!(
            encode(&op),
            [
                "destroy",
                "5",
                "p/a@s",
                "guid",
                "guid",
                "18446744073709551615",
                "missing-ok"
            ]
        );
    }
}
