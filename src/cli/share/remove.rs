//! `share remove`.

use std::cell::RefCell;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::context::{Context, Report};
use super::super::error::Trouble;
use super::list::{self, content};
use super::{all, plain, unseen};
use crate::host::Host;
use crate::plan::share::remove;
use crate::share::find::{self, Share};
use crate::share::{DIRECTORY, look};
use crate::survey::{Scope, Survey};

/// Move shared directories back into the running environment
///
/// The opposite of 'share add': each is copied out of the shared dataset with
/// everything, compared, and switched in one rename. What was shared is kept in the
/// shared dataset until 'share confirm'. Refused where another environment leads
/// there too, and where it is in use.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave it shared for the other environments; the running one gets a copy
    #[arg(long, conflicts_with = "discard_old")]
    only_here: bool,

    /// Although it is in use: what is written through open files stays behind
    #[arg(long)]
    force: bool,

    /// Keep nothing of what was shared
    #[arg(long)]
    discard_old: bool,

    /// The shared directories
    #[arg(value_name = "PATH", required = true)]
    pub(super) paths: Vec<Utf8PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let paths = all(&args.paths, plain)?;
    super::each(
        context,
        "share-remove",
        &paths,
        "is not shared any more",
        |path| one(context, args, path),
    )
}

fn one(context: &Context, args: &Args, path: &Utf8Path) -> Result<Report, Trouble> {
    let picture = RefCell::new(None);
    context.change(
        |host| {
            // Of all environments: which of them lead there decides.
            let survey = Survey::take(host, Scope::Change)?;
            let share = find::find(host, &survey, None)?;
            let request = request(host, &survey, share.as_ref(), args, path)?;
            picture.replace(Some((share, request)));
            Ok(survey)
        },
        |survey| match &*picture.borrow() {
            Some((share, request)) => remove::plan(survey, share.as_ref(), request),
            None => unseen(),
        },
        |_| None,
    )
}

fn request(
    host: &Host,
    survey: &Survey,
    share: Option<&Share>,
    args: &Args,
    path: &Utf8Path,
) -> Result<remove::Request, Trouble> {
    let mut request = remove::Request {
        seen: look::look(host, survey, path)?,
        content: None,
        holders: Vec::new(),
        others: Vec::new(),
        unseen: Vec::new(),
        only_here: args.only_here,
        force: args.force,
        discard_old: args.discard_old,
    };
    let found = share.and_then(|share| Some((share, share.record.as_ref()?.find(path)?)));
    let Some((share, entry)) = found else {
        return Ok(request);
    };
    let name = Utf8Path::new(&entry.name);
    for directory in [Utf8Path::new(DIRECTORY).join(name), path.to_owned()] {
        let dataset = &share.dataset.name;
        let holders = host
            .platform
            .holders(dataset, name, &directory, Some(path))?;
        request.holders.extend(holders);
    }
    request.content = content(host, share, entry)?;
    for environment in survey.environments().filter(|one| !one.is_running()) {
        let name = environment.name().to_owned();
        match list::leads(host, survey, share, entry, &environment)? {
            Some(true) => request.others.push(name),
            Some(false) => {}
            None => request.unseen.push(name),
        }
    }
    Ok(request)
}
