//! This program's own records, and names.

use std::collections::BTreeMap;

use beadm_rs::be::name::{BeName, NewBeName};
use beadm_rs::intent::Intent;
use beadm_rs::marker;
use beadm_rs::survey::{FellBack, Files, Trial};
use beadm_rs::zfs::{DatasetName, Guid, PoolName, SnapshotName};

/// What was read is written as it was read.
pub fn intent(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(intent) = Intent::decode(&text) {
        let written = intent.encode();
        assert_eq!(Intent::decode(&written).as_ref(), Ok(&intent));
        assert!(!intent.undertaking.command().is_empty());
        let _ = intent.undertaking.object();
    }
}

/// What was read is written as it was read, and is never both records.
pub fn trial(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (trial, fell_back) = (Trial::decode(&text), FellBack::decode(&text));
    assert!(trial.is_err() || fell_back.is_err());
    if let Ok(trial) = trial {
        assert_eq!(Trial::decode(&trial.encode()), Ok(trial));
    }
    if let Ok(fell_back) = fell_back {
        let written = fell_back.encode();
        assert!(!written.contains(char::is_control));
        assert_eq!(FellBack::decode(&written), Ok(fell_back));
    }
    if let Ok(files) = Files::decode(&text) {
        assert_eq!(Files::decode(&files.encode()), Ok(files));
    }
}

/// A mark counts with its own guid and no other.
pub fn marker(data: &[u8]) {
    let (guid, text) = match data.split_first_chunk() {
        Some((guid, text)) => (u64::from_le_bytes(*guid), text),
        None => (17, data),
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let read = |value: String, guid| {
        let marks = BTreeMap::from([("pinned".to_owned(), value)]);
        marker::read(&marks, "pinned", Guid(guid)).map(str::to_owned)
    };
    assert_eq!(read(format!("{guid} {text}"), guid), Some(text.clone()));
    assert_eq!(read(format!("{guid} {text}"), guid ^ 1), None);
    if read(text.clone(), guid).is_some() {
        assert_eq!(text.split(' ').next(), Some(guid.to_string().as_str()));
    }
    let _ = marker::is_identity(&text);
}

/// A name is taken as it is or refused, and its parts are names again.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = text.parse::<DatasetName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.len() <= 255);
        assert!(name.is_within(&DatasetName::from(name.pool())));
        assert_eq!(name.pool().as_str().parse(), Ok(name.pool()));
        if let Some(parent) = name.parent() {
            assert_eq!(parent.as_str().parse(), Ok(parent.clone()));
            assert_eq!(parent.child(name.leaf()), Ok(name.clone()));
            let other: DatasetName = "q/r".parse().expect("a name");
            if let Ok(moved) = name.moved(&parent, &other) {
                assert_eq!(moved.moved(&other, &parent), Ok(name.clone()));
            }
        }
        assert_eq!(name.depth(), text.matches('/').count());
    }
    if let Ok(name) = text.parse::<SnapshotName>() {
        assert_eq!(format!("{}@{}", name.dataset(), name.component()), text);
        assert_eq!(name.dataset().as_str().parse(), Ok(name.dataset()));
    }
    if let Ok(name) = text.parse::<PoolName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.parse::<DatasetName>().is_ok());
    }
    if let Ok(name) = text.parse::<NewBeName>() {
        assert_eq!(text.parse::<BeName>().as_ref(), Ok(name.name()));
    }
    if let Ok(name) = text.parse::<BeName>() {
        let beroot: DatasetName = "p/ROOT".parse().expect("a name");
        match name.below(&beroot) {
            Ok(dataset) => assert_eq!(dataset.leaf(), text),
            Err(_) => assert!(text.len() > 200 || text.parse::<NewBeName>().is_err()),
        }
    }
}
