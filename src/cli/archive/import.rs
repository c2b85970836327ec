//! `import`.

use std::cell::Cell;
use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::export::architecture;
use super::inlet;
use crate::archive::Input;
use crate::be::NewBeName;
use crate::cli::context::{Context, Report};
use crate::cli::error::{BUSY, FAILED, Trouble};
use crate::execute::freight::Freight;
use crate::host::Host;
use crate::plan::import::{self, Facts, left_by_a_try};
use crate::survey::{Around, Scope, Survey};
use crate::zfs::PoolName;

/// Make a boot environment from an archive, or from a stream of zfs send
///
/// Takes what 'beadm-rs export' writes, and what zfs send, zfs send -R and FreeBSD's
/// bectl export write, each also packed by zstd. It is received under another name
/// and looked at; the environment is there when all of it is. It is neither mounted
/// nor activated. What fails leaves nothing behind. A /boot from a pool of its own goes
/// where the environments here have theirs, or below the root.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this file; else standard input
    #[arg(short = 'i', long = "input", value_name = "FILE")]
    input: Option<Utf8PathBuf>,

    /// If it fails, keep what has arrived; and go on from there after a try that failed, with
    /// the same archive
    #[arg(long)]
    resume: bool,

    /// Say what is in it, and do nothing else
    #[arg(long, conflicts_with_all = ["resume", "name"])]
    info: bool,

    /// What to call it; the archive says it where it is not said here
    #[arg(value_name = "NAME")]
    name: Option<NewBeName>,
}

impl Args {
    /// The archive it only looks at.
    pub(in crate::cli) fn looked_at(&self) -> Option<Option<&Utf8Path>> {
        self.info.then_some(self.input.as_deref())
    }

    pub(in crate::cli) fn purpose(&self) -> String {
        match &self.name {
            Some(name) => format!("import {}", name.name()),
            None => "import an environment".to_owned(),
        }
    }
}

pub(in crate::cli) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if !context.dry_run {
        context.only_root()?;
    }
    let input = inlet::open(args.input.as_deref(), context.interruption.asked())?;
    let report = import(context, args.name.clone(), input, args.resume)?;
    context.report("import", &report)
}

/// Makes an environment of an input.
///
/// # Errors
/// A refusal, or how it failed.
pub fn import(
    context: &Context,
    name: Option<NewBeName>,
    input: Input,
    resume: bool,
) -> Result<Report, Trouble> {
    let request = import::Request {
        name,
        offer: input.offer().clone(),
        resume,
    };
    let mut freight = Freight {
        input: Some(input),
        ..Freight::default()
    };
    // What a difference is to may be anywhere.
    let differs = request.offer.datasets.iter().any(|it| it.base.is_some());
    let around = Around {
        named: left_by_a_try(&request.offer).into_iter().collect(),
        ..Around::default()
    };
    let look = |host: &Host| {
        Ok(if differs {
            Survey::take(host, Scope::Change)?
        } else {
            Survey::around(host, &around)?
        })
    };
    let partly = Cell::new(true);
    // What ZFS does not answer is refused as what it does not have.
    let plan = |survey: &Survey| {
        let facts = facts(&context.host, survey, &request);
        partly.set(facts.whole_only.is_none());
        import::plan(survey, &request, &facts)
    };
    context
        .change_with(look, plan, &mut freight)
        .map_err(|trouble| {
            if resume && [FAILED, BUSY].contains(&trouble.exit) {
                let state = match partly.get() {
                    true => "what has arrived stays; nothing else was changed",
                    false => "the datasets that arrived whole stay; nothing else was changed",
                };
                trouble
                    .state(state)
                    .remedy("the same command goes on; or destroy what 'beadm-rs list' shows of it")
            } else {
                trouble
            }
        })
}

fn facts(host: &Host, survey: &Survey, request: &import::Request) -> Facts {
    let offer = &request.offer;
    let lacking = |(pool, needs): (PoolName, Vec<String>)| {
        let lacking = host.zfs.lacking_features(&pool, &needs).unwrap_or(needs);
        (pool, lacking)
    };
    let needed = import::needed(survey, offer);
    let names = offer.datasets.iter().flat_map(|it| &it.properties);
    let names: BTreeSet<&String> = names.map(|(name, _)| name).collect();
    Facts {
        lacking: needed.iter().cloned().map(lacking).collect(),
        unknown: names
            .into_iter()
            .filter(|name| !host.zfs.knows_property(name).unwrap_or(true))
            .cloned()
            .collect(),
        architecture: architecture().to_owned(),
        whole_only: needed
            .iter()
            .map(|(pool, _)| pool)
            .find(|pool| request.resume && keeps_whole_only(host, pool))
            .cloned(),
    }
}

/// A pool that keeps nothing that arrived in part.
fn keeps_whole_only(host: &Host, pool: &PoolName) -> bool {
    let lacking = host
        .zfs
        .lacking_features(pool, &["extensible_dataset".to_owned()]);
    lacking.map_or(true, |lacking| !lacking.is_empty())
}
