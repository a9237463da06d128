//! How much memory each runtime takes at its peak.
//!
//! May not: use `ru_maxrss`, which a process inherits from whoever started it. The kernel's own high-water mark
//! of the process's present image (VmHWM of /proc/PID/status) is read while the process waits.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::contest::Holder;
use crate::stage::{Runtime, Stage};

const PATIENCE: Duration = Duration::from_secs(10);

/// Prints one line for each runtime.
pub fn report(stage: &Stage) -> Result<(), String> {
    println!("\npeak resident memory, KiB (VmHWM)");
    println!("  {:<28} {:>10} {:>14} {:>10}", "", "run", "parked init", "exec");
    for runtime in &stage.runtimes {
        let run = peak_of_run(stage, runtime)?;
        let parked = Holder::create(stage, runtime)?;
        let init = high_water_mark(parked.pid)?;
        drop(parked);
        let exec = peak_of_exec(stage, runtime)?;
        println!("  {:<28} {run:>10} {init:>14} {exec:>10}", runtime.name);
    }
    Ok(())
}

/// The process of `run`, while its container waits.
fn peak_of_run(stage: &Stage, runtime: &Runtime) -> Result<u64, String> {
    let mut command = stage.silent(runtime);
    let id = "bench-memory";
    command
        .arg("run")
        .arg("--bundle")
        .arg(&stage.waiting_bundle)
        .arg(id);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let peak = settled_peak(&mut child, || {
        let state = stage.command(runtime).args(["state", id]).output();
        state.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("\"running\""))
    });
    end(stage, runtime, id)?;
    child.wait().map_err(|e| e.to_string())?;
    // Where the foreground process did not clean up after itself, somebody has to.
    stage
        .silent(runtime)
        .args(["delete", "--force", id])
        .status()
        .map_err(|e| e.to_string())?;
    peak
}

/// The process of `exec`, while the command in the container waits.
fn peak_of_exec(stage: &Stage, runtime: &Runtime) -> Result<u64, String> {
    let holder = Holder::start(stage, runtime)?;
    let mut child = stage
        .silent(runtime)
        .args(["exec", &holder.id, "/bin/true", "wait"])
        .spawn()
        .map_err(|e| e.to_string())?;
    let peak = settled_peak(&mut child, || {
        let pids = stage
            .command(runtime)
            .args(["ps", "--format", "json", &holder.id])
            .output();
        pids.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).matches(',').count() == 1)
    });
    end(stage, runtime, &holder.id)?;
    child.wait().map_err(|e| e.to_string())?;
    peak
}

fn end(stage: &Stage, runtime: &Runtime, id: &str) -> Result<(), String> {
    let mut kill: Command = stage.silent(runtime);
    kill.args(["kill", id, "KILL"])
        .status()
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// The high-water mark of a process as soon as it has nothing left to do but wait.
fn settled_peak(child: &mut Child, settled: impl Fn() -> bool) -> Result<u64, String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Err(format!("ended before it was measured: {status}"));
        }
        if settled() {
            return high_water_mark(child.id());
        }
    }
    Err(format!("its container did not run within {PATIENCE:?}"))
}

/// VmHWM of a process, in KiB.
fn high_water_mark(pid: u32) -> Result<u64, String> {
    let file = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|n| n.trim().parse().ok());
    number.ok_or(format!("{file}: no VmHWM"))
}
