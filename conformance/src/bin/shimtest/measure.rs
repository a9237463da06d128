//! What a shim costs: times beside another shim's, memory against limits.
//!
//! May not: compare figures of different runs, or give a verdict about times on a noisy machine. Memory is no time: its
//! limits hold on every machine.
//!
//! Both shims serve the same bundles with the same runtime and take turns, each round beginning with the other one.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::messages as m;
use serde_json::{Value, json};

use crate::caller::{Call, Dialect};
use crate::command;
use crate::memory::{Figures, LIMITS, of};
use crate::scene::{Bundle, Container, Lab, Scene, process, soon};
use crate::statistics::{Table, Times};

/// Turns that are thrown away, until caches are warm.
const WARM_UP: usize = 3;

/// How many pods are counted, each a shim with two containers.
const PODS: usize = 50;

/// What the judged shim may take of the other's, as a part of one.
const START_SHARE: f64 = 0.5;
const PODS_SHARE: f64 = 0.25;

/// Measures the judged shim beside the other one. The answer says whether the limits held.
pub fn run(lab: &Lab, beside: &Path, rounds: usize) -> Result<ExitCode, String> {
    let labs = [lab.with_shim(beside)?, lab.with_shim(&lab.shim)?];
    println!("{}", describe_machine());
    for lab in &labs {
        println!("{}", lab.version.trim().replace('\n', " "));
    }
    let scenes = [Scene::open(&labs[0])?, Scene::open(&labs[1])?];
    let mut verdict = Verdict::default();

    let lives = lives(&scenes, rounds)?;
    let noisy = lives.start.print() | lives.life.print();
    if !noisy {
        verdict.at_most(
            "median of start, share of the other's",
            share(&lives.start),
            START_SHARE,
        );
    }
    let holders = [hold(&scenes[0], "other")?, hold(&scenes[1], "judged")?];
    let idle = idle(&holders)?;
    verdict.at_most("anonymous, KiB", idle.anonymous as f64, LIMITS.anonymous as f64);
    verdict.at_most("resident, KiB", idle.resident as f64, LIMITS.resident as f64);
    let noisy = execs(&scenes, &holders, rounds)?.print() | noisy;
    for (holder, scene) in holders.iter().zip(&scenes) {
        holder.finish(scene)?;
    }
    let share = pods(&scenes)?;
    verdict.at_most(
        "proportional memory of the pods, share of the other's",
        share,
        PODS_SHARE,
    );
    if noisy {
        println!("\ntoo noisy, no verdict about times");
    }
    Ok(verdict.tell())
}

/// Whether limits held.
#[derive(Default)]
struct Verdict(Vec<(String, bool)>);

