//! The cgroup as a unit of systemd: a scope that systemd makes around the container's first process.
//!
//! May not: write to cgroupfs (that is the rest of [`crate::cgroup`], and happens after systemd has done its part), or
//! read the configuration behind the planner's back.
//!
//! ```text
//! check_booted, probe_bus, Manager::connect   which systemd, and what it can do: SystemdFacts
//! plan_unit                                   pure: name, slice, properties
//! (the record is saved: unit and paths)
//! Manager::begin(pid)                         StartTransientUnit goes out; the child goes on with its mounts
//! Manager::finish                             the job is over: the child is in the scope
//! Manager::set_properties                     the limits of memory and pids, before they are written, and weights of io
//! ```
//!
//! Devices: on v2 systemd is told nothing about them; docs/decisions/0009-units-of-systemd.md says why.

mod annotation;
mod bus;
mod manager;
mod name;
mod property;

pub use bus::{check_booted, probe_bus};
pub use manager::Manager;
pub use name::{NameProblem, UnitName, is_slice};
pub use property::{Line, Property, Weigher, line_of, of_lines, round_quota};

use self::property::is_io_weight;
use super::device::DevicePolicy;
use super::hierarchy::Layout;
use super::plan::{Phase, Write};
use crate::config::{Config, Cpu};
use crate::dbus::Value;
use crate::problems::Problems;
use serde::{Deserialize, Serialize};

/// Which systemd: a bus belongs to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// PID 1.
    #[default]
    System,
    /// That of an ordinary user.
    User,
}

impl Bus {
    /// Where containers go that say nothing else.
    fn default_slice(self) -> &'static str {
        match self {
            Bus::System => "system.slice",
            Bus::User => "user.slice",
        }
    }
}

/// What a plan has to know about the systemd that will make the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SystemdFacts {
    /// Which one.
    pub bus: Bus,
    /// 252
    pub version: u32,
    /// The cgroup below which all its units are; empty for the root.
    pub control_group: String,
}

/// A unit that is, or was, or will be: what the container's record has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `runb-ID.scope`
    pub name: String,
    /// Whose it is.
    pub bus: Bus,
}

/// A unit, decided.
#[derive(Clone, Debug, Serialize)]
pub struct UnitPlan {
    /// Its name.
    pub unit: Unit,
    /// With which it starts; the processes are added when they are known.
    pub properties: Vec<Property>,
    /// Limits that come when the set-up is over, for the reason of [`Phase::Late`].
    pub late: Vec<Property>,
    /// Weights of io; whose they are is not known before the cgroup is there.
    pub io_weights: IoWeights,
}

/// Weights of io for either weigher. bfq may be a module, so only a cgroup with the io controller shows whether the kernel has it,
/// and before the unit there may be none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IoWeights {
    /// For [`Weigher::Controller`].
    pub controller: Vec<Property>,
    /// For [`Weigher::Bfq`].
    pub bfq: Vec<Property>,
}

impl UnitPlan {
    /// What systemd is told when the set-up is over.
    pub fn last_properties(&self, weigher: Weigher) -> Vec<Property> {
        let weights = match weigher {
            Weigher::Controller => &self.io_weights.controller,
            Weigher::Bfq => &self.io_weights.bfq,
        };
        self.late.iter().chain(weights).cloned().collect()
    }
}

/// The names in `linux.cgroupsPath`, or the default ones.
pub fn plan_name(
    cgroups_path: &str,
    tool: &str,
    id: &str,
    facts: &SystemdFacts,
) -> Result<UnitName, NameProblem> {
    name::parse(cgroups_path, tool, id, facts.bus.default_slice())
}

