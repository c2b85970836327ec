//! Environments that leave a machine as an archive, and come in again.

use std::io::{self, Cursor, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use beadm_rs::archive::Input;
use beadm_rs::be::{BeName, NewBeName};
use beadm_rs::execute::freight::{Freight, Outlet};
use beadm_rs::execute::{Quiet, execute_with};
use beadm_rs::plan::{create, export, import};
use beadm_rs::survey::{Around, Survey};
use beadm_rs::zfs::sim::Sim;

use super::deed::{Asked, asked};
use super::machine;

/// What is written, for whoever asks.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outlet for Written {
    fn keep(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The archive of an environment, made elsewhere by a machine like this one; `None` where
/// it cannot be exported.
pub fn archive(sim: &Sim, name: &BeName) -> Option<Vec<u8>> {
    let host = machine::host(&sim.fork().unwrap());
    let around = Around {
        properties: true,
        ..Around::one(name)
    };
    let survey = Survey::around(&host, &around).unwrap();
    let request = export::Request {
        from: create::From {
            environment: Some(name.clone()),
            snapshot: None,
        },
        since: None,
        form: export::Form::Archive { zstd: false },
        to: "memory".to_owned(),
    };
    let plan = export::plan(&survey, &request, &export::Facts::default()).ok()?;
    let written = Written::default();
    let mut freight = Freight {
        output: Some(Box::new(written.clone())),
        ..Freight::default()
    };
    execute_with(&host, &plan, &Quiet, &AtomicBool::new(false), &mut freight)
        .unwrap_or_else(|failure| panic!("{failure}\n{plan:#?}"));
    let archive = written.0.lock().unwrap().clone();
    Some(archive)
}

fn open(archive: &[u8]) -> Input {
    Input::open(Box::new(Cursor::new(archive.to_vec()))).unwrap()
}

/// `import NAME`.
pub fn import(name: NewBeName, archive: Vec<u8>) -> Asked {
    let named = name.name().clone();
    let request = import::Request {
        name: Some(name),
        offer: open(&archive).offer().clone(),
        resume: false,
    };
    Asked {
        freight: Box::new(move || Freight {
            input: Some(open(&archive)),
            ..Freight::default()
        }),
        ..asked(&[&named], Around::default(), move |survey| {
            import::plan(survey, &request, &import::Facts::default())
        })
    }
}
