//! Intel RDT (AMD QoS alike): shares of cache and memory bandwidth by groups of the resctrl file system.
//!
//! Planning is pure. May not: mount resctrl, or change or remove a group that somebody else has made.

use super::file;
use crate::cli::stats::{CmtStats, IntelRdt as IntelRdtStats, L3CacheInfo, MbmStats, MemBwInfo};
use crate::config;
use crate::error::{Doing, Error, Result};
use crate::problems::Problems;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::mountinfo;

/// `f_type` of resctrl.
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;
/// The kernel makes this directory when CPU and kernel can do it; mounting is the administrator's.
const MOUNTPOINT: &str = "/sys/fs/resctrl";

/// What the host's resctrl can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RdtHost {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Cache allocation (CAT).
    pub l3: bool,
    /// Memory bandwidth allocation (MBA).
    pub mb: bool,
    /// Percentage steps of memory bandwidth.
    pub mb_granularity: u64,
    /// What is counted: `llc_occupancy`, `mbm_total_bytes`, `mbm_local_bytes`.
    pub counts: Vec<String>,
}

impl RdtHost {
    fn counts(&self, feature: &str) -> bool {
        self.counts.iter().any(|c| c == feature)
    }
}

/// Looks for a mounted resctrl; only for configurations and records that mention it. Mountinfo is read only where the
/// kernel has resctrl and its usual place has not.
pub fn probe_rdt() -> Result<Option<RdtHost>> {
    let usual = Path::new(MOUNTPOINT);
    let fd = match sys::fs::open(usual, libc::O_PATH, 0) {
        Ok(fd) => fd,
        Err(e) if e.is(libc::ENOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if sys::fs::fs_magic(fd.as_fd())? == RDTGROUP_SUPER_MAGIC {
        return look_at(usual).map(Some);
    }
    let elsewhere = mountinfo::mounts(&mountinfo::own_table()?)
        .find(|m| m.kind() == b"resctrl")
        .map(|m| m.mountpoint());
    elsewhere.map(|at| look_at(&at)).transpose()
}

fn look_at(root: &Path) -> Result<RdtHost> {
    let granularity = file::read_if_there(&root.join("info/MB"), "bandwidth_gran")?;
    let counts = file::read_if_there(&root.join("info/L3_MON"), "mon_features")?.unwrap_or_default();
    Ok(RdtHost {
        root: root.to_path_buf(),
        l3: root.join("info/L3").exists(),
        mb: root.join("info/MB").exists(),
        mb_granularity: granularity.and_then(|t| t.trim().parse().ok()).unwrap_or(1),
        counts: counts.lines().map(str::to_string).collect(),
    })
}

/// Whose group it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Named after the container: made and removed with it.
    Container,
    /// `closID` with schemata: made when it is not there, kept for others in any case; one that is there must agree.
    Shared,
    /// `closID` alone: must be there.
    Given,
}

/// The container's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RdtPlan {
    /// Its directory.
    pub group: PathBuf,
    /// Whose it is.
    pub origin: Origin,
    /// Lines for `schemata`.
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    pub monitor: Option<PathBuf>,
    mb_granularity: u64,
    root: PathBuf,
}

/// What the record keeps, before anything is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdtRecord {
    /// The group's directory.
    pub group: PathBuf,
    /// It goes with the container: nobody had it before.
    pub remove: bool,
    /// The monitoring group's directory; always the container's own.
    pub monitor: Option<PathBuf>,
}

/// Plans `linux.intelRdt`; `None` without it, or after a problem.
pub fn plan_rdt(
    rdt: Option<&config::IntelRdt>,
    id: &str,
    host: Option<&RdtHost>,
    problems: &mut Problems,
) -> Option<RdtPlan> {
    const PLACE: &str = "/linux/intelRdt";
    let rdt = rdt?;
    let Some(host) = host else {
        problems.add(
            PLACE,
            "intelRdt is specified in config, but Intel RDT is not enabled",
        );
        return None;
    };
    let clos = rdt.clos_id.as_str();
    let bad_name =
        matches!(clos, "." | "..") || clos.len() > 1 && clos.contains('/') || clos.contains(['\0', '\n']);
    if bad_name {
        problems.add(
            format!("{PLACE}/closID"),
            format!("invalid intelRdt.ClosID {clos:?}"),
        );
    }
    if !rdt.l3_cache_schema.is_empty() && !host.l3 {
        problems.add(
            format!("{PLACE}/l3CacheSchema"),
            "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
        );
    }
    if !rdt.mem_bw_schema.is_empty() && !host.mb {
        problems.add(
            format!("{PLACE}/memBwSchema"),
            "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
        );
    }
    let schemata = plan_schemata(rdt);
    let group = match clos {
        "" => host.root.join(id),
        "/" => host.root.clone(),
        name => host.root.join(name),
    };
    let origin = match (clos, schemata.is_empty()) {
        ("", _) => Origin::Container,
        (_, false) => Origin::Shared,
        (_, true) => Origin::Given,
    };
    let monitor = rdt.enable_monitoring.then(|| group.join("mon_groups").join(id));
    (!bad_name).then_some(RdtPlan {
        group,
        origin,
        schemata,
        monitor,
        mb_granularity: host.mb_granularity,
        root: host.root.clone(),
    })
}

