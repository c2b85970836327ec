//! Streams: from one pool to another, out of the machine and into it.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use super::super::{
    Blocks, Error, ErrorKind, Giving, Incoming, Meter, Outgoing, Result, Taking, Transfer,
};
use super::{Cli, options, said, words};
use crate::sys::command::{self, Finished};

/// How much of a stream is carried at a time, bytes.
const STREAM_BUFFER: usize = 1 << 20;

/// Carries it (`Zfs::transfer`), counting its bytes.
pub(super) fn carry(cli: &Cli, transfer: &Transfer, meter: &dyn Meter) -> Result<()> {
    let mut receiving = words(&["receive", "-u"]);
    receiving.extend(options(&transfer.settings));
    receiving.push(transfer.target.to_string());
    let receiver = || {
        command::spawn(command::command(&cli.zfs, &receiving).stdin(Stdio::piped()))
            .map_err(failed(transfer))
    };
    #[cfg(feature = "libzetta")]
    if let Some(library) = cli.library() {
        return from_library(&library, transfer, receiver()?, meter);
    }
    from_command(cli, transfer, receiver()?, meter)
}

/// The options and names `zfs send` is given. As they lie in the pool, but for embedded ones
/// (`-e`): a dataset that is encrypted where it arrives cannot have them
/// (`dmu_recv_begin_check`).
pub(super) fn sending(outgoing: &Outgoing) -> Vec<String> {
    let mut arguments = words(match outgoing.blocks {
        Blocks::Plain => &[],
        Blocks::AsStored => &["-Lc"],
        Blocks::Raw => &["-w"],
    });
    if let Some(base) = &outgoing.base {
        arguments.extend(["-i".to_owned(), base.to_string()]);
    }
    arguments.push(outgoing.snapshot.to_string());
    arguments
}

/// Has a stream read (`Zfs::send`).
pub(super) fn send(
    cli: &Cli,
    outgoing: &Outgoing,
    take: &mut Taking<'_>,
) -> Result<std::io::Result<()>> {
    let attempted = format!("send {}", outgoing.snapshot);
    let failed = |error: std::io::Error| Error::new(ErrorKind::Other, &attempted, error);
    let mut arguments = words(&["send"]);
    arguments.extend(sending(outgoing));
    let mut sender = command::spawn(&mut command::command(&cli.zfs, &arguments)).map_err(failed)?;
    let taken = match sender.stdout.take() {
        Some(mut from) => take(&mut from),
        None => Ok(()),
    };
    if taken.is_err() {
        let _ = sender.kill();
    }
    let sent = command::finish(sender).map_err(failed)?;
    if taken.is_ok() && !sent.status.success() {
        return Err(said(&attempted, &sent));
    }
    Ok(taken)
}

/// Has a stream written (`Zfs::receive`).
///
/// A receiver whose input ends before the stream does takes back what it has, or with `-s`
/// writes down how far it has come (`dmu_recv_cleanup_ds`); it is not killed, which would
/// leave that to the kernel.
pub(super) fn receive(
    cli: &Cli,
    incoming: &Incoming,
    give: &mut Giving<'_>,
) -> Result<std::io::Result<()>> {
    let attempted = format!("receive {}", incoming.target.dataset());
    let failed = |error: std::io::Error| Error::new(ErrorKind::Other, &attempted, error);
    let mut arguments = words(&["receive", "-u"]);
    if incoming.keep {
        arguments.push("-s".to_owned());
    }
    if let Some(origin) = &incoming.origin {
        arguments.extend(["-o".to_owned(), format!("origin={origin}")]);
    }
    arguments.extend(options(&incoming.settings));
    arguments.push(incoming.target.to_string());
    let mut receiver = command::spawn(command::command(&cli.zfs, &arguments).stdin(Stdio::piped()))
        .map_err(failed)?;
    let given = match receiver.stdin.take() {
        Some(mut to) => give(&mut to),
        None => Ok(()),
    };
    let received = command::finish(receiver).map_err(failed)?;
    match given {
        // It ended first, and says why.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(said(&attempted, &received))
        }
        Err(error) => Ok(Err(error)),
        Ok(()) if received.status.success() => Ok(Ok(())),
        Ok(()) => Err(said(&attempted, &received)),
    }
}

