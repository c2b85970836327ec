//! Streams between datasets and what is no dataset: an archive that is read or
//! written.

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
use crate::plan::import::{Piece, Receiving};
use crate::zfs::{Guid, Incoming, Meter, Outgoing, SnapshotName};

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
        if receiving.package {
            package(host, from, receiving, meter)?;
        } else {
            for piece in &receiving.pieces {
                one(host, from, piece, meter)?;
            }
        }
        from.finish().map_err(input)?;
        arrived(host, receiving)
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

/// Receives the next stream as that.
fn stream(
    host: &Host,
    from: &mut Input,
    incoming: &Incoming,
    guid: Guid,
    meter: &dyn Meter,
) -> Result<(), Cause> {
    let mut read = Ok(());
    let received = host.zfs.receive(incoming, &mut |to| {
        let mut written = Ok(());
        read = from.stream(Some(guid), &mut |part| {
            written = to.write_all(part);
            match &written {
                Ok(()) if meter.advance(part.len() as u64) => Ok(()),
                Ok(()) => Err(archive::Error::Interrupted),
                Err(error) => Err(io::Error::from(error.kind()).into()),
            }
        });
        written?;
        match &read {
            Ok(()) => Ok(()),
            // Why, is known here.
            Err(_) => Err(io::Error::other("the input ended")),
        }
    });
    match received {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match read {
            Err(read) => input(read),
            Ok(()) => input(archive::Error::Io(error)),
        }),
        // What is wrong with the input is why the receiver had to give up.
        Err(error) => Err(match read {
            Err(read @ (archive::Error::Damaged(_) | archive::Error::Refused(_))) => input(read),
            _ => error.into(),
        }),
    }
}

fn one(host: &Host, from: &mut Input, piece: &Piece, meter: &dyn Meter) -> Result<(), Cause> {
    if piece.there {
        return from.skip(&mut |bytes| meter.advance(bytes)).map_err(input);
    }
    let (component, guid) = piece.snapshots.first().ok_or(FreightError::Nothing)?;
    let incoming = Incoming {
        target: snapshot(piece, component)?,
        settings: piece.settings.clone(),
        origin: piece.origin.clone(),
    };
    stream(host, from, &incoming, *guid, meter)
}

fn snapshot(piece: &Piece, component: &str) -> Result<SnapshotName, Cause> {
    let named = piece.target.snapshot(component);
    named.map_err(|error| FreightError::Arrived(error.to_string()).into())
}

/// What `zfs send -R` wrote: each dataset with its snapshots one after the other, and
/// clones of what came before.
fn package(
    host: &Host,
    from: &mut Input,
    receiving: &Receiving,
    meter: &dyn Meter,
) -> Result<(), Cause> {
    let mut arrived: Vec<(Guid, SnapshotName)> = Vec::new();
    while let Some(begin) = from.upcoming().map_err(input)? {
        let refused = |why: String| input(archive::Error::Refused(why));
        let source = begin.name.dataset();
        let mut pieces = receiving.pieces.iter();
        let piece = pieces
            .find(|piece| piece.source == source)
            .ok_or_else(|| refused(format!("{source} is in it, and not in its list")))?;
        let component = begin.name.component();
        if !piece
            .snapshots
            .contains(&(component.to_owned(), begin.guid))
        {
            return Err(refused(format!(
                "{} is in it, and not in its list",
                begin.name
            )));
        }
        let target = snapshot(piece, component)?;
        let base = match begin.base {
            None => None,
            Some(base) => {
                let mut known = arrived.iter();
                let found = known.find(|(guid, _)| *guid == base).ok_or_else(|| {
                    refused(format!(
                        "{} is the difference to what is not in it",
                        begin.name
                    ))
                })?;
                Some(found.1.clone())
            }
        };
        // The next snapshot of what is there, or something new.
        let next = base
            .as_ref()
            .is_some_and(|base| base.dataset() == piece.target);
        let incoming = Incoming {
            target: target.clone(),
            settings: if next {
                Vec::new()
            } else {
                piece.settings.clone()
            },
            origin: base.filter(|_| !next),
        };
        stream(host, from, &incoming, begin.guid, meter)?;
        arrived.push((begin.guid, target));
    }
    Ok(())
}

/// Exactly what was to come is there.
fn arrived(host: &Host, receiving: &Receiving) -> Result<(), Cause> {
    let wrong = |why: String| Err(FreightError::Arrived(why).into());
    let found = host.zfs.tree(&receiving.staging, true)?;
    for piece in &receiving.pieces {
        let mut datasets = found.iter();
        let Some(dataset) = datasets.find(|dataset| dataset.name == piece.target) else {
            return wrong(format!("{} is missing", piece.target));
        };
        for (component, guid) in &piece.snapshots {
            let mut snapshots = dataset.snapshots.iter();
            if !snapshots.any(|it| it.name.component() == component && it.guid == *guid) {
                return wrong(format!("{}@{component} is missing", piece.target));
            }
        }
    }
    match found.len() == receiving.pieces.len() {
        true => Ok(()),
        false => wrong(format!(
            "there are {} datasets and not {}",
            found.len(),
            receiving.pieces.len()
        )),
    }
}