/// The lines in writing order. Bandwidth lines of `l3CacheSchema` give way to `memBwSchema`, as the spec says.
fn plan_schemata(rdt: &config::IntelRdt) -> Vec<String> {
    let l3 = rdt
        .l3_cache_schema
        .lines()
        .filter(|l| rdt.mem_bw_schema.is_empty() || !l.trim_start().starts_with("MB:"));
    let more = rdt.schemata.iter().flatten().flat_map(|s| s.lines());
    l3.chain(rdt.mem_bw_schema.lines())
        .chain(more)
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_string)
        .collect()
}

/// A line `L3:0=ff;1=c0` as resource and domains; `None` for another form.
fn parse_schema(line: &str) -> Option<(&str, BTreeMap<&str, &str>)> {
    let (resource, domains) = line.trim().split_once(':')?;
    let domains = domains
        .split(';')
        .map(|d| d.split_once('=').map(|(id, v)| (id.trim(), v.trim())))
        .collect::<Option<_>>()?;
    Some((resource.trim(), domains))
}

/// True when a group with the schemata `have` gives what `want` (one line) asks. The kernel drops leading zeros, sorts
/// domains, and rounds bandwidth up to its steps.
fn agrees(have: &str, want: &str, mb_granularity: u64) -> bool {
    let Some((resource, wanted)) = parse_schema(want) else {
        return false;
    };
    let Some((_, got)) = have
        .lines()
        .filter_map(parse_schema)
        .find(|(r, _)| *r == resource)
    else {
        return false;
    };
    wanted.iter().all(|(id, value)| {
        let Some(got) = got.get(id) else { return false };
        if resource == "MB" {
            return match (value.parse::<u64>(), got.parse::<u64>()) {
                (Ok(value), Ok(got)) => got >= value && got - value < mb_granularity.max(1),
                _ => false,
            };
        }
        match (u64::from_str_radix(value, 16), u64::from_str_radix(got, 16)) {
            (Ok(value), Ok(got)) => value == got,
            _ => value == got,
        }
    })
}

impl RdtPlan {
    /// What to record before [`RdtPlan::create`].
    pub fn record(&self) -> RdtRecord {
        RdtRecord {
            group: self.group.clone(),
            remove: self.origin == Origin::Container && !self.group.exists(),
            monitor: self.monitor.clone(),
        }
    }

    /// Makes the groups and writes the schemata. What was made is removed again on failure.
    pub fn create(&self) -> Result<()> {
        let mut made = Vec::new();
        self.make(&mut made).map_err(|e| {
            made.iter().rev().fold(self.explain(e), |e, path| {
                e.and_also(sys::fs::unlinkat(sys::fs::cwd(), path, libc::AT_REMOVEDIR).map_err(Error::from))
            })
        })
    }

    fn make(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        let there = self.group.is_dir();
        match self.origin {
            Origin::Given if !there => {
                return Err(Error::from(sys::Error::new(
                    "stat",
                    self.group.display().to_string(),
                    sys::Errno(libc::ENOENT),
                ))
                .doing(
                    "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)",
                ));
            }
            Origin::Shared if there => self.must_agree()?,
            Origin::Given => {}
            Origin::Container | Origin::Shared => {
                make_dir(&self.group, made)?;
                self.write_schemata()?;
            }
        }
        match &self.monitor {
            Some(path) => make_dir(path, made),
            None => Ok(()),
        }
    }

    fn must_agree(&self) -> Result<()> {
        let have = file::read(&self.group, "schemata")?;
        match self
            .schemata
            .iter()
            .find(|want| !agrees(&have, want, self.mb_granularity))
        {
            None => Ok(()),
            Some(want) => Err(Error::new(format!(
                "intelrdt: the group {} exists and does not have the schema {want:?}",
                self.group.display()
            ))),
        }
    }

    fn write_schemata(&self) -> Result<()> {
        write_schemata(&self.group, &self.schemata)
    }

