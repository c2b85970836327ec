//! Streams as these tools write and read them: one dataset, as `zfs send` writes it.

use std::io::{self, Read, Write as _};
use std::sync::atomic::Ordering;

use super::new_name;
use crate::be::BeName;
use crate::cli::archive::{import, inlet};
use crate::cli::context::Context;
use crate::cli::error::{FAILED, Trouble};
use crate::cli::snapshot::taken;
use crate::plan::{Action, Plan, Why, snapshot};
use crate::survey::Around;
use crate::zfs::{Blocks, Outgoing, SnapshotName, SyncOp};

/// How much of a stream is carried at a time, bytes.
const BUFFER: usize = 1 << 20;

/// Writes a stream of an environment's root dataset to standard output, from a snapshot that
/// is there for that and goes afterwards. `meter` is told of its bytes.
///
/// # Errors
/// Whatever either end says; the stream is not whole then.
pub(super) fn export(context: &Context, name: &BeName, meter: &dyn Fn(u64)) -> Result<(), Trouble> {
    let request = snapshot::Request {
        environment: Some(name.clone()),
        snapshot: None,
        shallow: true,
    };
    let report = taken(context, &request)?;
    let Some(snapshot) = snapshot_of(&report.plan) else {
        return Err(Trouble::new(
            FAILED,
            format!("nothing of {name} could be snapshotted"),
        ));
    };
    let sent = send(context, &snapshot, meter);
    let component = snapshot.component();
    let tidied = context.tidy(&Around::one(name), |survey| {
        snapshot::plan_destroy(survey, name, component)
    });
    sent?;
    tidied.map(drop).map_err(|trouble| {
        let left = format!("the stream is whole, but the snapshot {snapshot} is there still");
        trouble.after(&left)
    })
}

/// The snapshot of the root dataset that a plan takes.
fn snapshot_of(plan: &Plan) -> Option<SnapshotName> {
    let operations = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Transact { operations, .. } => Some(operations),
        _ => None,
    });
    operations.flatten().find_map(|operation| match operation {
        SyncOp::Snapshot { snapshot } => Some(snapshot.clone()),
        _ => None,
    })
}

fn send(context: &Context, snapshot: &SnapshotName, meter: &dyn Fn(u64)) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    let mut take = |from: &mut dyn Read| -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        while let count @ 1.. = from.read(&mut buffer)? {
            out.write_all(buffer.get(..count).unwrap_or_default())?;
            meter(count as u64);
            if context.interruption.asked().load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
            }
        }
        out.flush()
    };
    let not_whole = "what was written is no whole stream";
    let outgoing = Outgoing {
        snapshot: snapshot.clone(),
        base: None,
        blocks: Blocks::Plain,
    };
    match context.host.zfs.send(&outgoing, &mut take) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let message = format!("cannot write a stream of {snapshot}: {error}");
            Err(Trouble::new(FAILED, message).why(Why::Io).state(not_whole))
        }
        Err(error) => Err(Trouble::from(error).state(not_whole)),
    }
}

/// Makes an environment of the stream on standard input: a plain one, a package, or an archive
/// of this program.
///
/// # Errors
/// Why it is refused, or how it failed.
pub(super) fn import(context: &Context, name: &str) -> Result<(), Trouble> {
    context.only_root()?;
    let name = new_name(context, name)?;
    let input = inlet::open(None, context.interruption.asked())?;
    import::import(context, Some(name), input, false).map(drop)
}
