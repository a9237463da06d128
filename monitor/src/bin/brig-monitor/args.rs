//! The command line, which only brig writes.

use std::ffi::OsString;
use std::path::PathBuf;

use monitor::place::Place;

/// What it says.
#[derive(Debug)]
pub struct Args {
    pub place: Place,
    /// The socket of who has started us.
    pub report: Option<i32>,
    /// How many descriptors follow it.
    pub handed: i32,
    /// The container runs, and its monitor was killed.
    pub adopt: bool,
    /// Who can start it again, when it was adopted.
    pub brig: Option<PathBuf>,
}

/// Reads it.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Args, String> {
    let mut words = words;
    let mut adopt = false;
    let (mut root, mut run, mut report, mut handed, mut id, mut brig) = (None, None, None, 0, None, None);
    while let Some(word) = words.next() {
        let flag = word.to_string_lossy().into_owned();
        let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--root" => root = Some(PathBuf::from(value()?)),
            "--adopt" => adopt = true,
            "--brig" => brig = Some(PathBuf::from(value()?)),
            "--run" => run = Some(PathBuf::from(value()?)),
            "--report" => {
                let number = value()?.to_string_lossy().parse();
                report = Some(number.map_err(|_| "--report needs the number of a descriptor")?);
            }
            "--handed" => {
                let number = value()?.to_string_lossy().parse();
                handed = number.map_err(|_| "--handed needs a number of descriptors")?;
            }
            other if other.starts_with('-') => return Err(format!("unknown flag {other}")),
            _ => id = Some(flag),
        }
    }
    match (root, run, id) {
        (Some(root), Some(run), Some(id)) => Ok(Args {
            place: Place::of(&root, &run, &id),
            report,
            handed,
            adopt,
            brig,
        }),
        _ => Err(
            "it is started by brig: --root ROOT --run RUN [--report FD] [--adopt] [--brig PROGRAM] ID".into(),
        ),
    }
}