    /// resctrl tells in words why the last write failed.
    fn explain(&self, e: Error) -> Error {
        explain(&self.root, e)
    }
}

fn explain(root: &Path, e: Error) -> Error {
    match file::read_if_there(&root.join("info"), "last_cmd_status") {
        Ok(Some(text)) if e.errno().is_some() && text.trim() != "ok" => {
            let errno = e.errno().map_or(0, |n| n.0);
            Error::received(format!("{e}, last_cmd_status: {}", text.trim()), errno)
        }
        _ => e,
    }
}

fn make_dir(path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    match sys::fs::mkdirat(sys::fs::cwd(), path, 0o755) {
        Ok(()) => made.push(path.to_path_buf()),
        Err(e) if e.is(libc::EEXIST) => {}
        Err(e) => return Err(e).doing(|| "intelrdt: unable to make the group"),
    }
    Ok(())
}

fn write_schemata(group: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let text = lines.iter().fold(String::new(), |t, l| t + l + "\n");
    file::write(group, "schemata", &text).doing(|| format!("intelrdt: unable to write {text:?}"))
}

impl RdtRecord {
    /// Puts a process (all its later children included) into the groups.
    pub fn join(&self, pid: i32) -> Result<()> {
        for group in std::iter::once(&self.group).chain(&self.monitor) {
            file::write(group, "tasks", &pid.to_string())
                .doing(|| format!("intelrdt: unable to add pid {pid}"))?;
        }
        Ok(())
    }

    /// As [`RdtRecord::join`] for an additional process: a group that is gone meanwhile is no reason to refuse it.
    pub fn join_exec(&self, pid: i32) -> Result<()> {
        if self.group.is_dir() {
            self.join(pid)
        } else {
            Ok(())
        }
    }

    /// Removes what is the container's own. What is gone already is fine.
    pub fn destroy(&self) -> Result<()> {
        // The kernel removes a group's monitoring groups with it.
        let path = if self.remove {
            Some(&self.group)
        } else {
            self.monitor.as_ref()
        };
        let Some(path) = path else { return Ok(()) };
        match sys::fs::unlinkat(sys::fs::cwd(), path, libc::AT_REMOVEDIR) {
            Err(e) if !e.is(libc::ENOENT) => {
                Err(e).doing(|| "intelrdt: unable to remove the container's group")
            }
            _ => Ok(()),
        }
    }

    /// New schemata for a running container; empty ones stay.
    ///
    /// # Errors
    /// Where the host cannot do what is asked.
    pub fn update(&self, l3: &str, mem_bw: &str, host: &RdtHost) -> Result<()> {
        if !l3.is_empty() && !host.l3 {
            return Err(Error::new("Intel RDT/CAT: l3 cache schema is not enabled"));
        }
        if !mem_bw.is_empty() && !host.mb {
            return Err(Error::new(
                "Intel RDT/MBA: memory bandwidth schema is not enabled",
            ));
        }
        let lines: Vec<String> = [l3, mem_bw]
            .into_iter()
            .flat_map(str::lines)
            .map(str::to_string)
            .collect();
        write_schemata(&self.group, &lines).map_err(|e| explain(&host.root, e))
    }

    /// The part of `events --stats` about RDT.
    pub fn stats(&self, host: &RdtHost) -> Result<IntelRdtStats> {
        let lines = |dir: &Path| -> Result<Vec<String>> {
            Ok(file::read(dir, "schemata")?
                .trim()
                .lines()
                .map(|l| l.trim().to_string())
                .collect())
        };
        let (above, own) = (lines(&host.root)?, lines(&self.group)?);
        // The last line counts, as in runc: with code and data prioritisation there are two for L3.
        let pick = |list: &[String], what: &str| {
            list.iter()
                .rfind(|l| l.contains(what))
                .cloned()
                .unwrap_or_default()
        };
        let mut out = IntelRdtStats::default();
        if host.l3 {
            out.l3_cache_info = Some(l3_info(&host.root)?);
            out.l3_cache_schema_root = pick(&above, "L3");
            out.l3_cache_schema = pick(&own, "L3");
        }
        if host.mb {
            out.mem_bw_info = Some(mb_info(&host.root)?);
            out.mem_bw_schema_root = pick(&above, "MB");
            out.mem_bw_schema = pick(&own, "MB");
        }
        out.schemata = own;
        if !host.counts.is_empty() {
            read_counters(self.monitor.as_ref().unwrap_or(&self.group), host, &mut out)?;
        }
        Ok(out)
    }
}

fn number(dir: &Path, name: &str) -> Result<u64> {
    let text = file::read(dir, name)?;
    text.trim().parse().map_err(|_| {
        Error::new(format!(
            "unable to parse {:?} as a number from {}",
            text.trim(),
            dir.join(name).display()
        ))
    })
}

