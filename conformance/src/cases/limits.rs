//! Every limit of cgroup version 2 in one table: what config.json asks for, the file that it becomes, and what that file says then.
//! Each row is asked four times, by both drivers, when the container is created and by `update`; under systemd the kernel is
//! asked once more after a daemon-reload, at which systemd writes what it believes.
//!
//! May not: look at more than files and properties. What a limit does to a process is in `cgroup2`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::systemd::{properties, systemctl};
use crate::case::{Case, Level, Need, Step};
use crate::config::Setup;
use crate::world::{Call, Ended, Output, Trouble, World, find_done, require};

/// Who makes the cgroup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    Cgroupfs,
    Systemd,
}

/// When the container is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Create,
    Update,
}

/// What is asked of one container at once.
struct Round {
    /// What it has been created with, where that matters.
    before: Value,
    rows: Vec<Row>,
    /// What the error says where it is refused.
    refused: &'static [&'static str],
}

/// A line of the table.
struct Row {
    /// Below `linux.resources`; null where another row asks for it already.
    ask: Value,
    file: &'static str,
    says: Says,
    /// The same for kernels that do not have the file.
    instead: Option<(&'static str, String)>,
    /// What `systemctl show` says.
    told: Option<(&'static str, &'static str)>,
    /// systemd has no property for it, and writes its own value at every daemon-reload, which the case beside this one may ask for.
    fleeting: bool,
}

enum Says {
    /// One line of the file is this.
    Line(String),
    /// A line of the file begins so.
    Begins(&'static str),
    /// No line of the file begins so.
    NothingOf(String),
}

impl Row {
    fn told(self, property: &'static str, value: &'static str) -> Row {
        Row {
            told: Some((property, value)),
            ..self
        }
    }

