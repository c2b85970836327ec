//! A stream from one pool to another.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use camino::Utf8Path;

use super::super::{Error, ErrorKind, Meter, Result, Transfer};
use super::{options, said, words};
use crate::sys::command;

/// How much of a stream is carried at a time, bytes.
const STREAM_BUFFER: usize = 1 << 20;

/// Carries it (`Zfs::transfer`), counting its bytes.
pub(super) fn carry(zfs: &Utf8Path, transfer: &Transfer, meter: &dyn Meter) -> Result<()> {
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

    let mut receiver =
        command::spawn(command::command(zfs, &receiving).stdin(Stdio::piped())).map_err(failed)?;
    let mut sender = match command::spawn(&mut command::command(zfs, &sending)) {
        Ok(sender) => sender,
        Err(error) => {
            drop(receiver.stdin.take());
            let _ = command::finish(receiver);
            return Err(failed(error));
        }
    };
    let mut interrupted = false;
    let mut begun = false;
    if let (Some(mut from), Some(mut to)) = (sender.stdout.take(), receiver.stdin.take()) {
        let mut buffer = vec![0; STREAM_BUFFER];
        // A write that fails means that the receiver ended: its own words,
        // read below, say why.
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let Some(part) = buffer.get(..count) else {
                break;
            };
            begun = true;
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
    // The receiver of nothing can only say that there was no stream.
    if !begun && !sent.status.success() {
        return Err(said(&attempted, &sent));
    }
    if !received.status.success() {
        return Err(said(&attempted, &received));
    }
    if !sent.status.success() {
        return Err(said(&attempted, &sent));
    }
    Ok(())
}