fn l3_info(root: &Path) -> Result<L3CacheInfo> {
    let dir = root.join("info/L3");
    Ok(L3CacheInfo {
        cbm_mask: file::read(&dir, "cbm_mask")?.trim().to_string(),
        min_cbm_bits: number(&dir, "min_cbm_bits")?,
        num_closids: number(&dir, "num_closids")?,
    })
}

fn mb_info(root: &Path) -> Result<MemBwInfo> {
    let dir = root.join("info/MB");
    Ok(MemBwInfo {
        bandwidth_gran: number(&dir, "bandwidth_gran")?,
        delay_linear: number(&dir, "delay_linear")?,
        min_bandwidth: number(&dir, "min_bandwidth")?,
        num_closids: number(&dir, "num_closids")?,
    })
}

/// One directory per cache: `mon_L3_00`.
fn read_counters(group: &Path, host: &RdtHost, out: &mut IntelRdtStats) -> Result<()> {
    let data = group.join("mon_data");
    let dir = sys::fs::open(&data, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut names = sys::fs::entries(dir.as_fd())?;
    names.sort();
    let count = |dir: &Path, feature: &str| match host.counts(feature) {
        true => number(dir, feature),
        false => Ok(0),
    };
    let (mut mbm, mut cmt) = (Vec::new(), Vec::new());
    for path in names.iter().map(|n| data.join(n)).filter(|p| p.is_dir()) {
        mbm.push(MbmStats {
            mbm_total_bytes: count(&path, "mbm_total_bytes")?,
            mbm_local_bytes: count(&path, "mbm_local_bytes")?,
        });
        cmt.push(CmtStats {
            llc_occupancy: count(&path, "llc_occupancy")?,
        });
    }
    let bandwidth = host.counts("mbm_total_bytes") || host.counts("mbm_local_bytes");
    out.mbm_stats = bandwidth.then_some(mbm);
    out.cmt_stats = host.counts("llc_occupancy").then_some(cmt);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(root: &Path) -> RdtHost {
        RdtHost {
            root: root.to_path_buf(),
            l3: true,
            mb: true,
            mb_granularity: 10,
            counts: vec!["llc_occupancy".into(), "mbm_total_bytes".into()],
        }
    }

    fn plan(json: &str, host: Option<&RdtHost>) -> (Option<RdtPlan>, Vec<String>) {
        let rdt: config::IntelRdt = config::parse(json.as_bytes()).unwrap();
        let mut problems = Problems::default();
        let plan = plan_rdt(Some(&rdt), "box", host, &mut problems);
        (
            plan,
            problems
                .iter()
                .map(|p| format!("{}: {}", p.place, p.text))
                .collect(),
        )
    }

    #[test]
    fn whose_group_it_is() {
        let host = host(Path::new("/r"));
        for (json, group, origin, monitor) in [
            (r#"{"l3CacheSchema":"L3:0=f"}"#, "/r/box", Origin::Container, None),
            (r#"{}"#, "/r/box", Origin::Container, None),
            (
                r#"{"closID":"gold","schemata":["L3:0=f"]}"#,
                "/r/gold",
                Origin::Shared,
                None,
            ),
            (r#"{"closID":"gold"}"#, "/r/gold", Origin::Given, None),
            (
                r#"{"closID":"/","enableMonitoring":true}"#,
                "/r",
                Origin::Given,
                Some("/r/mon_groups/box"),
            ),
        ] {
            let (plan, problems) = plan(json, Some(&host));
            assert_eq!(problems, Vec::<String>::new());
            let plan = plan.unwrap();
            assert_eq!(
                (plan.group.to_str(), plan.origin),
                (Some(group), origin),
                "{json}"
            );
            assert_eq!(plan.monitor.as_deref(), monitor.map(Path::new), "{json}");
        }
    }

    #[test]
    fn schemata_in_writing_order() {
        let host = host(Path::new("/r"));
        for (json, lines) in [
            (
                r#"{"l3CacheSchema":"L3:0=f;1=f0\nMB:0=10","memBwSchema":"MB:0=20;1=70","schemata":["L2:0=1","L3CODE:0=1"]}"#,
                vec!["L3:0=f;1=f0", "MB:0=20;1=70", "L2:0=1", "L3CODE:0=1"],
            ),
            (
                r#"{"l3CacheSchema":"MB:0=10\nL3:0=f"}"#,
                vec!["MB:0=10", "L3:0=f"],
            ),
        ] {
            assert_eq!(plan(json, Some(&host)).0.unwrap().schemata, lines);
        }
    }

    #[test]
    fn what_the_host_cannot_do_is_a_problem() {
        let (_, problems) = plan("{}", None);
        assert_eq!(
            problems,
            ["/linux/intelRdt: intelRdt is specified in config, but Intel RDT is not enabled"]
        );
        let bare = RdtHost {
            root: "/r".into(),
            ..RdtHost::default()
        };
        let (_, problems) = plan(
            r#"{"closID":"a/b","l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=10"}"#,
            Some(&bare),
        );
        assert_eq!(
            problems,
            [
                "/linux/intelRdt/closID: invalid intelRdt.ClosID \"a/b\"",
                "/linux/intelRdt/l3CacheSchema: intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
                "/linux/intelRdt/memBwSchema: intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
            ]
        );
    }

    #[test]
    fn an_existing_group_agrees_or_not() {
        let have = "    MB:0=100;1=30\n    L3:0=00ff;1=f\n";
        for (want, expected) in [
            ("L3:0=ff;1=0f", true),
            ("L3:1=f", true),
            ("L3:0=fe", false),
            ("L3:2=f", false),
            ("MB:1=23", true),
            ("MB:1=30;0=100", true),
            ("MB:1=20", false),
            ("L2:0=f", false),
            ("rubbish", false),
        ] {
            assert_eq!(agrees(have, want, 10), expected, "{want}");
        }
    }

    /// The files that resctrl would have, in a directory of the test's.
    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("runb-rdt-{}-{name}", std::process::id()));
        for (path, text) in [
            ("schemata", "L3:0=fffff\nMB:0=100\n"),
            ("info/last_cmd_status", "ok\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "2\n"),
            ("info/L3/num_closids", "4\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "20\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
            ("gold/schemata", "L3:0=f\nMB:0=50\n"),
            ("gold/tasks", ""),
            ("gold/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("gold/mon_data/mon_L3_00/mbm_total_bytes", "77\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_shared_group_is_used_and_kept() {
        let root = tree("shared");
        let host = look_at(&root).unwrap();
        assert_eq!(
            (host.l3, host.mb, host.mb_granularity, host.counts.len()),
            (true, true, 10, 2)
        );
        let (plan_ok, _) = plan(r#"{"closID":"gold","l3CacheSchema":"L3:0=0f"}"#, Some(&host));
        let plan_ok = plan_ok.unwrap();
        let record = plan_ok.record();
        assert!(!record.remove);
        plan_ok.create().unwrap();
        record.join(42).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("gold/tasks")).unwrap(), "42");
        let stats = record.stats(&host).unwrap();
        assert_eq!(stats.l3_cache_schema_root, "L3:0=fffff");
        assert_eq!(
            (stats.l3_cache_schema.as_str(), stats.mem_bw_schema.as_str()),
            ("L3:0=f", "MB:0=50")
        );
        assert_eq!(stats.schemata, ["L3:0=f", "MB:0=50"]);
        assert_eq!(stats.mbm_stats.unwrap()[0].mbm_total_bytes, 77);
        assert_eq!(stats.cmt_stats.unwrap()[0].llc_occupancy, 4096);
        record.destroy().unwrap();
        assert!(root.join("gold").is_dir());
        let (other, _) = plan(r#"{"closID":"gold","l3CacheSchema":"L3:0=ff"}"#, Some(&host));
        let e = other.unwrap().create().unwrap_err().to_string();
        assert!(
            e.ends_with("exists and does not have the schema \"L3:0=ff\""),
            "{e}"
        );
        let (missing, _) = plan(r#"{"closID":"silver"}"#, Some(&host));
        let e = missing.unwrap().create().unwrap_err().to_string();
        assert!(
            e.starts_with("clos dir not accessible (must be pre-created"),
            "{e}"
        );
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_group_of_the_containers_goes_when_it_fails() {
        let root = tree("own");
        std::fs::write(root.join("info/last_cmd_status"), "mask f0f is not contiguous\n").unwrap();
        let host = look_at(&root).unwrap();
        let (p, _) = plan(r#"{"l3CacheSchema":"L3:0=f0f"}"#, Some(&host));
        let p = p.unwrap();
        assert!(p.record().remove);
        // Outside of resctrl a new directory has no schemata file, so writing it fails as the kernel could.
        let e = p.create().unwrap_err().to_string();
        assert!(
            e.ends_with(", last_cmd_status: mask f0f is not contiguous"),
            "{e}"
        );
        assert!(!root.join("box").exists());
        p.record().destroy().unwrap();
        std::fs::remove_dir_all(root).unwrap();
    }
}