    fn fleeting(self) -> Row {
        Row {
            fleeting: true,
            ..self
        }
    }
}

fn row(ask: Value, file: &'static str, line: &str) -> Row {
    Row {
        ask,
        file,
        says: Says::Line(line.to_owned()),
        instead: None,
        told: None,
        fleeting: false,
    }
}

fn round(rows: Vec<Row>) -> Round {
    after(Value::Null, rows)
}

fn after(before: Value, rows: Vec<Row>) -> Round {
    Round {
        before,
        rows,
        refused: &[],
    }
}

fn refused(ask: Value, error: &'static [&'static str]) -> Round {
    Round {
        refused: error,
        ..round(vec![row(ask, "", "")])
    }
}

type Rounds = Result<Vec<Round>, Trouble>;

fn memory() -> Rounds {
    let of = |memory: Value| json!({"memory": memory});
    let both = of(json!({"limit": 67_108_864, "swap": 67_108_864}));
    Ok(vec![
        round(vec![
            row(of(json!({"limit": 67_108_864})), "memory.max", "67108864").told("MemoryMax", "67108864"),
            row(of(json!({"reservation": 33_554_432})), "memory.low", "33554432")
                .told("MemoryLow", "33554432"),
            // Configured with memory, counted without.
            row(of(json!({"swap": 100_663_296})), "memory.swap.max", "33554432")
                .told("MemorySwapMax", "33554432"),
        ]),
        round(vec![
            row(both.clone(), "memory.swap.max", "0").told("MemorySwapMax", "0"),
        ]),
        after(
            both.clone(),
            vec![row(of(json!({"swap": -1})), "memory.swap.max", "max").told("MemorySwapMax", "infinity")],
        ),
        after(
            both,
            vec![
                row(of(json!({"limit": -1, "swap": -1})), "memory.max", "max").told("MemoryMax", "infinity"),
                row(Value::Null, "memory.swap.max", "max"),
            ],
        ),
        // Without a word about swap no limit of memory is none of both.
        after(
            of(json!({"limit": 67_108_864})),
            vec![
                row(of(json!({"limit": -1})), "memory.max", "max").told("MemoryMax", "infinity"),
                row(Value::Null, "memory.swap.max", "max"),
            ],
        ),
    ])
}

/// What has no file in version 2 hinders nothing.
fn ignored() -> Rounds {
    let ask = json!({"memory": {"swappiness": 20, "disableOOMKiller": true, "kernel": 33_554_432, "kernelTCP": 33_554_432},
        "network": {"classID": 1_048_577}, "cpu": {"realtimeRuntime": 5000, "realtimePeriod": 1_000_000}});
    Ok(vec![round(vec![row(ask, "cgroup.type", "domain")])])
}

fn cpu_quota() -> Rounds {
    let of = |cpu: Value| json!({"cpu": cpu});
    let half = of(json!({"quota": 40_000, "period": 80_000}));
    Ok(vec![
        round(vec![
            row(
                of(json!({"quota": 25_000, "period": 50_000})),
                "cpu.max",
                "25000 50000",
            )
            .told("CPUQuotaPerSecUSec", "500ms"),
        ]),
        // The period is the kernel's, or what it was.
        round(vec![
            row(of(json!({"quota": 30_000})), "cpu.max", "30000 100000").told("CPUQuotaPerSecUSec", "300ms"),
        ]),
        after(
            half.clone(),
            vec![
                row(of(json!({"quota": 20_000})), "cpu.max", "20000 80000")
                    .told("CPUQuotaPerSecUSec", "250ms"),
            ],
        ),
        after(
            half,
            vec![Row {
                // Without a limit the period means nothing, and systemd has one of its own for it.
                says: Says::Begins("max "),
                ..row(of(json!({"quota": -1})), "cpu.max", "").told("CPUQuotaPerSecUSec", "infinity")
            }],
        ),
    ])
}

fn cpu_weight() -> Rounds {
    let of = |shares: u64| json!({"cpu": {"shares": shares}});
    Ok(vec![
        round(vec![row(of(2), "cpu.weight", "1").told("CPUWeight", "1")]),
        round(vec![row(of(512), "cpu.weight", "59").told("CPUWeight", "59")]),
        round(vec![
            row(of(262_144), "cpu.weight", "10000").told("CPUWeight", "10000"),
        ]),
    ])
}

fn cpu_burst() -> Rounds {
    let before = json!({"cpu": {"quota": 50_000, "period": 100_000}});
    let burst = row(json!({"cpu": {"burst": 20_000}}), "cpu.max.burst", "20000");
    Ok(vec![after(before, vec![burst])])
}

fn cpu_idle() -> Rounds {
    let of = |idle: i64| json!({"cpu": {"idle": idle}});
    Ok(vec![
        // An idle group has no weight.
        round(vec![
            row(of(1), "cpu.idle", "1").told("CPUWeight", "idle"),
            row(json!({"cpu": {"shares": 512}}), "cpu.idle", "1"),
        ]),
        after(
            of(1),
            vec![
                row(of(0), "cpu.idle", "0").told("CPUWeight", "[not set]"),
                row(Value::Null, "cpu.weight", "100"),
            ],
        ),
    ])
}

fn cpuset() -> Rounds {
    Ok(vec![round(vec![
        row(json!({"cpu": {"cpus": "0"}}), "cpuset.cpus", "0").told("AllowedCPUs", "0"),
        row(json!({"cpu": {"mems": "0"}}), "cpuset.mems", "0").told("AllowedMemoryNodes", "0"),
    ])])
}

fn pids() -> Rounds {
    let of = |limit: i64| json!({"pids": {"limit": limit}});
    Ok(vec![
        round(vec![row(of(77), "pids.max", "77").told("TasksMax", "77")]),
        after(
            of(77),
            vec![row(of(-1), "pids.max", "max").told("TasksMax", "infinity")],
        ),
    ])
}

fn pids_zero() -> Rounds {
    let row = row(json!({"pids": {"limit": 0}}), "pids.max", "1").told("TasksMax", "1");
    Ok(vec![round(vec![row])])
}

/// bfq's as it is, where the kernel has bfq; else the range 10 to 1000 drawn out to 1 to 10000.
fn weight_row(weight: u64, converted: u64) -> Row {
    Row {
        instead: Some(("io.weight", format!("default {converted}"))),
        ..row(
            json!({"blockIO": {"weight": weight}}),
            "io.bfq.weight",
            &format!("default {weight}"),
        )
    }
}

fn io_weight() -> Rounds {
    let rows = [(10, 1), (321, 3142), (1000, 10_000)];
    Ok(rows
        .map(|(weight, converted)| round(vec![weight_row(weight, converted)]))
        .into())
}

/// One weight for one disk, which has to be scheduled by bfq.
fn io_devices() -> Rounds {
    let disk = disk_of_bfq()?;
    let of = |weight: u64| json!({"blockIO": {"weightDevice": [disk.rule("weight", weight)]}});
    let line = |weight: u64| format!("{} {weight}", disk.name());
    let (all, one) = (json!({"blockIO": {"weight": 200}}), of(432));
    Ok(vec![
        round(vec![
            row(of(55), "io.bfq.weight", &line(55)),
            row(all.clone(), "io.bfq.weight", "default 200"),
        ]),
        // The kernel forgets the weights of single disks when it is told the one for all.
        after(
            merged(all, one),
            vec![
                weight_row(321, 3142),
                row(Value::Null, "io.bfq.weight", &line(432)),
            ],
        ),
    ])
}

fn io_max() -> Rounds {
    let disk = disks("").into_iter().next();
    let disk = disk.ok_or_else(|| Trouble::Skip("no disk with a throttle".into()))?;
    let of = |key: &str, rate: u64| json!({"blockIO": {key: [disk.rule("rate", rate)]}});
    let all = |rates: [u64; 4]| {
        let keys = [
            "throttleReadBpsDevice",
            "throttleWriteBpsDevice",
            "throttleReadIOPSDevice",
            "throttleWriteIOPSDevice",
        ];
        let parts = keys.iter().zip(rates).map(|(key, rate)| of(key, rate));
        parts.fold(Value::Null, merged)
    };
    let line = |rates: &str| format!("{} {rates}", disk.name());
    let before = || all([1_048_576, 2_097_152, 300, 400]);
    let nothing = Row {
        says: Says::NothingOf(disk.name()),
        ..row(all([0; 4]), "io.max", "")
    };
    Ok(vec![
        round(vec![row(
            before(),
            "io.max",
            &line("rbps=1048576 wbps=2097152 riops=300 wiops=400"),
        )]),
        after(
            before(),
            vec![row(
                of("throttleWriteBpsDevice", 8_388_608),
                "io.max",
                &line("rbps=1048576 wbps=8388608 riops=300 wiops=400"),
            )],
        ),
        after(before(), vec![nothing]),
    ])
}

fn hugetlb() -> Rounds {
    let of = |limit: u64| json!({"hugepageLimits": [{"pageSize": "2MB", "limit": limit}]});
    Ok(vec![
        round(vec![
            row(of(4_194_304), "hugetlb.2MB.max", "4194304"),
            row(Value::Null, "hugetlb.2MB.rsvd.max", "4194304"),
        ]),
        after(of(4_194_304), vec![row(of(0), "hugetlb.2MB.max", "0")]),
    ])
}

/// No guest has a device of RDMA, nor pages of this size; the kernel's refusal shows the value that it was given.
fn no_such_thing() -> Rounds {
    Ok(vec![
        refused(
            json!({"rdma": {"no-such-hca": {"hcaHandles": 3, "hcaObjects": 10_000}}}),
            &["rdma.max", "no-such-hca hca_handle=3 hca_object=10000"],
        ),
        refused(
            json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 4_194_304}]}),
            &["3MB"],
        ),
    ])
}

