//! `container inspect`: the document, as a template sees it.
//!
//! May not: find anything out but whether files of the container are there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use engine::containers::Container;
use engine::model::{Config, Empty, Endpoint, Healthcheck, HostConfig, Mount, MountPoint, PortBinding};
use engine::networks::shown as networks;
use engine::summary;
use monitor::ground::{Files, Record};
use monitor::place::Place;
use monitor::state::{State, Status};
use network::attachment::Attachment;

use super::containers::state as word;
use crate::template::value::List;
use crate::template::{Map, Struct, Value};

/// A time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What it has written, and that with its image.
pub type Sizes = (i64, i64);

/// The fields in Docker's order. `below` are the layers of its image, the topmost first.
pub fn container(
    container: &Container,
    place: &Place,
    below: &[PathBuf],
    sizes: Option<Sizes>,
    attachment: Option<&Attachment>,
) -> Value {
    let Container { definition, state } = container;
    let host = &definition.host;
    let security = Security::of(place);
    let file = |name: &str| {
        let path = place.dir.join(name);
        match path.exists() {
            true => path.to_string_lossy().into_owned(),
            false => String::new(),
        }
    };
    let log = match host.log_config.kind.as_str() {
        "json-file" => file(&format!("{}-json.log", definition.id)),
        _ => String::new(),
    };
    let platform = definition.platform.split('/').next().unwrap_or_default();
    Struct::new("container.InspectResponse")
        .with_key("ID", "Id", definition.id.as_str())
        .with("Created", definition.created.as_str())
        .with("Path", definition.path.as_str())
        .with("Args", definition.args.clone())
        .with("State", state_of(state))
        .with("Image", definition.image.as_str())
        .with("ResolvConfPath", file("resolv.conf"))
        .with("HostnamePath", file("hostname"))
        .with("HostsPath", file("hosts"))
        .with("LogPath", log)
        .with("Name", format!("/{}", definition.name))
        .with("RestartCount", i64::from(state.restart_count))
        .with("Driver", definition.driver.as_str())
        .with("Platform", platform)
        .with("MountLabel", security.mount_label)
        .with("ProcessLabel", security.process_label)
        .with("AppArmorProfile", security.apparmor)
        .with("ExecIDs", list(some(&state.execs)))
        .with(
            "HostConfig",
            host_config(&with_links_shown(host, &definition.name)),
        )
        .with_optional(
            "GraphDriver",
            graph_driver(&definition.driver, place, below, state),
        )
        .with_pointer("SizeRw", "*int64", sizes.map(|s| s.0))
        .with_pointer("SizeRootFs", "*int64", sizes.map(|s| s.1))
        .with(
            "Mounts",
            Value::list(
                "[]container.MountPoint",
                definition.mounts.iter().map(mount_point).collect(),
            ),
        )
        .with("Config", config(&definition.config))
        .with(
            "NetworkSettings",
            network_settings(container, attachment, outside(place, attachment).as_ref()),
        )
        .into()
}

/// What the runtime was told, if it has ever started.
#[derive(Default)]
struct Security {
    mount_label: String,
    process_label: String,
    apparmor: String,
}

