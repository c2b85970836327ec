//! Streams that come in: the whole of one, or the rest of one that broke off.

use std::io;

use tracing::info;

use super::super::Cause;
use super::{FreightError, input};
use crate::archive::resume::Rest;
use crate::archive::token::Token;
use crate::archive::{self, Input};
use crate::host::Host;
use crate::plan::import::{Piece, Receiving};
use crate::zfs::{Guard, Guid, Incoming, Meter, SnapshotName, SyncOp};

/// Receives everything, sees that the input is whole, and looks at what has come of it.
pub(super) fn all(
    host: &Host,
    from: &mut Input,
    receiving: &Receiving,
    meter: &dyn Meter,
) -> Result<(), Cause> {
    if receiving.package {
        package(host, from, receiving, meter)?;
    } else {
        for piece in &receiving.pieces {
            one(host, from, piece, receiving.keep, meter)?;
        }
    }
    from.finish().map_err(input)?;
    arrived(host, receiving)
}

/// Receives the next stream as that, or its rest.
fn stream(
    host: &Host,
    from: &mut Input,
    incoming: &Incoming,
    guid: Guid,
    mut rest: Option<Rest>,
    meter: &dyn Meter,
) -> Result<(), Cause> {
    let mut read = Ok(());
    let (mut came, mut given, mut out) = (0, 0, Vec::new());
    let received = host.zfs.receive(incoming, &mut |to| {
        let mut written = Ok(());
        read = from.stream(Some(guid), &mut |part| {
            let passed = match &mut rest {
                None => part,
                Some(rest) => {
                    out.clear();
                    rest.push(part, &mut out)?;
                    out.as_slice()
                }
            };
            came += part.len() as u64;
            given += passed.len() as u64;
            written = to.write_all(passed);
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
    info!(target = %incoming.target, came, given, "bytes of a stream");
    match received {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match read {
            Err(read) => input(read),
            Ok(()) => input(archive::Error::Io(error)),
        }),
        // What is wrong with the input is why the receiver had to give up.
        Err(error) => Err(match read {
            Err(
                read @ (archive::Error::Damaged(_)
                | archive::Error::Refused(_)
                | archive::Error::Point(_)),
            ) => input(read),
            _ => error.into(),
        }),
    }
}

fn one(
    host: &Host,
    from: &mut Input,
    piece: &Piece,
    keep: bool,
    meter: &dyn Meter,
) -> Result<(), Cause> {
    if piece.there {
        return from.skip(&mut |bytes| meter.advance(bytes)).map_err(input);
    }
    let (component, guid) = piece.snapshots.first().ok_or(FreightError::Nothing)?;
    let incoming = Incoming {
        target: snapshot(piece, component)?,
        settings: piece.settings.clone(),
        origin: piece.origin.clone(),
        keep,
    };
    if piece.begun.is_none() {
        return stream(host, from, &incoming, *guid, None, meter);
    }
    let begun = begun(host, piece)?;
    let received = match begun.point {
        Ok(token) => {
            let rest = Some(Rest::new(token));
            stream(host, from, &incoming, *guid, rest, meter)
        }
        Err(error) => Err(input(error)),
    };
    match received {
        // Nothing of it was given to the receiver.
        Err(Cause::Freight(FreightError::Input(archive::Error::Point(why)))) => {
            let away = SyncOp::Destroy {
                object: piece.target.to_string(),
                guard: Guard::Guid(begun.guid),
                missing_ok: true,
            };
            host.zfs.transact(&piece.target.pool(), &[away])?;
            let dataset = piece.target.clone();
            Err(FreightError::Lost { dataset, why }.into())
        }
        other => other,
    }
}

/// What is there of a dataset.
struct Begun {
    guid: Guid,
    point: Result<Token, archive::Error>,
}

/// Looks once more: who received it may have gone on until now.
fn begun(host: &Host, piece: &Piece) -> Result<Begun, Cause> {
    let found = host.zfs.tree(std::slice::from_ref(&piece.target), false)?;
    let dataset = found.iter().find(|it| it.name == piece.target);
    let gone = || FreightError::Arrived(format!("{} is not there any more", piece.target));
    let dataset = dataset.ok_or_else(gone)?;
    let point = match &dataset.token {
        Some(token) => Token::parse(token),
        None => Err(archive::Error::damaged("it has no token any more")),
    };
    Ok(Begun {
        guid: dataset.guid,
        point: point.map_err(|error| archive::Error::Point(error.to_string())),
    })
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
            keep: false,
        };
        stream(host, from, &incoming, begin.guid, None, meter)?;
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
