//! Operations that share a transaction group, as one channel program.

use super::super::parse::{self, Outcome};
use super::super::{Error, ErrorKind, Guard, PREFIX, PoolName, Result, SyncOp};
use super::{Cli, INSTRUCTION_LIMIT, MEMORY_LIMIT, said, text, unexpected, words};

/// The channel program behind `Zfs::transact`.
const PROGRAM: &str = include_str!("program.lua");

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
        Guard::Newest { own, snapshot } => ("newest", own.to_string(), snapshot.to_string()),
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
        (SyncOp::Destroy { .. }, ErrorKind::Exists) => told("something hangs on it"),
        (SyncOp::Rollback { .. }, ErrorKind::Exists) => told("a snapshot was taken meanwhile"),
        (_, ErrorKind::Busy) => told("it is in use (mounted somewhere, sent or received)"),
        (_, ErrorKind::NotFound) => told("it is not there"),
        (_, ErrorKind::Exists) => told("there is one already"),
        (_, ErrorKind::NoSpace) => told("no space, or a quota is reached"),
        (_, ErrorKind::ReadOnly) => told("the pool is read-only"),
        _ => told(&std::io::Error::from_raw_os_error(errno).to_string()),
    }
}

/// Runs the operations (`Zfs::transact`).
pub(super) fn transact(cli: &Cli, pool: &PoolName, ops: &[SyncOp]) -> Result<()> {
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
    let finished = Cli::run(&cli.zfs, &attempted, &arguments, Some(PROGRAM))?;
    if !finished.status.success() {
        let error = said(&attempted, &finished);
        // A program that was stopped, by a limit or an error of its own, keeps
        // what it did until then (zfs-program(8)); one that was not begun did
        // nothing.
        let begun = !finished.stderr.starts_with("cannot open ");
        return Err(error.partial(begun));
    }
    let output = text(&attempted, finished.stdout).map_err(|error| error.partial(true))?;
    let Outcome {
        failed,
        errno,
        why,
        done,
    } = parse::outcome(&output)
        .map_err(unexpected(&attempted))
        .map_err(|error| error.partial(true))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_its_name_a_count_and_its_arguments() {
        let op = SyncOp::Destroy {
            object: "p/a@s".to_owned(),
            guard: Guard::Guid(crate::zfs::Guid(u64::MAX)),
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