/// The properties of the container's unit.
pub fn plan_unit(
    name: &UnitName,
    id: &str,
    config: &Config,
    writes: &[Write],
    devices: &DevicePolicy,
    host: (&Layout, &SystemdFacts),
    problems: &mut Problems,
) -> UnitPlan {
    let (layout, facts) = host;
    let unified = matches!(layout, Layout::Unified { .. });
    let mut properties = general(name, id, unified);
    if !unified {
        properties.extend(property::of_devices(devices));
    }
    let cpu = cpu_of(config);
    let of = |weigher: Weigher, is_meant: &dyn Fn(&Write) -> bool| {
        let meant = writes.iter().filter(|w| is_meant(w));
        let lines: Vec<Line<'_>> = meant.filter_map(|w| line_of(w, weigher)).collect();
        of_lines(&lines, facts.version, cpu)
    };
    let of_phase = |phase: Phase| of(Weigher::Controller, &|w| w.phase == phase && !is_io_weight(w));
    properties.extend(of_phase(Phase::Early));
    properties.extend(annotation::properties(&config.annotations, problems));
    UnitPlan {
        unit: Unit {
            name: name.unit.clone(),
            bus: facts.bus,
        },
        properties,
        late: of_phase(Phase::Late),
        io_weights: IoWeights {
            controller: of(Weigher::Controller, &is_io_weight),
            bfq: of(Weigher::Bfq, &is_io_weight),
        },
    }
}

/// The container's CPU limits as configured.
pub fn cpu_of(config: &Config) -> Option<&Cpu> {
    config.linux.as_ref()?.resources.as_ref()?.cpu.as_ref()
}