/// What `zfs send` writes.
fn from_command(
    cli: &Cli,
    transfer: &Transfer,
    mut receiver: Child,
    meter: &dyn Meter,
) -> Result<()> {
    let mut sending = words(&["send"]);
    if transfer.raw {
        sending.push("-w".to_owned());
    }
    sending.push(transfer.snapshot.to_string());
    let mut sender = match command::spawn(&mut command::command(&cli.zfs, &sending)) {
        Ok(sender) => sender,
        Err(error) => {
            drop(receiver.stdin.take());
            let _ = command::finish(receiver);
            return Err(failed(transfer)(error));
        }
    };
    let mut pumped = Pumped::default();
    if let (Some(mut from), Some(mut to)) = (sender.stdout.take(), receiver.stdin.take()) {
        pumped = pump(&mut from, &mut to, meter);
        if pumped.interrupted {
            let _ = sender.kill();
            let _ = receiver.kill();
        }
    }
    let received = command::finish(receiver).map_err(failed(transfer))?;
    let sent = command::finish(sender).map_err(failed(transfer))?;
    let sent = if sent.status.success() {
        Ok(())
    } else {
        Err(said(&attempted(transfer), &sent))
    };
    settle(transfer, &pumped, sent, &received)
}

/// What this process sends itself.
#[cfg(feature = "libzetta")]
fn from_library(
    library: &super::super::lzc::Library,
    transfer: &Transfer,
    mut receiver: Child,
    meter: &dyn Meter,
) -> Result<()> {
    let to = receiver.stdin.take();
    let (pumped, sent) = match (std::io::pipe(), to) {
        (Ok((mut from, into)), Some(mut to)) => std::thread::scope(|scope| {
            let sending = scope.spawn(|| library.send(transfer, into));
            let pumped = pump(&mut from, &mut to, meter);
            if pumped.interrupted {
                let _ = receiver.kill();
            }
            // Whoever writes into it still, the kernel, is told to stop.
            drop(from);
            let sent = sending.join().unwrap_or_else(|_| {
                let why = "the thread that did it panicked";
                Err(Error::new(ErrorKind::Other, attempted(transfer), why))
            });
            (pumped, sent)
        }),
        (Err(error), _) => (Pumped::default(), Err(failed(transfer)(error))),
        (_, None) => (Pumped::default(), Ok(())),
    };
    let received = command::finish(receiver).map_err(failed(transfer))?;
    settle(transfer, &pumped, sent, &received)
}

/// How far a stream came.
#[derive(Default)]
struct Pumped {
    /// Something of it was there.
    begun: bool,
    /// The meter ended it.
    interrupted: bool,
}

/// Until there is no more, the receiver takes no more, or the meter says so.
fn pump(from: &mut impl Read, to: &mut impl Write, meter: &dyn Meter) -> Pumped {
    let mut pumped = Pumped::default();
    let mut buffer = vec![0; STREAM_BUFFER];
    // A write that fails means that the receiver ended: its own words,
    // read later, say why.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(part) = buffer.get(..count) else {
            break;
        };
        pumped.begun = true;
        if to.write_all(part).is_err() {
            break;
        }
        if !meter.advance(count as u64) {
            pumped.interrupted = true;
            break;
        }
    }
    pumped
}

/// Which of the two ends says what went wrong.
fn settle(
    transfer: &Transfer,
    pumped: &Pumped,
    sent: Result<()>,
    received: &Finished,
) -> Result<()> {
    let attempted = attempted(transfer);
    if pumped.interrupted {
        return Err(Error::new(ErrorKind::Interrupted, attempted, "interrupted"));
    }
    // The receiver of nothing can only say that there was no stream.
    if !pumped.begun {
        sent.clone()?;
    }
    if !received.status.success() {
        return Err(said(&attempted, received));
    }
    sent
}

fn attempted(transfer: &Transfer) -> String {
    format!("send {} to {}", transfer.snapshot, transfer.target)
}

fn failed(transfer: &Transfer) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::new(ErrorKind::Other, attempted(transfer), error)
}
