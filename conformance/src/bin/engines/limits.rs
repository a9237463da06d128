//! The runtime alone under a tight memory limit, and what it takes itself.
//!
//! May not: put any engine between.

use std::process::Command;

use crate::case::{Case, Compare, Need, Scene};
use crate::command::{self, USUAL};

type Done = Result<(), String>;

pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "limits.memory-512-kib",
        need: Need::Nothing,
        compare: Compare::No,
        act: tight_memory,
    }]
}

/// create and start of a static program under 512 KiB must not need luck.
fn tight_memory(s: &mut Scene) -> Done {
    const TRIES: usize = 20;
    let bundle = s.lab.dir.join("tight-bundle");
    let bin = bundle.join("rootfs/bin");
    std::fs::create_dir_all(&bin).map_err(|e| e.to_string())?;
    let source = bundle.join("true.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").map_err(|e| e.to_string())?;
    let mut cc = Command::new("cc");
    command::run(
        cc.args(["-O2", "-static", "-o"])
            .arg(bin.join("true"))
            .arg(&source),
        "",
        USUAL,
    )?
    .ok()?;
    let runtime = s.lab.runtime(s.role).to_owned();
    let call = |words: &[&str]| {
        command::run(
            Command::new(&runtime).args(["--root", "/run/tight"]).args(words),
            "",
            USUAL,
        )
    };
    let directory = bundle.display().to_string();
    if !bundle.join("config.json").exists() {
        call(&["spec", "--bundle", &directory])?.ok()?;
    }
    let file = bundle.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let mut config: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = vec!["/bin/true"].into();
    config["linux"]["resources"]["memory"]["limit"] = (512 * 1024).into();
    std::fs::write(&file, config.to_string()).map_err(|e| e.to_string())?;

    let mut problems = Vec::new();
    for round in 0..TRIES {
        let id = format!("tight-{round}");
        let done = call(&["create", "--bundle", &directory, &id])
            .and_then(|o| o.ok())
            .and_then(|_| call(&["start", &id])?.ok());
        if let Err(why) = done {
            problems.push(why);
        }
        call(&["delete", "--force", &id])?;
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} of {TRIES} worked; the first problem: {}",
        TRIES - problems.len(),
        problems[0]
    ))
}
