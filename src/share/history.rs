//! The snapshots that activations took of what is shared: which activation each
//! belongs to, and which are kept; pure.
//!
//! The mark is that of every operation (`org.beadm-rs:op`, the operation's id and
//! a purpose), with which environment was activated: by its guid, and by the name
//! it had then, since it may be gone.

use std::fmt;

use crate::intent::OpId;
use crate::marker;
use crate::zfs::{Dataset, Guid, Snapshot};

/// The activations whose snapshots are kept.
pub const KEPT: usize = 3;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// `activate`.
    Activate,
    /// `failback`.
    Failback,
}

impl Deed {
    /// As a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Failback => "failback",
        }
    }
}

/// One activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The operation.
    pub id: OpId,
    /// Forwards or back.
    pub deed: Deed,
    /// The environment.
    pub target: Guid,
    /// What that was called.
    pub name: String,
}

impl Activation {
    /// The text of the mark.
    #[must_use]
    pub fn encode(&self) -> String {
        // A text in JSON, so that no name ends like another mark's purpose.
        let name = serde_json::Value::from(self.name.as_str());
        format!("{} {} {} {name}", self.id, self.deed.as_str(), self.target)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let id = parts.next()?.parse().ok()?;
        let deed = match parts.next()? {
            "activate" => Deed::Activate,
            "failback" => Deed::Failback,
            _ => return None,
        };
        let target = parts.next()?.parse().ok()?;
        let name = serde_json::from_str(parts.next()?).ok()?;
        Some(Self {
            id,
            deed,
            target,
            name,
        })
    }

    /// The activation a snapshot was taken for.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        Self::decode(marker::read(&snapshot.marks, "op", snapshot.guid)?)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.deed {
            Deed::Activate => "",
            Deed::Failback => "to ",
        };
        write!(f, "{} {to}{}", self.deed.as_str(), self.name)
    }
}

/// One activation with its snapshots, that of the shared dataset first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Which.
    pub activation: Activation,
    /// Its snapshots.
    pub snapshots: Vec<&'a Snapshot>,
}

impl Taken<'_> {
    /// Bytes that only one of them refers to: so much at least comes free.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.used).sum()
    }

    /// When they were taken, seconds since the epoch.
    #[must_use]
    pub fn creation(&self) -> i64 {
        let times = self.snapshots.iter().map(|snapshot| snapshot.creation);
        times.max().unwrap_or_default()
    }
}

/// The activations that have a snapshot of the first dataset, the newest first.
#[must_use]
pub fn activations(datasets: &[Dataset]) -> Vec<Taken<'_>> {
    let Some((share, others)) = datasets.split_first() else {
        return Vec::new();
    };
    let mut taken: Vec<Taken<'_>> = Vec::new();
    for snapshot in share.snapshots.iter().rev() {
        if let Some(activation) = Activation::of(snapshot) {
            taken.push(Taken {
                activation,
                snapshots: vec![snapshot],
            });
        }
    }
    for snapshot in others.iter().flat_map(|dataset| &dataset.snapshots) {
        let Some(activation) = Activation::of(snapshot) else {
            continue;
        };
        if let Some(one) = taken.iter_mut().find(|one| one.activation == activation) {
            one.snapshots.push(snapshot);
        }
    }
    taken
}

/// The snapshots of activations before the last few, and those left of one that
/// the shared dataset has none of: what may go, if nobody holds it.
#[must_use]
pub fn outdated(datasets: &[Dataset]) -> Vec<&Snapshot> {
    let kept: Vec<OpId> = activations(datasets)
        .iter()
        .take(KEPT)
        .map(|taken| taken.activation.id)
        .collect();
    datasets
        .iter()
        .flat_map(|dataset| &dataset.snapshots)
        .filter(|snapshot| snapshot.holds == 0 && snapshot.clones.is_empty())
        .filter(|snapshot| Activation::of(snapshot).is_some_and(|one| !kept.contains(&one.id)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_names_the_activation_and_ends_like_no_other() {
        let activation = Activation {
            id: OpId::from_bits(0xabc),
            deed: Deed::Activate,
            target: Guid(17),
            name: "before a \"create\"".to_owned(),
        };
        let text = activation.encode();
        assert_eq!(
            text,
            r#"0000000000000abc activate 17 "before a \"create\"""#
        );
        assert_eq!(Activation::decode(&text), Some(activation));
        for other in [
            "0000000000000abc create",
            "0000000000000abc share",
            "0000000000000abc activate",
            "0000000000000abc activate x \"a\"",
            "0000000000000abc activate 17 a",
            "",
        ] {
            assert_eq!(Activation::decode(other), None, "{other}");
        }
    }
}