fn unified() -> Rounds {
    let of = |key: &str, value: &str| json!({"unified": {key: value}});
    let same = |file: &'static str, value: &'static str| row(of(file, value), file, value);
    Ok(vec![
        round(vec![
            same("memory.max", "67108864").told("MemoryMax", "67108864"),
            same("memory.high", "50331648").told("MemoryHigh", "50331648"),
            same("memory.low", "8388608").told("MemoryLow", "8388608"),
            same("memory.min", "4194304").told("MemoryMin", "4194304"),
            same("memory.swap.max", "0").told("MemorySwapMax", "0"),
            same("memory.oom.group", "1").fleeting(),
            same("pids.max", "55").told("TasksMax", "55"),
            same("cpu.max", "20000 40000").told("CPUQuotaPerSecUSec", "500ms"),
            same("cpu.weight", "321").told("CPUWeight", "321"),
            same("cpuset.cpus", "0").told("AllowedCPUs", "0"),
            same("cpuset.mems", "0").told("AllowedMemoryNodes", "0"),
            same("hugetlb.2MB.max", "2097152"),
        ]),
        // It wins over what says it in other words.
        after(
            json!({"memory": {"limit": 67_108_864}}),
            vec![same("memory.max", "50331648").told("MemoryMax", "50331648")],
        ),
    ])
}

