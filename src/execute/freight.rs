//! Streams between datasets and what is no dataset: an archive that is read or
//! written.

mod receive;

use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::thread;

use super::Cause;
use crate::archive::manifest::Tree;
use crate::archive::record::Digest;
use crate::archive::stream::{Begin, RECORD};
use crate::archive::{self, Input, Writer, unwrapped};
use crate::host::Host;
use crate::os::Lock;
use crate::plan::export::{Form, Sending};
use crate::plan::import::Receiving;
use crate::zfs::{DatasetName, Guid, Meter, Outgoing};

/// Where an archive is written to.
pub trait Outlet: Write + Send {
    /// All of it was written: it is to stay, under its name.
    ///
    /// # Errors
    /// Where it does not.
    fn keep(&mut self) -> io::Result<()>;
}

/// What comes from outside the pools, or goes there.
#[derive(Default)]
pub struct Freight {
    /// What is received.
    pub input: Option<Input>,
    /// Let go of before streams are sent: who receives them may want to change
    /// something too.
    pub lock: Option<Lock>,
    /// What is sent is written there.
    pub output: Option<Box<dyn Outlet>>,
    /// Bytes of what was written, and for an archive the checksum over all of it.
    pub written: Option<(u64, Option<Digest>)>,
}

impl std::fmt::Debug for Freight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Freight").finish_non_exhaustive()
    }
}

/// Why an archive or stream was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FreightError {
    /// What comes in.
    #[error("the input: {0}")]
    Input(#[source] archive::Error),
    /// What goes out.
    #[error("the output: {0}")]
    Output(#[source] archive::Error),
    /// What arrived is not what was announced.
    #[error("what arrived is not what was announced: {0}")]
    Arrived(String),
    /// What arrived before is not the beginning of what comes now.
    #[error(
        "what had arrived of {dataset} before cannot be gone on with ({why}), and was taken \
         away: it is to be received from its beginning"
    )]
    Lost {
        /// The dataset, which is not there any more.
        dataset: DatasetName,
        /// Why.
        why: String,
    },
    /// A plan that nothing was given for.
    #[error("there is nothing to read from or write to")]
    Nothing,
}

fn input(error: archive::Error) -> Cause {
    match error {
        archive::Error::Interrupted => Cause::Interrupted,
        error => FreightError::Input(error).into(),
    }
}

fn output(error: archive::Error) -> Cause {
    match error {
        archive::Error::Interrupted => Cause::Interrupted,
        error => FreightError::Output(error).into(),
    }
}

impl Freight {
    /// Writes the streams (`Action::Send`).
    pub(super) fn send(
        &mut self,
        host: &Host,
        sending: &Sending,
        total: &dyn Fn(u64),
        meter: &dyn Meter,
    ) -> Result<(), Cause> {
        self.lock = None;
        let out = self.output.as_mut().ok_or(FreightError::Nothing)?;
        if sending.form == Form::Stream {
            let mut written = 0;
            for piece in &sending.pieces {
                if let Ok(bytes) = host.zfs.send_size(piece) {
                    total(bytes);
                }
                host.zfs
                    .send(piece, &mut |from| copy(from, out, meter, &mut written))?
                    .map_err(|error| output(unwrapped(error)))?;
            }
            self.written = Some((written, None));
            return Ok(());
        }
        let mut manifest = sending.manifest.clone();
        let heads = look(host, &sending.pieces)?;
        for (entry, head) in manifest.datasets.iter_mut().zip(&heads) {
            entry.guid = head.guid;
            entry.bytes = head.bytes;
            let needs = match entry.tree {
                Tree::Root => &mut manifest.needs,
                Tree::Boot => &mut manifest.boot_needs,
            };
            needs.extend(head.needs.iter().cloned());
        }
        for needs in [&mut manifest.needs, &mut manifest.boot_needs] {
            needs.sort();
            needs.dedup();
        }
        total(manifest.bytes());
        let mut writer = Writer::new(out, &manifest).map_err(output)?;
        for piece in &sending.pieces {
            let mut wrote = Ok(0);
            host.zfs
                .send(piece, &mut |from| {
                    wrote = writer.stream(from, &mut |bytes| meter.advance(bytes));
                    match &wrote {
                        Ok(_) => Ok(()),
                        Err(_) => Err(io::Error::other("not written")),
                    }
                })?
                .ok();
            wrote.map_err(output)?;
        }
        let (_, bytes, seal) = writer.finish().map_err(output)?;
        self.written = Some((bytes, Some(seal)));
        Ok(())
    }

    /// Has what was written stay (`Action::Keep`).
    pub(super) fn keep(&mut self) -> Result<(), Cause> {
        let out = self.output.as_mut().ok_or(FreightError::Nothing)?;
        out.keep().map_err(|error| output(unwrapped(error)))
    }

    /// Receives the streams, and looks at what has come of them
    /// (`Action::Receive`).
    pub(super) fn receive(
        &mut self,
        host: &Host,
        receiving: &Receiving,
        meter: &dyn Meter,
    ) -> Result<(), Cause> {
        let from = self.input.as_mut().ok_or(FreightError::Nothing)?;
        receive::all(host, from, receiving, meter)
    }
}

/// What there is to say of a stream before it is sent.
struct Head {
    guid: Guid,
    bytes: u64,
    needs: Vec<String>,
}

/// How many streams are begun at the same time, only to see how they begin.
const AT_ONCE: usize = 8;

/// Begins each stream and reads its first record: what it will need of a pool is
/// known from that alone.
fn look(host: &Host, pieces: &[Outgoing]) -> Result<Vec<Head>, Cause> {
    let next = Mutex::new(pieces.iter().enumerate());
    let found = Mutex::new(Vec::new());
    let work = || -> Result<(), Cause> {
        loop {
            let taken = next.lock().ok().and_then(|mut next| next.next());
            let Some((index, piece)) = taken else {
                return Ok(());
            };
            let head = begins(host, piece)?;
            if let Ok(mut found) = found.lock() {
                found.push((index, head));
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(pieces.len()))
            .map(|_| scope.spawn(work))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let lost = || Cause::Recovery("a thread of this program ended".to_owned());
            thread.join().unwrap_or_else(|_| Err(lost()))
        })
    })?;
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(index, _)| *index);
    Ok(found.into_iter().map(|(_, head)| head).collect())
}

fn begins(host: &Host, piece: &Outgoing) -> Result<Head, Cause> {
    let bytes = host.zfs.send_size(piece)?;
    let mut record = [0; RECORD];
    let mut read = Ok(());
    // Of an error the sender knows more.
    let _ = host.zfs.send(piece, &mut |from| {
        read = from.read_exact(&mut record);
        match read {
            Ok(()) => Err(io::Error::other("it has been seen")),
            Err(_) => Ok(()),
        }
    })?;
    read.map_err(|error| output(unwrapped(error)))?;
    let begin = Begin::decode(&record).map_err(output)?;
    Ok(Head {
        guid: begin.guid,
        bytes,
        needs: begin.needs,
    })
}

fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    meter: &dyn Meter,
    written: &mut u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => {
                to.write_all(buffer.get(..count).unwrap_or_default())?;
                *written += count as u64;
                if !meter.advance(count as u64) {
                    return Err(archive::Error::Interrupted.into());
                }
            }
        }
    }
}