impl Security {
    fn of(place: &Place) -> Security {
        let spec: serde_json::Value = std::fs::read(place.bundle().join("config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let text = |pointer| {
            let value = spec.pointer(pointer).and_then(serde_json::Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Security {
            mount_label: text("/linux/mountLabel"),
            process_label: text("/process/selinuxLabel"),
            apparmor: text("/process/apparmorProfile"),
        }
    }
}

fn state_of(state: &State) -> Struct {
    let runs = matches!(
        state.status,
        Status::Running | Status::Paused | Status::Restarting
    );
    let pid = state.init.as_ref().map_or(0, |init| i64::from(init.pid));
    let time = |text: &str| match text {
        "" => NEVER.to_owned(),
        text => text.to_owned(),
    };
    Struct::new("container.State")
        .with("Status", word(state.status))
        .with("Running", runs)
        .with("Paused", state.status == Status::Paused)
        .with("Restarting", state.status == Status::Restarting)
        .with("OOMKilled", state.oom_killed)
        .with("Dead", state.status == Status::Dead)
        .with("Pid", if runs { pid } else { 0 })
        .with("ExitCode", i64::from(state.exit_code))
        .with("Error", state.error.as_str())
        .with("StartedAt", time(&state.started_at))
        .with("FinishedAt", time(&state.finished_at))
        .with_optional(
            "Health",
            state
                .health
                .as_ref()
                .map_or(Value::NilPointer("*container.Health"), |health| {
                    let log = health.log.iter().map(|probe| {
                        Struct::new("container.HealthcheckResult")
                            .with("Start", probe.start.as_str())
                            .with("End", probe.end.as_str())
                            .with("ExitCode", i64::from(probe.exit_code))
                            .with("Output", probe.output.as_str())
                            .into()
                    });
                    Struct::new("container.Health")
                        .with("Status", health.status.as_str())
                        .with("FailingStreak", i64::from(health.failing_streak))
                        .with(
                            "Log",
                            Value::list("[]*container.HealthcheckResult", log.collect()),
                        )
                        .into()
                }),
        )
}

/// The root is mounted where nobody but the container sees it, so what is shown of it is the way through its process.
fn graph_driver(name: &str, place: &Place, below: &[PathBuf], state: &State) -> Value {
    let mut data = BTreeMap::from([
        (
            "UpperDir".to_owned(),
            place.upper().to_string_lossy().into_owned(),
        ),
        ("WorkDir".to_owned(), place.work().to_string_lossy().into_owned()),
    ]);
    if !below.is_empty() {
        let lower: Vec<String> = below.iter().map(|path| path.display().to_string()).collect();
        data.insert("LowerDir".to_owned(), lower.join(":"));
    }
    if let Some(init) = state.init.as_ref().filter(|_| summary::is_up(state)) {
        data.insert("MergedDir".to_owned(), format!("/proc/{}/root", init.pid));
    }
    Struct::new("storage.DriverData")
        .with("Data", data)
        .with("Name", name)
        .into()
}

fn mount_point(mount: &MountPoint) -> Value {
    Struct::new("container.MountPoint")
        .with_optional("Type", mount.kind.as_str())
        .with_optional("Name", mount.name.as_str())
        .with("Source", mount.source.as_str())
        .with("Destination", mount.destination.as_str())
        .with_optional("Driver", mount.driver.as_str())
        .with("Mode", mount.mode.as_str())
        .with("RW", mount.rw)
        .with("Propagation", mount.propagation.as_str())
        .into()
}

fn config(config: &Config) -> Struct {
    let healthcheck = config
        .healthcheck
        .as_ref()
        .map_or(Value::NilPointer("*v1.HealthcheckConfig"), health_config);
    Struct::new("container.Config")
        .with("Hostname", config.hostname.as_str())
        .with("Domainname", config.domainname.as_str())
        .with("User", config.user.as_str())
        .with("AttachStdin", config.attach_stdin)
        .with("AttachStdout", config.attach_stdout)
        .with("AttachStderr", config.attach_stderr)
        .with_optional(
            "ExposedPorts",
            set("map[network.Port]struct {}", config.exposed_ports.as_ref()),
        )
        .with("Tty", config.tty)
        .with("OpenStdin", config.open_stdin)
        .with("StdinOnce", config.stdin_once)
        .with("Env", config.env.clone())
        .with("Cmd", list(config.cmd.as_deref()))
        .with_optional("Healthcheck", healthcheck)
        .with_optional("ArgsEscaped", config.args_escaped)
        .with("Image", config.image.as_str())
        .with("Volumes", set("map[string]struct {}", config.volumes.as_ref()))
        .with("WorkingDir", config.working_dir.as_str())
        .with("Entrypoint", list(config.entrypoint.as_deref()))
        .with_optional("NetworkDisabled", config.network_disabled)
        .with_optional("OnBuild", list(config.on_build.as_deref()))
        .with("Labels", config.labels.clone())
        .with_optional("StopSignal", config.stop_signal.clone().unwrap_or_default())
        .with_pointer("StopTimeout", "*int", config.stop_timeout)
        .with_optional("Shell", list(config.shell.as_deref()))
}

pub(super) fn health_config(check: &Healthcheck) -> Value {
    Struct::new("v1.HealthcheckConfig")
        .with_optional("Test", check.test.clone())
        .with_optional("Interval", Value::Duration(check.interval))
        .with_optional("Timeout", Value::Duration(check.timeout))
        .with_optional("StartPeriod", Value::Duration(check.start_period))
        .with_optional("StartInterval", Value::Duration(check.start_interval))
        .with_optional("Retries", check.retries)
        .into()
}

/// Links in the form in which Docker keeps them.
fn with_links_shown(host: &HostConfig, name: &str) -> HostConfig {
    let links = host.links.iter().flatten();
    let links: Vec<String> = links
        .map(|link| engine::networks::links::shown(link, name))
        .collect();
    HostConfig {
        links: Some(links).filter(|l| !l.is_empty()),
        ..host.clone()
    }
}

fn host_config(host: &HostConfig) -> Struct {
    let console = host.console_size.map(|n| Value::from(i64::from(n)));
    let log = Struct::new("container.LogConfig")
        .with("Type", host.log_config.kind.as_str())
        .with("Config", host.log_config.config.clone());
    let restart = Struct::new("container.RestartPolicy")
        .with("Name", host.restart_policy.name.as_str())
        .with(
            "MaximumRetryCount",
            i64::from(host.restart_policy.maximum_retry_count),
        );
    Struct::new("container.HostConfig")
        .with("Binds", list(host.binds.as_deref()))
        .with("ContainerIDFile", host.container_id_file.as_str())
        .with("LogConfig", log)
        .with("NetworkMode", host.network_mode.as_str())
        .with("PortBindings", port_map(&host.port_bindings))
        .with("RestartPolicy", restart)
        .with("AutoRemove", host.auto_remove)
        .with("VolumeDriver", host.volume_driver.as_str())
        .with("VolumesFrom", list(host.volumes_from.as_deref()))
        .with("ConsoleSize", Value::list("[2]uint", console.into()))
        .with_optional("Annotations", host.annotations.clone())
        .with("CapAdd", list(host.cap_add.as_deref()))
        .with("CapDrop", list(host.cap_drop.as_deref()))
        .with("CgroupnsMode", host.cgroupns_mode.as_str())
        .with_key("DNS", "Dns", host.dns.clone())
        .with_key("DNSOptions", "DnsOptions", host.dns_options.clone())
        .with_key("DNSSearch", "DnsSearch", host.dns_search.clone())
        .with("ExtraHosts", list(host.extra_hosts.as_deref()))
        .with("GroupAdd", list(host.group_add.as_deref()))
        .with("IpcMode", host.ipc_mode.as_str())
        .with("Cgroup", host.cgroup.as_str())
        .with("Links", list(host.links.as_deref()))
        .with("OomScoreAdj", host.oom_score_adj)
        .with("PidMode", host.pid_mode.as_str())
        .with("Privileged", host.privileged)
        .with("PublishAllPorts", host.publish_all_ports)
        .with("ReadonlyRootfs", host.readonly_rootfs)
        .with("SecurityOpt", list(host.security_opt.as_deref()))
        .with_optional("StorageOpt", host.storage_opt.clone())
        .with_optional("Tmpfs", host.tmpfs.clone())
        .with("UTSMode", host.uts_mode.as_str())
        .with("UsernsMode", host.userns_mode.as_str())
        .with("ShmSize", host.shm_size)
        .with_optional("Sysctls", host.sysctls.clone())
        .with_optional("Runtime", host.runtime.as_str())
        .with("Isolation", host.isolation.as_str())
        .embedding("Resources", resources(host))
        .with_optional(
            "Mounts",
            Value::list("[]mount.Mount", host.mounts.iter().map(mount).collect()),
        )
        .with("MaskedPaths", list(host.masked_paths.as_deref()))
        .with("ReadonlyPaths", list(host.readonly_paths.as_deref()))
        .with_pointer("Init", "*bool", host.init)
}

fn resources(host: &HostConfig) -> Struct {
    let throttled = |devices: &[engine::model::ThrottleDevice]| {
        let devices = devices.iter().map(|d| {
            Struct::new("blkiodev.ThrottleDevice")
                .with("Path", d.path.as_str())
                .with("Rate", d.rate)
                .into()
        });
        Value::list("[]*blkiodev.ThrottleDevice", devices.collect())
    };
    let weighted = host.blkio_weight_device.iter().map(|d| {
        Struct::new("blkiodev.WeightDevice")
            .with("Path", d.path.as_str())
            .with("Weight", i64::from(d.weight))
            .into()
    });
    let devices = host.devices.iter().map(|d| {
        Struct::new("container.DeviceMapping")
            .with("PathOnHost", d.path_on_host.as_str())
            .with("PathInContainer", d.path_in_container.as_str())
            .with("CgroupPermissions", d.cgroup_permissions.as_str())
            .into()
    });
    let requests = host.device_requests.iter().flatten().map(|r| {
        let capabilities = r
            .capabilities
            .iter()
            .flatten()
            .map(|c| Value::from(c.clone()))
            .collect();
        Struct::new("container.DeviceRequest")
            .with("Driver", r.driver.as_str())
            .with("Count", r.count)
            .with("DeviceIDs", list(r.device_ids.as_deref()))
            .with(
                "Capabilities",
                nil_if(r.capabilities.is_none(), Value::list("[][]string", capabilities)),
            )
            .with("Options", r.options.clone())
            .into()
    });
    let requests = Value::list("[]container.DeviceRequest", requests.collect());
    let ulimits = host.ulimits.iter().map(|u| {
        Struct::new("units.Ulimit")
            .with("Name", u.name.as_str())
            .with("Hard", u.hard)
            .with("Soft", u.soft)
            .into()
    });
    let number = |n: Option<i64>| n.map_or(Value::NilPointer("*int64"), Value::from);
    Struct::new("container.Resources")
        .with_key("CPUShares", "CpuShares", host.cpu_shares)
        .with("Memory", host.memory)
        .with_key("NanoCPUs", "NanoCpus", host.nano_cpus)
        .with("CgroupParent", host.cgroup_parent.as_str())
        .with("BlkioWeight", i64::from(host.blkio_weight))
        .with(
            "BlkioWeightDevice",
            Value::list("[]*blkiodev.WeightDevice", weighted.collect()),
        )
        .with("BlkioDeviceReadBps", throttled(&host.blkio_device_read_bps))
        .with("BlkioDeviceWriteBps", throttled(&host.blkio_device_write_bps))
        .with("BlkioDeviceReadIOps", throttled(&host.blkio_device_read_iops))
        .with("BlkioDeviceWriteIOps", throttled(&host.blkio_device_write_iops))
        .with_key("CPUPeriod", "CpuPeriod", host.cpu_period)
        .with_key("CPUQuota", "CpuQuota", host.cpu_quota)
        .with_key("CPURealtimePeriod", "CpuRealtimePeriod", host.cpu_realtime_period)
        .with_key(
            "CPURealtimeRuntime",
            "CpuRealtimeRuntime",
            host.cpu_realtime_runtime,
        )
        .with("CpusetCpus", host.cpuset_cpus.as_str())
        .with("CpusetMems", host.cpuset_mems.as_str())
        .with(
            "Devices",
            Value::list("[]container.DeviceMapping", devices.collect()),
        )
        .with("DeviceCgroupRules", list(host.device_cgroup_rules.as_deref()))
        .with("DeviceRequests", nil_if(host.device_requests.is_none(), requests))
        .with("MemoryReservation", host.memory_reservation)
        .with("MemorySwap", host.memory_swap)
        .with("MemorySwappiness", number(host.memory_swappiness))
        .with(
            "OomKillDisable",
            host.oom_kill_disable
                .map_or(Value::NilPointer("*bool"), Value::from),
        )
        .with("PidsLimit", number(host.pids_limit))
        .with("Ulimits", Value::list("[]*units.Ulimit", ulimits.collect()))
        .with_key("CPUCount", "CpuCount", host.cpu_count)
        .with_key("CPUPercent", "CpuPercent", host.cpu_percent)
        .with("IOMaximumIOps", host.io_maximum_iops)
        .with("IOMaximumBandwidth", host.io_maximum_bandwidth)
}

fn mount(mount: &Mount) -> Value {
    let nil = Value::NilPointer;
    let bind = mount
        .bind_options
        .as_ref()
        .map_or(nil("*mount.BindOptions"), |b| {
            Struct::new("mount.BindOptions")
                .with_optional("Propagation", b.propagation.as_str())
                .with_optional("NonRecursive", b.non_recursive)
                .with_optional("CreateMountpoint", b.create_mountpoint)
                .with_optional("ReadOnlyNonRecursive", b.read_only_non_recursive)
                .with_optional("ReadOnlyForceRecursive", b.read_only_force_recursive)
                .into()
        });
    let volume = mount
        .volume_options
        .as_ref()
        .map_or(nil("*mount.VolumeOptions"), |v| {
            let driver = v.driver_config.as_ref().map_or(nil("*mount.Driver"), |d| {
                Struct::new("mount.Driver")
                    .with_optional("Name", d.name.as_str())
                    .with_optional("Options", d.options.clone())
                    .into()
            });
            Struct::new("mount.VolumeOptions")
                .with_optional("NoCopy", v.no_copy)
                .with_optional("Labels", v.labels.clone())
                .with_optional("Subpath", v.subpath.as_str())
                .with_optional("DriverConfig", driver)
                .into()
        });
    let image = mount
        .image_options
        .as_ref()
        .map_or(nil("*mount.ImageOptions"), |i| {
            Struct::new("mount.ImageOptions")
                .with_optional("Subpath", i.subpath.as_str())
                .into()
        });
    let tmpfs = mount
        .tmpfs_options
        .as_ref()
        .map_or(nil("*mount.TmpfsOptions"), |t| {
            Struct::new("mount.TmpfsOptions")
                .with_optional("SizeBytes", t.size_bytes)
                .with_optional("Mode", i64::from(t.mode.unwrap_or(0)))
                .into()
        });
    Struct::new("mount.Mount")
        .with_optional("Type", mount.kind.as_str())
        .with_optional("Source", mount.source.as_str())
        .with_optional("Target", mount.target.as_str())
        .with_optional("ReadOnly", mount.read_only)
        .with_optional("Consistency", mount.consistency.as_str())
        .with_optional("BindOptions", bind)
        .with_optional("VolumeOptions", volume)
        .with_optional("ImageOptions", image)
        .with_optional("TmpfsOptions", tmpfs)
        .into()
}

fn network_settings(
    container: &Container,
    attachment: Option<&Attachment>,
    outside: Option<&Record>,
) -> Struct {
    let Container { definition, state } = container;
    let host = &definition.host;
    let up = summary::is_up(state);
    let pid = state.init.as_ref().filter(|_| up).map(|init| init.pid);
    let exposed = definition.config.exposed_ports.as_ref();
    let published = attachment.map_or(&[][..], |a| &a.ports);
    let listed = match up {
        true => summary::ports(&host.network_mode, exposed, published),
        false => Vec::new(),
    };
    let mut ports: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in listed {
        let bindings = ports
            .entry(format!("{}/{}", port.private, port.protocol))
            .or_default();
        bindings.extend(port.public.map(|(host_ip, number)| PortBinding {
            host_ip,
            host_port: number.to_string(),
        }));
    }
    let names = summary::networks(&host.network_mode, &definition.networks);
    let networks = names.into_iter().map(|name| {
        let own = networks(definition, &name, attachment);
        (name, endpoint(&own))
    });
    let settings = Struct::new("container.NetworkSettings")
        .with("SandboxID", if up { definition.id.as_str() } else { "" })
        .with(
            "SandboxKey",
            pid.map_or_else(String::new, |pid| format!("/proc/{pid}/ns/net")),
        )
        .with("Ports", port_map(&ports))
        .with("Networks", map("map[string]*network.EndpointSettings", networks));
    match outside {
        Some(record) => settings.with("Outside", way_out(record)),
        None => settings,
    }
}

/// Of a container that has networks of its own, on the ground of an ordinary user.
fn outside(place: &Place, attachment: Option<&Attachment>) -> Option<Record> {
    let [_, run] = &place.roots;
    attachment.and_then(|_| Files::of(run).find())
}

/// What leads an ordinary user's containers out: nothing that Docker knows.
fn way_out(record: &Record) -> Struct {
    let (program, pid) = match &record.outside {
        Some(outside) => (outside.program.path.display().to_string(), outside.process.pid),
        None => (String::new(), 0),
    };
    Struct::new("network.Outside")
        .with("Program", program)
        .with("Pid", i64::from(pid))
        .with("Running", record.way_out().is_some())
        .with("Error", record.why.as_str())
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let ipam = match &endpoint.ipam_config {
        None => Value::NilPointer("*network.EndpointIPAMConfig"),
        Some(json) => Value::from(json),
    };
    let options = match &endpoint.driver_opts {
        Some(options) => options.clone().into(),
        None => nil_if(true, Value::from(BTreeMap::<String, String>::new())),
    };
    Struct::new("network.EndpointSettings")
        .with("IPAMConfig", ipam)
        .with("Links", list(endpoint.links.as_deref()))
        .with("Aliases", list(endpoint.aliases.as_deref()))
        .with("DriverOpts", options)
        .with("GwPriority", endpoint.gw_priority)
        .with("NetworkID", endpoint.network_id.as_str())
        .with("EndpointID", endpoint.endpoint_id.as_str())
        .with("Gateway", endpoint.gateway.as_str())
        .with("IPAddress", endpoint.ip_address.as_str())
        .with("MacAddress", endpoint.mac_address.as_str())
        .with("IPPrefixLen", i64::from(endpoint.ip_prefix_len))
        .with("IPv6Gateway", endpoint.ipv6_gateway.as_str())
        .with("GlobalIPv6Address", endpoint.global_ipv6_address.as_str())
        .with("GlobalIPv6PrefixLen", i64::from(endpoint.global_ipv6_prefix_len))
        .with("DNSNames", list(endpoint.dns_names.as_deref()))
        .into()
}

fn port_map(ports: &BTreeMap<String, Vec<PortBinding>>) -> Value {
    let entries = ports.iter().map(|(port, bindings)| {
        let bindings: Vec<Value> = bindings
            .iter()
            .map(|b| {
                Struct::new("network.PortBinding")
                    .with_key("HostIP", "HostIp", b.host_ip.as_str())
                    .with("HostPort", b.host_port.as_str())
                    .into()
            })
            .collect();
        // A port that nobody has published has no list.
        let is_nil = bindings.is_empty();
        (
            port.clone(),
            nil_if(is_nil, Value::list("[]network.PortBinding", bindings)),
        )
    });
    map("map[network.Port][]network.PortBinding", entries)
}

fn set(kind: &'static str, keys: Option<&BTreeMap<String, Empty>>) -> Value {
    let entries = keys
        .into_iter()
        .flatten()
        .map(|(key, Empty {})| (key.clone(), Struct::new("struct {}").into()));
    nil_if(keys.is_none(), map(kind, entries))
}

fn map(kind: &'static str, entries: impl Iterator<Item = (String, Value)>) -> Value {
    Map {
        kind,
        entries: entries.collect(),
        is_nil: false,
        methods: BTreeMap::new(),
    }
    .into()
}

fn some(list: &[String]) -> Option<&[String]> {
    Some(list).filter(|l| !l.is_empty())
}

fn list(list: Option<&[String]>) -> Value {
    list.map_or_else(Value::nil_list, |l| Value::from(l.to_vec()))
}

/// A nil slice or map of the same type.
fn nil_if(is_nil: bool, value: Value) -> Value {
    match value {
        Value::List(list) if is_nil => Value::List(Rc::new(List {
            kind: list.kind,
            items: Vec::new(),
            is_nil,
        })),
        Value::Map(map) if is_nil => Map {
            kind: map.kind,
            entries: BTreeMap::new(),
            is_nil,
            methods: BTreeMap::new(),
        }
        .into(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rows::inspect::Inspector;
    use engine::model::{Definition, Device, Ulimit};
    use monitor::state::{Health, Probe, Process};
    use std::path::Path;

    fn some() -> Value {
        let definition = Definition {
            version: 1,
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            created: "2026-11-28T05:00:00.5Z".into(),
            path: "nginx".into(),
            args: vec!["-g".into(), "daemon off;".into()],
            image: format!("sha256:{}", "ab".repeat(32)),
            platform: "linux/amd64".into(),
            driver: "overlay2".into(),
            config: Config {
                hostname: "0123456789ab".into(),
                env: vec!["A=<b>".into()],
                exposed_ports: Some([("80/tcp".to_owned(), Empty {})].into()),
                image: "nginx".into(),
                stop_timeout: Some(0),
                ..Config::default()
            },
            host: HostConfig {
                memory: 1 << 20,
                init: Some(false),
                ulimits: vec![Ulimit {
                    name: "nofile".into(),
                    hard: 2,
                    soft: 1,
                }],
                devices: vec![Device {
                    path_on_host: "/dev/fuse".into(),
                    path_in_container: "/dev/fuse".into(),
                    cgroup_permissions: "rwm".into(),
                }],
                network_mode: "host".into(),
                ..HostConfig::default()
            },
            mounts: vec![MountPoint {
                kind: "volume".into(),
                name: "data".into(),
                source: "/v/data/_data".into(),
                destination: "/data".into(),
                driver: "local".into(),
                mode: "z".into(),
                rw: true,
                ..MountPoint::default()
            }],
            ..Definition::default()
        };
        let state = State {
            status: Status::Running,
            init: Some(Process { pid: 42, start: 1 }),
            started_at: "2026-11-28T05:00:01Z".into(),
            health: Some(Health {
                status: "healthy".into(),
                failing_streak: 0,
                log: vec![Probe::default()],
            }),
            ..State::default()
        };
        let place = Place::of(Path::new("/nowhere"), Path::new("/nowhere/run"), &definition.id);
        let below = [PathBuf::from("/layers/b"), PathBuf::from("/layers/a")];
        container(
            &Container { definition, state },
            &place,
            &below,
            Some((0, 5)),
            None,
        )
    }

    fn shown(format: Option<&str>) -> (String, Vec<String>) {
        let mut errors = Vec::new();
        let text = Inspector::new(format).unwrap().show(&[some()], &mut errors);
        (text, errors)
    }

    #[test]
    fn the_document_has_dockers_fields_in_their_order() {
        let text = shown(None).0;
        let keys: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("        \"")?.split('"').next())
            .collect();
        assert_eq!(
            keys.join(" "),
            "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform \
             MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver SizeRw SizeRootFs Mounts Config NetworkSettings"
        );
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let host = &json[0]["HostConfig"];
        assert_eq!(host["Memory"], 1 << 20, "resources are taken apart");
        assert_eq!(host["Init"], false);
        assert_eq!(host["Binds"], serde_json::Value::Null);
        assert!(host.get("Resources").is_none() && host.get("Mounts").is_none());
        assert_eq!(json[0]["SizeRw"], 0);
        assert_eq!(json[0]["Config"]["StopTimeout"], 0);
        assert_eq!(json[0]["Config"]["Env"][0], "A=<b>");
        assert_eq!(json[0]["NetworkSettings"]["Networks"]["host"]["IPAddress"], "");
    }

    /// What the engine writes and what is shown have the same names: none is forgotten here.
    #[test]
    fn nothing_of_the_record_is_missing() {
        let json: serde_json::Value = serde_json::from_str(&shown(None).0).unwrap();
        for (key, record) in [
            ("HostConfig", serde_json::to_value(HostConfig::default()).unwrap()),
            ("Config", serde_json::to_value(Config::default()).unwrap()),
        ] {
            for name in record.as_object().unwrap().keys() {
                // Docker leaves empty ones out.
                if !matches!(name.as_str(), "Runtime" | "OnBuild") {
                    assert!(json[0][key].get(name).is_some(), "{key}.{name}");
                }
            }
        }
    }

    #[test]
    fn templates() {
        for (format, text) in [
            (
                "{{.State.Status}} {{.State.Running}} {{.State.Pid}}",
                "running true 42",
            ),
            (
                "{{.State.StartedAt}} {{.State.FinishedAt}}",
                "2026-11-28T05:00:01Z 0001-01-01T00:00:00Z",
            ),
            ("{{.State.Health.Status}}", "healthy"),
            (
                "{{.Name}} {{.ID}}",
                "/web 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ),
            (
                "{{.Id}}",
                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ),
            ("{{.Mounts}}", "[{volume data /v/data/_data /data local z true }]"),
            ("{{range .Mounts}}{{.Destination}}{{end}}", "/data"),
            (
                "{{.HostConfig.LogConfig}} {{.HostConfig.Memory}}",
                "{ map[]} 1048576",
            ),
            ("{{.HostConfig.NanoCpus}}", "0"),
            ("{{.HostConfig.RestartPolicy.Name}}", "no"),
            (
                "{{json .HostConfig.RestartPolicy}}",
                "{\"Name\":\"no\",\"MaximumRetryCount\":0}",
            ),
            (
                "{{.Config.Image}} {{.Config.Cmd}} {{.Args}}",
                "nginx [] [-g daemon off;]",
            ),
            (
                "{{range $p, $conf := .Config.ExposedPorts}}{{$p}}{{end}}",
                "80/tcp",
            ),
            (
                "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
                "host=",
            ),
            ("{{json .NetworkSettings.Ports}}", "{}"),
            ("{{index .Config.Env 0}} {{len .Mounts}}", "A=<b> 1"),
            (
                "{{.GraphDriver.Name}} {{.GraphDriver.Data.LowerDir}} {{.GraphDriver.Data.MergedDir}}",
                "overlay2 /layers/b:/layers/a /proc/42/root",
            ),
        ] {
            assert_eq!(shown(Some(format)), (format!("{text}\n"), Vec::new()), "{format}");
        }
        assert_eq!(
            shown(Some("{{.NetworkSettings.IPAddress}}")).1,
            [
                "template parsing error: template: :1:18: executing \"\" at <.NetworkSettings.IPAddress>: map has no entry for key \"IPAddress\""
            ]
        );
    }
}