/// A value of several lines, written one by one.
fn unified_lines() -> Rounds {
    let disks = disks("");
    if disks.is_empty() {
        return Err(Trouble::Skip("no disk with a throttle".into()));
    }
    let ask = |disk: &Disk| format!("{} rbps=1048576", disk.name());
    let lines: Vec<String> = disks.iter().map(ask).collect();
    let mut rows = vec![Row {
        says: Says::NothingOf("0:0".into()),
        ..row(json!({"unified": {"io.max": lines.join("\n")}}), "io.max", "")
    }];
    for disk in &disks {
        let line = format!("{} rbps=1048576 wbps=max riops=max wiops=max", disk.name());
        rows.push(row(Value::Null, "io.max", &line));
    }
    Ok(vec![round(rows)])
}

/// A disk of this machine.
struct Disk {
    major: u64,
    minor: u64,
    /// Below /sys/block.
    queue: std::path::PathBuf,
}

impl Disk {
    fn name(&self) -> String {
        format!("{}:{}", self.major, self.minor)
    }

    fn rule(&self, key: &str, value: u64) -> Value {
        json!({"major": self.major, "minor": self.minor, key: value})
    }
}

/// All disks; with `scheduler`, only those that have it.
fn disks(scheduler: &str) -> Vec<Disk> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| ["vd", "sd", "nvme", "xvd"].iter().any(|p| name.starts_with(p)))
        .collect();
    names.sort();
    let disk = |name: &String| {
        let dir = Path::new("/sys/block").join(name);
        let numbers = fs::read_to_string(dir.join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        Some(Disk {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            queue: dir.join("queue/scheduler"),
        })
    };
    let has = |disk: &Disk| {
        let queue = fs::read_to_string(&disk.queue).unwrap_or_default();
        scheduler.is_empty() || queue.contains(&format!("[{scheduler}]"))
    };
    names.iter().filter_map(disk).filter(has).collect()
}

/// The last disk, made one of bfq's if need be: the machine is ours.
fn disk_of_bfq() -> Result<Disk, Trouble> {
    if disks("bfq").is_empty()
        && let Some(last) = disks("").last()
    {
        fs::write(&last.queue, "bfq")?;
    }
    let found = disks("bfq").pop();
    found.ok_or_else(|| Trouble::Skip("no disk can be scheduled by bfq".into()))
}

/// `one` with everything that `two` says.
fn merged(one: Value, two: Value) -> Value {
    match (one, two) {
        (Value::Object(mut one), Value::Object(two)) => {
            for (key, value) in two {
                let old = one.get_mut(&key).map(Value::take).unwrap_or_default();
                one.insert(key, merged(old, value));
            }
            Value::Object(one)
        }
        (one, Value::Null) => one,
        (_, two) => two,
    }
}

/// What runtime-spec 1.0 has.
fn basics() -> Rounds {
    together([memory()?, cpu_quota()?, cpuset()?, pids()?, ignored()?])
}

/// What came later, or is told for certain since then.
fn newer() -> Rounds {
    together([cpu_idle()?, cpu_burst()?, pids_zero()?, hugetlb()?])
}

fn io() -> Rounds {
    together([io_weight()?, io_max()?])
}