fn general(name: &UnitName, id: &str, unified: bool) -> Vec<Property> {
    let yes = |name: &str| Property::new(name, Value::Bool(true));
    let mut out = vec![Property::new(
        "Description",
        Value::Text(format!("runb container {id}")),
    )];
    if is_slice(&name.unit) {
        // A slice's place follows from its own name; the configured one is only pulled in.
        out.push(Property::new("Wants", Value::texts([&name.slice])));
    } else {
        out.push(Property::new("Slice", Value::Text(name.slice.clone())));
        // Or systemd would move processes out of sub-cgroups, and take controllers away that it does not use itself.
        out.push(yes("Delegate"));
    }
    // The files are there then, and what the container uses is counted from the start.
    out.extend(["MemoryAccounting", "CPUAccounting", "TasksAccounting"].map(yes));
    out.push(yes(if unified {
        "IOAccounting"
    } else {
        "BlockIOAccounting"
    }));
    // Otherwise a shutdown would end the container before the engine that has to.
    out.push(Property::new("DefaultDependencies", Value::Bool(false)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;
    use crate::cgroup::plan_cgroup;
    use crate::facts::HostFacts;

    fn host(bus: Bus, control_group: &str) -> HostFacts {
        HostFacts {
            systemd: Some(SystemdFacts {
                bus,
                version: 252,
                control_group: control_group.into(),
            }),
            ..HostFacts::default()
        }
    }

    fn plan(json: &str, facts: &HostFacts, layout: &Layout) -> (super::super::CgroupPlan, Problems) {
        let config: Config = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let own = Default::default();
        let plan = plan_cgroup(&config, "box", "runb", layout, &own, facts, &mut problems);
        (plan, problems)
    }

    fn shown(list: &[Property]) -> Vec<String> {
        list.iter().map(|p| format!("{}={}", p.name, p.value)).collect()
    }

    const LIMITED: &str = r#"{"linux":{"resources":{"memory":{"limit":1048576},"pids":{"limit":9},
        "cpu":{"shares":512,"quota":12345,"period":100000},"unified":{"memory.high":"1000"}}},
        "annotations":{"org.systemd.property.CollectMode":"'inactive'","org.systemd.property.Bad":"("}}"#;

    #[test]
    fn a_scope_of_the_system() {
        let layout = fixture::unified(&["cpu", "memory", "pids"]);
        let (plan, problems) = plan(LIMITED, &host(Bus::System, ""), &layout);
        let unit = plan.unit.unwrap();
        assert_eq!(unit.unit.name, "runb-box.scope");
        assert_eq!(
            shown(&unit.properties),
            [
                "Description='runb container box'",
                "Slice='system.slice'",
                "Delegate=true",
                "MemoryAccounting=true",
                "CPUAccounting=true",
                "TasksAccounting=true",
                "IOAccounting=true",
                "DefaultDependencies=false",
                "CPUWeight=59",
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=130000",
                "CollectMode='inactive'",
            ]
        );
        assert_eq!(
            shown(&unit.late),
            ["TasksMax=9", "MemoryMax=1048576", "MemoryHigh=1000"]
        );
        let quota = plan.writes.iter().find(|w| w.file == "cpu.max").unwrap();
        assert_eq!(quota.value, "13000 100000");
        assert_eq!(
            plan.paths.v2().unwrap().path().to_str(),
            Some("/sys/fs/cgroup/system.slice/runb-box.scope")
        );
        let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["/annotations/org.systemd.property.Bad"]);
    }

    #[test]
    fn weights_of_io_for_either_weigher() {
        let json = r#"{"linux":{"resources":{"blockIO":{"weight":100,
            "weightDevice":[{"major":8,"minor":0,"weight":50}]}}}}"#;
        let (plan, _) = plan(json, &host(Bus::System, ""), &fixture::unified(&["io"]));
        let unit = plan.unit.unwrap();
        let shown = |weigher| shown(&unit.last_properties(weigher));
        assert_eq!(
            shown(Weigher::Bfq),
            ["IOWeight=100", "IODeviceWeight=[('/dev/block/8:0', 50)]"]
        );
        assert_eq!(shown(Weigher::Controller), ["IOWeight=910"]);
        assert!(!self::shown(&unit.properties).iter().any(|p| p.starts_with("IOW")));
    }

    #[test]
    fn a_scope_of_a_user() {
        let root = "/user.slice/user-7.slice/user@7.service";
        let layout = fixture::unified(&["memory", "pids"]);
        let (plan, problems) = plan("{}", &host(Bus::User, root), &layout);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            plan.paths.v2().unwrap().path().to_str(),
            Some("/sys/fs/cgroup/user.slice/user-7.slice/user@7.service/user.slice/runb-box.scope")
        );
        let json = r#"{"linux":{"resources":{"blockIO":{"weight":100}}}}"#;
        let (_, problems) = self::plan(json, &host(Bus::User, root), &layout);
        let text = problems.into_result().unwrap_err().to_string();
        assert!(
            text.contains("cannot set io limit: the io cgroup controller is not available"),
            "{text}"
        );
        assert!(text.contains("Delegate="), "{text}");
        let (_, problems) = self::plan("{}", &host(Bus::User, root), &fixture::legacy());
        let text = problems.into_result().unwrap_err().to_string();
        assert!(
            text.contains("cannot use rootless systemd cgroups manager on cgroup v1"),
            "{text}"
        );
    }

    #[test]
    fn a_slice_holds_no_process_for_systemd() {
        let json = r#"{"linux":{"cgroupsPath":"a.slice:x:b.slice"}}"#;
        let (plan, _) = plan(json, &host(Bus::System, ""), &fixture::unified(&[]));
        let shown = shown(&plan.unit.unwrap().properties);
        assert!(shown.contains(&"Wants=['a.slice']".to_string()), "{shown:?}");
        assert!(
            !shown
                .iter()
                .any(|p| p.starts_with("Delegate=") || p.starts_with("Slice=")),
            "{shown:?}"
        );
    }

    #[test]
    fn v1_has_its_own_words() {
        let (plan, _) = plan(
            r#"{"linux":{"cgroupsPath":"a-b.slice:p:n","resources":{"memory":{"limit":-1}}}}"#,
            &host(Bus::System, ""),
            &fixture::legacy(),
        );
        let unit = plan.unit.unwrap();
        let all = shown(&unit.properties);
        for part in ["BlockIOAccounting=true", "DevicePolicy='strict'"] {
            assert!(all.contains(&part.to_string()), "{all:?}");
        }
        assert_eq!(shown(&unit.late), ["MemoryLimit=infinity"]);
        let dirs: Vec<_> = plan
            .paths
            .dirs()
            .iter()
            .map(|d| d.path().display().to_string())
            .collect();
        assert_eq!(dirs[1], "/sys/fs/cgroup/memory/a.slice/a-b.slice/p-n.scope");
        assert_eq!(dirs[3], "/sys/fs/cgroup/unified/a.slice/a-b.slice/p-n.scope");
    }
}