impl Verdict {
    fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        let text = format!("{what}: {}, at most {limit}", (value * 100.0).round() / 100.0);
        self.0.push((text, value <= limit));
    }

    fn tell(self) -> ExitCode {
        println!();
        for (text, holds) in &self.0 {
            println!("{} {text}", if *holds { "ok  " } else { "FAIL" });
        }
        if self.0.iter().all(|(_, holds)| *holds) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn describe_machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "kernel {}, {cpus} CPUs, load {}",
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

/// Each shim's times, as many kinds as a turn has.
struct Turns<const KINDS: usize> {
    first: [Vec<Duration>; KINDS],
    second: [Vec<Duration>; KINDS],
    /// How long a program took that does nothing, between the turns. A program of Go varies also on a quiet machine.
    gauge: Vec<Duration>,
}

/// Lets both take turns.
fn rounds<const KINDS: usize>(
    lab: &Lab,
    rounds: usize,
    mut turn: impl FnMut(usize, usize) -> Result<[Duration; KINDS], String>,
) -> Result<Turns<KINDS>, String> {
    let mut times = [const { [const { Vec::new() }; KINDS] }; 2];
    let mut gauge = Vec::new();
    let program = lab.rootfs().join("bin/true");
    for round in 0..WARM_UP + rounds {
        let (idle, status) = timed(|| Command::new(&program).status().map_err(|e| format!("true: {e}")))?;
        if round >= WARM_UP && status.success() {
            gauge.push(idle);
        }
        for place in 0..2 {
            let who = (round + place) % 2;
            let taken = turn(who, round)?;
            if round >= WARM_UP {
                for (list, time) in times[who].iter_mut().zip(taken) {
                    list.push(time);
                }
            }
        }
    }
    let [first, second] = times;
    Ok(Turns { first, second, gauge })
}

fn table(title: &str, scenes: &[Scene; 2], times: [Vec<Duration>; 2], gauge: &[Duration]) -> Table {
    let name = |scene: &Scene| {
        let name = scene.lab.shim.file_name().unwrap_or_default();
        name.display().to_string()
    };
    let rows = scenes.iter().map(name).zip(times.map(Times::new));
    Table {
        title: title.to_owned(),
        rows: rows.collect(),
        gauge: Some(Times::new(gauge.to_vec())),
    }
}

/// The second's median as a part of the first's.
fn share(table: &Table) -> f64 {
    match &table.rows[..] {
        [(_, other), (_, judged)] => judged.median().as_secs_f64() / other.median().as_secs_f64(),
        _ => f64::NAN,
    }
}

struct Lives {
    start: Table,
    life: Table,
}

/// Whole lives: the command `start`, and the three calls by which a container comes and goes.
fn lives(scenes: &[Scene; 2], count: usize) -> Result<Lives, String> {
    let turns = rounds(scenes[0].lab, count, |who, round| {
        one_life(&scenes[who], &format!("life{round}"))
    })?;
    let ([start, life], [its_start, its_life]) = (turns.first, turns.second);
    let title = "start, from the command to the end of its output";
    Ok(Lives {
        start: table(title, scenes, [start, its_start], &turns.gauge),
        life: table(
            "Create + Start + Delete over ttrpc",
            scenes,
            [life, its_life],
            &turns.gauge,
        ),
    })
}

fn one_life(scene: &Scene, id: &str) -> Result<[Duration; 2], String> {
    let bundle = scene.bundle(id, "", |config| config["process"]["args"] = json!(["true"]))?;
    let (start, address) = timed_start(scene, &bundle)?;
    let task = scene.dial(&address)?;
    let path = bundle.path.clone();
    let (create, container) = timed(|| scene.create(&task, bundle, |_| {}))?;
    let (begin, ()) = timed(|| container.start())?;
    container.wait("")?;
    let (delete, _) = timed(|| container.delete(""))?;
    scene.shut_down(&task)?;
    std::fs::remove_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok([start, create + begin + delete])
}

fn timed<T>(act: impl FnOnce() -> Result<T, String>) -> Result<(Duration, T), String> {
    let began = Instant::now();
    let value = act()?;
    Ok((began.elapsed(), value))
}

/// As containerd waits for it: to the end of its output and its own.
fn timed_start(scene: &Scene, bundle: &Bundle) -> Result<(Duration, String), String> {
    let call = Call::new(scene, &bundle.id, &bundle.path).in_dialect(Dialect::Options);
    let mut command: Command = call.command("start");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let (time, output) = timed(|| {
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(&call.stdin);
        }
        child.wait_with_output().map_err(|e| format!("{command:?}: {e}"))
    })?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    Ok((time, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// A container that waits. Its cgroup has its name, so no two may have the same.
fn hold(scene: &Scene, id: &str) -> Result<Container, String> {
    let container = scene.boot(id, "exec sleep 86400")?;
    container.start()?;
    Ok(container)
}

/// The memory of each shim when nothing has been asked of it but one container; the judged one's figures.
fn idle(holders: &[Container; 2]) -> Result<Figures, String> {
    println!("\nmemory of a shim with one container, KiB (smaps_rollup)");
    println!(
        "  {:<28} {:>10} {:>10} {:>12} {:>10}",
        "", "anonymous", "resident", "proportional", "threads"
    );
    let mut judged = None;
    for holder in holders {
        let pid = holder.task.shim_pid(&holder.id)?;
        let figures = settled(pid)?;
        println!(
            "  {:<28} {:>10} {:>10} {:>12} {:>10}",
            crate::memory::name(pid),
            figures.anonymous,
            figures.resident,
            figures.proportional,
            figures.threads
        );
        judged = Some(figures);
    }
    judged.ok_or("nobody was measured".into())
}

/// The figures once they no longer change: a collector of garbage may still be at work.
fn settled(pid: u32) -> Result<Figures, String> {
    let mut last = of(pid)?;
    let mut quiet = 0;
    // Whoever never settles is measured as he is.
    let _ = command::until("its memory settles", soon(), || {
        let now = of(pid);
        quiet = if now.as_ref() == Ok(&last) { quiet + 1 } else { 0 };
        if let Ok(now) = now {
            last = now;
        }
        quiet == 25
    });
    Ok(last)
}

/// Execs of /bin/true as a kubelet's probe makes them, from Exec to the answer of Delete.
fn execs(scenes: &[Scene; 2], holders: &[Container; 2], count: usize) -> Result<Table, String> {
    let turns = rounds(scenes[0].lab, count, |who, round| {
        let name = format!("probe{round}");
        timed(|| exec(&holders[who], &name)).map(|(time, ())| [time])
    })?;
    let ([first], [second]) = (turns.first, turns.second);
    let title = "Exec + Start + Wait + Delete over ttrpc";
    Ok(table(title, scenes, [first, second], &turns.gauge))
}

/// One exec that ends at once.
pub fn exec(container: &Container, name: &str) -> Result<(), String> {
    container.exec(name, "", |request| {
        let mut spec = process("");
        spec["args"] = json!(["true"]);
        request.spec = Some(m::wrap_json("Process", &spec));
    })?;
    container.start_exec(name)?;
    let status = container.wait(name)?;
    if status != 0 {
        return Err(format!("{name} ended with {status}"));
    }
    container.delete(name).map(drop)
}

/// The proportional memory of many pods' shims: the judged one's share of the other's.
fn pods(scenes: &[Scene; 2]) -> Result<f64, String> {
    println!("\nmemory of the shims of {PODS} pods with two containers each, KiB (smaps_rollup)");
    println!(
        "  {:<28} {:>12} {:>10} {:>10}",
        "", "proportional", "resident", "anonymous"
    );
    let mut sums = Vec::new();
    for scene in scenes {
        let pods = (0..PODS).map(|n| pod(scene, n)).collect::<Result<Vec<_>, _>>()?;
        let mut sum = Figures::default();
        let mut name = String::new();
        for [pause, _] in &pods {
            let pid = pause.task.shim_pid(&pause.id)?;
            sum.add(&of(pid)?);
            name = crate::memory::name(pid);
        }
        println!(
            "  {name:<28} {:>12} {:>10} {:>10}",
            sum.proportional, sum.resident, sum.anonymous
        );
        sums.push(sum.proportional as f64);
        for [pause, member] in &pods {
            member.end()?;
            pause.finish(scene)?;
        }
    }
    match sums[..] {
        [other, judged] => Ok(judged / other),
        _ => Err("both shims are needed".into()),
    }
}

fn pod(scene: &Scene, number: usize) -> Result<[Container; 2], String> {
    let of_pod = |config: &mut Value| {
        config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": format!("pod{number}")});
    };
    let pause = scene.boot_with(&format!("pod{number}"), "exec sleep 86400", of_pod, |_| {})?;
    pause.start()?;
    let member = scene.bundle(&format!("member{number}"), "exec sleep 86400", of_pod)?;
    let address = scene.start(&member)?;
    if Path::new(address.trim_start_matches("unix://")) != pause.task.socket {
        return Err(format!("member{number} was sent to {address}"));
    }
    let member = scene.create(&pause.task, member, |_| {})?;
    member.start()?;
    Ok([pause, member])
}