/// The first rounds of all as one, then the second, and so on: they have no file in common.
fn together<const N: usize>(areas: [Vec<Round>; N]) -> Rounds {
    let mut out: Vec<Round> = Vec::new();
    for area in areas {
        for (n, round) in area.into_iter().enumerate() {
            match out.get_mut(n) {
                Some(other) => {
                    other.before = merged(other.before.take(), round.before);
                    other.rows.extend(round.rows);
                }
                None => out.push(round),
            }
        }
    }
    Ok(out)
}

/// A container of its own for each round, and one daemon-reload for all.
fn judge(w: &mut World, driver: Driver, when: When, rounds: &[Round]) -> Ended {
    let (config, id) = (w.setup.config.clone(), w.id.clone());
    for (n, round) in rounds.iter().enumerate() {
        w.id = format!("{id}-{n}");
        let out = ask(w, driver, when, round)?;
        if round.refused.is_empty() {
            require(&out)?;
            look(w, driver, &format!("round {n}"), &round.rows)?;
        } else {
            w.is(
                !out.ok(),
                format!("round {n}: {} was accepted", round.rows[0].ask),
            );
            w.mentions(&out, round.refused);
        }
        w.setup.config.clone_from(&config);
    }
    if driver == Driver::Systemd && rounds.iter().any(|r| r.refused.is_empty()) {
        systemctl(&["daemon-reload"])?;
        for (n, round) in rounds.iter().enumerate().filter(|(_, r)| r.refused.is_empty()) {
            w.id = format!("{id}-{n}");
            look(w, driver, &format!("after daemon-reload, round {n}"), &round.rows)?;
        }
    }
    // What was refused at its creation is not there.
    for (n, _) in rounds
        .iter()
        .enumerate()
        .filter(|(_, r)| r.refused.is_empty() || when == When::Update)
    {
        w.succeed(&["delete", "--force", &format!("{id}-{n}")])?;
    }
    w.id = id;
    Ok(())
}

/// The command that asks for it, whatever its end.
fn ask(w: &mut World, driver: Driver, when: When, round: &Round) -> Result<Output, Trouble> {
    let asked = round
        .rows
        .iter()
        .map(|row| row.ask.clone())
        .fold(Value::Null, merged);
    match when {
        When::Create => create(w, driver, &merged(round.before.clone(), asked)),
        When::Update => {
            start(w, driver, &round.before)?;
            update(w, &asked)
        }
    }
}

fn start(w: &mut World, driver: Driver, resources: &Value) -> Ended {
    require(&create(w, driver, resources)?)?;
    let id = w.id.clone();
    w.succeed(&["start", &id]).map(drop)
}

fn update(w: &mut World, resources: &Value) -> Result<Output, Trouble> {
    let id = w.id.clone();
    w.call(Call::new(&["update", "--resources", "-", &id]).stdin(&resources.to_string()))
}

fn create(w: &mut World, driver: Driver, resources: &Value) -> Result<Output, Trouble> {
    for (area, value) in resources.as_object().into_iter().flatten() {
        w.setup.set(&format!("/linux/resources/{area}"), value.clone());
    }
    let (path, flags): (_, &[&str]) = match driver {
        Driver::Cgroupfs => {
            let above = w.setup.place.cgroups_path();
            (
                format!("{}/{}", above.rsplit_once('/').map_or("", |(a, _)| a), w.id),
                &[],
            )
        }
        Driver::Systemd => (format!("system.slice:cf:{}", w.id), &["--systemd-cgroup"]),
    };
    w.setup.set("/linux/cgroupsPath", json!(path));
    let call = w.launching("create", &[])?.global(flags);
    w.call(call)
}

