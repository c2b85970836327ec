//! `export` and `import`.

use std::io::{self, IsTerminal as _};

use super::super::stream;
use super::super::{Done, Stop, environment};
use super::{USAGE, code, miscounted, named};
use crate::cli::context::Context;

/// The one name that both take.
fn name(words: &[String]) -> Result<&str, Stop> {
    match named(words).1 {
        [name] => Ok(name),
        [] => Err(miscounted(words, "missing boot environment name")),
        _ => Err(miscounted(words, "extra arguments provided")),
    }
}

/// A terminal where there has to be a file or a pipe: no usage is printed here.
fn terminal(words: &[String], what: &str) -> Stop {
    let line = format!("bectl {}: {what}", named(words).0);
    Stop::Failed(USAGE, vec![line], None)
}

/// `export be`: a stream of its root dataset, to standard output. It fails where the
/// stream does, which bectl's does not say.
pub(super) fn export(context: &Context, words: &[String]) -> Done {
    let name = name(words)?;
    if io::stdout().is_terminal() {
        return Err(terminal(words, "must redirect output"));
    }
    let exported =
        environment(context, name).and_then(|name| stream::export(context, &name, &|_| ()));
    exported.map(|()| 0).map_err(code::failed)
}

/// `import be`: a stream from standard input.
pub(super) fn import(context: &Context, words: &[String]) -> Done {
    let name = name(words)?;
    if io::stdin().is_terminal() {
        return Err(terminal(words, "input can not be from terminal"));
    }
    stream::import(context, name)
        .map(|()| 0)
        .map_err(code::failed)
}