fn look(w: &mut World, driver: Driver, what: &str, rows: &[Row]) -> Ended {
    let dir = w.cgroup("")?;
    let mut told = Vec::new();
    let lasting = |row: &&Row| driver == Driver::Cgroupfs || !row.fleeting;
    for row in rows.iter().filter(lasting) {
        let instead = row.instead.as_ref().filter(|_| !dir.join(row.file).exists());
        match (instead, &row.says) {
            (Some((file, line)), _) => has_line(w, &dir, file, what, line)?,
            (None, Says::Line(line)) => has_line(w, &dir, row.file, what, line)?,
            (None, Says::Begins(start)) => {
                let text = fs::read_to_string(dir.join(row.file))?;
                let begins = text.lines().any(|line| line.starts_with(start));
                w.is(
                    begins,
                    format!("{what}: {} does not begin with {start}: {text}", row.file),
                );
            }
            (None, Says::NothingOf(start)) => {
                let text = fs::read_to_string(dir.join(row.file))?;
                let begins = text.lines().any(|line| line.starts_with(start.as_str()));
                w.is(!begins, format!("{what}: {} limits {start}: {text}", row.file));
            }
        }
        told.extend(row.told);
    }
    if driver == Driver::Systemd && !told.is_empty() {
        let unit = format!("cf-{}.scope", w.id);
        properties(w, &unit, &told)?;
    }
    Ok(())
}

fn has_line(w: &mut World, dir: &Path, file: &str, what: &str, line: &str) -> Ended {
    let path = dir.join(file);
    let text =
        fs::read_to_string(&path).map_err(|e| format!("{what}: cannot read {}: {e}", path.display()))?;
    w.is(
        text.lines().any(|l| l.trim() == line),
        format!("{what}: {file} has no line {line:?}: {}", text.trim()),
    );
    Ok(())
}

/// What has the limits.
fn sleeper(s: &mut Setup) {
    s.args(&["sleep"]);
    s.bare();
}

/// Two devices that the container has nodes of, one of which it may open.
pub fn devices(s: &mut Setup) {
    sleeper(s);
    s.set(
        "/linux/devices",
        json!([
            {"path": "/dev/allowed", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666},
            {"path": "/dev/denied", "type": "c", "major": 10, "minor": 237, "fileMode": 0o666},
        ]),
    );
    s.set(
        "/linux/resources/devices/-",
        json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
    );
}

/// Opens devices of [`devices`]. Allowed and denied are told apart by EPERM; a device without its driver is something else.
pub fn judge_devices(w: &mut World, when: &str) -> Ended {
    let devices = [
        ("/dev/null", false),
        ("/dev/zero", false),
        ("/dev/allowed", false),
        ("/dev/denied", true),
    ];
    let mut command = vec!["/probe"];
    for (path, _) in devices {
        command.extend(["open", "rw", path, "--"]);
    }
    let out = w.exec(&[], &command)?;
    for (path, denied) in devices {
        let done = find_done(&out.lines(), &["open", "rw", path]).unwrap_or_default();
        let errno = done["errno"].as_i64();
        let is_denied = errno == Some(i64::from(libc::EPERM));
        w.is(
            errno.is_some() && is_denied == denied,
            format!(
                "{when}: opening {path} gives errno {errno:?}: {}",
                out.stdout.trim()
            ),
        );
    }
    Ok(())
}

/// Weights and a count of processes, which a failed update has changed before it fails.
fn judge_failed_update(w: &mut World, driver: Driver) -> Ended {
    let disk = disk_of_bfq()?;
    let of = |pids: u64, all: u64, one: u64| json!({"pids": {"limit": pids}, "blockIO": {"weight": all, "weightDevice": [disk.rule("weight", one)]}});
    start(w, driver, &of(77, 200, 432))?;
    let refused = merged(of(33, 300, 55), json!({"unified": {"memory.oom.group": "7"}}));
    let out = update(w, &refused)?;
    w.is(!out.ok(), "an invalid value was accepted");
    let rows = [
        row(Value::Null, "pids.max", "77").told("TasksMax", "77"),
        row(Value::Null, "io.bfq.weight", "default 200"),
        row(Value::Null, "io.bfq.weight", &format!("{} 432", disk.name())),
    ];
    look(w, driver, "after a failed update", &rows)?;
    if driver == Driver::Systemd {
        systemctl(&["daemon-reload"])?;
        look(w, driver, "after daemon-reload", &rows)?;
    }
    Ok(())
}

const FAILED_UPDATE: Case = Case {
    clause: "reference: a failed update rolls back, at systemd too",
    level: Level::Should,
    config: sleeper,
    deadline: 120,
    ..Case::IDLE
};

/// The four cases of an area of the table.
macro_rules! asked {
    ($name:literal, $rounds:path, [$($need:expr),*], $clause:literal) => {
        [
            asked!(@ concat!("cgroup2.create-", $name), $rounds, Driver::Cgroupfs, When::Create, [$($need),*], $clause),
            asked!(@ concat!("cgroup2.update-", $name), $rounds, Driver::Cgroupfs, When::Update, [$($need),*], $clause),
            asked!(@ concat!("systemd.create-", $name), $rounds, Driver::Systemd, When::Create, [Need::Systemd, $($need),*], $clause),
            asked!(@ concat!("systemd.update-", $name), $rounds, Driver::Systemd, When::Update, [Need::Systemd, $($need),*], $clause),
        ]
    };
    (@ $id:expr, $rounds:path, $driver:expr, $when:expr, [$($need:expr),*], $clause:literal) => {
        Case {
            id: $id,
            clause: $clause,
            needs: &[Need::Root, $($need),*],
            config: sleeper,
            steps: &[Step::Do(|w| judge(w, $driver, $when, &$rounds()?))],
            deadline: 180,
            ..Case::IDLE
        }
    };
}

/// The cases of this table. Rows that stand in one case are those that a runtime knows all or none of.
pub const CASES: &[Case] = [
    asked!(
        "basics",
        basics,
        [Need::V2Controller("memory"), Need::V2Controller("cpu"), Need::V2Controller("cpuset"), Need::V2Controller("pids")],
        "reference 2.8.2; config-linux.md#memory, #cpu, #pids: what runtime-spec 1.0 has"
    ),
    asked!(
        "cpu-weight",
        cpu_weight,
        [Need::V2Controller("cpu")],
        "reference 2.8.2: the conversion of shares since runc 1.3.2"
    ),
    asked!(
        "newer",
        newer,
        [Need::V2Controller("cpu"), Need::V2Controller("pids"), Need::V2Controller("hugetlb")],
        "reference 2.8.2; config-linux.md#cpu, #pids, #huge-page-limits: what came with runtime-spec 1.1 and later"
    ),
    asked!(
        "io",
        io,
        [Need::V2Controller("io")],
        "reference 2.8.2; config-linux.md#block-io: bfq's weight as it is, else 1 to 10000; 0 is no ceiling"
    ),
    asked!(
        "no-such-thing",
        no_such_thing,
        [Need::V2Controller("rdma"), Need::V2Controller("hugetlb")],
        "reference 2.8.2; config-linux.md#rdma, #huge-page-limits: what cannot be limited is an error that names it"
    ),
    asked!(
        "unified",
        unified,
        [Need::V2Controller("memory"), Need::V2Controller("hugetlb")],
        "reference 2.8.2; config-linux.md#unified: written as it is, and last"
    ),
    asked!(
        "unified-lines",
        unified_lines,
        [Need::V2Controller("io")],
        "reference 2.8.2; config-linux.md#unified: a value of several lines line by line"
    ),
]
.as_flattened();

/// Weights of single disks. They come last of all: they may load bfq, which changes what a weight is for whoever is at it.
pub const WITH_BFQ: &[Case] = &asked!(
    "io-devices",
    io_devices,
    [Need::V2Controller("io"), Need::Vm],
    "reference 2.8.2; config-linux.md#block-io weightDevice"
);

/// An update that fails, by either driver; with bfq as well.
pub const FAILED_UPDATES: &[Case] = &[
    Case {
        id: "cgroup2.failed-update-changes-nothing",
        needs: &[
            Need::Root,
            Need::Vm,
            Need::V2Controller("memory"),
            Need::V2Controller("io"),
        ],
        steps: &[Step::Do(|w| judge_failed_update(w, Driver::Cgroupfs))],
        ..FAILED_UPDATE
    },
    Case {
        id: "systemd.failed-update-changes-nothing",
        needs: &[
            Need::Root,
            Need::Vm,
            Need::Systemd,
            Need::V2Controller("memory"),
            Need::V2Controller("io"),
        ],
        steps: &[Step::Do(|w| judge_failed_update(w, Driver::Systemd))],
        ..FAILED_UPDATE
    },
];
