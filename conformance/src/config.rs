//! The bundle before the runtime sees it: a default config of our own, and edits. Never talks to a runtime.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::CgroupMode;
use crate::payload;

/// Where the files of one case lie.
#[derive(Clone, Debug)]
pub struct Place {
    /// The case's own directory; everything below is its.
    pub dir: PathBuf,
    /// Unique in the machine, and part of every name that the case makes.
    pub tag: String,
    /// What is mounted at /sys/fs/cgroup.
    pub cgroups: CgroupMode,
}

impl Place {
    /// The bundle directory.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// The root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// A directory outside the bundle for what the container must not reach, or is given.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        self.dir.join("outside")
    }

    /// The cgroup path in config.json.
    #[must_use]
    pub fn cgroups_path(&self) -> String {
        let run = self.tag.split('-').next().unwrap_or(&self.tag);
        format!("/{run}/{}", self.tag)
    }
}

/// A bundle in the making.
pub struct Setup {
    /// config.json.
    pub config: Value,
    /// The text written instead of `config` when there is one.
    pub raw: Option<String>,
    /// Where.
    pub place: Place,
    /// What went wrong while preparing; the case cannot be judged then.
    pub trouble: Option<io::Error>,
}

impl Setup {
    /// The default bundle on disk, config in memory.
    ///
    /// # Errors
    /// Those of making directories and files.
    pub fn new(place: Place) -> io::Result<Self> {
        for d in ["bundle", "outside", "state", "tmp", "out"] {
            fs::create_dir_all(place.dir.join(d))?;
        }
        lay_rootfs(&place.rootfs())?;
        Ok(Setup {
            config: default_config(&place),
            raw: None,
            place,
            trouble: None,
        })
    }

    /// `process.args`: the probe with these arguments.
    pub fn args(&mut self, args: &[&str]) {
        let all: Vec<&str> = std::iter::once("/probe").chain(args.iter().copied()).collect();
        self.config["process"]["args"] = json!(all);
    }

    /// Sets the value at a JSON pointer, making objects on the way; `-` as last part appends to an array.
    pub fn set(&mut self, pointer: &str, value: Value) {
        let mut at = &mut self.config;
        let mut parts = pointer.split('/').skip(1).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            if last && part == "-" {
                match at {
                    Value::Array(list) => list.push(value),
                    other => *other = json!([value]),
                }
                return;
            }
            at = match at {
                Value::Array(list) => match part.parse::<usize>().ok().and_then(|i| list.get_mut(i)) {
                    Some(v) => v,
                    None => {
                        self.trouble = Some(io::Error::other(format!("no {pointer} in the config")));
                        return;
                    }
                },
                other => &mut other[part],
            };
            if last {
                *at = value;
                return;
            }
        }
    }

    /// Removes the member at a JSON pointer.
    pub fn unset(&mut self, pointer: &str) {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            return;
        };
        if let Some(Value::Object(o)) = self.config.pointer_mut(parent) {
            o.shift_remove(name);
        }
    }

    /// Appends a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) {
        self.set(
            "/mounts/-",
            json!({"destination": destination, "type": kind, "source": source, "options": options}),
        );
    }

    /// Appends a bind mount of something on the host.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) {
        let all: Vec<&str> = std::iter::once("bind").chain(options.iter().copied()).collect();
        self.mount(destination, "bind", &source.to_string_lossy(), &all);
    }

    /// Removes the default mount at `destination`.
    pub fn unmount(&mut self, destination: &str) {
        if let Some(Value::Array(list)) = self.config.get_mut("mounts") {
            list.retain(|m| m["destination"] != destination);
        }
    }

    /// A namespace is joined at `path`, or new when that is empty.
    pub fn namespace(&mut self, kind: &str, path: &str) {
        self.drop_namespace(kind);
        let entry = if path.is_empty() {
            json!({"type": kind})
        } else {
            json!({"type": kind, "path": path})
        };
        self.set("/linux/namespaces/-", entry);
    }

    /// No namespace of this kind.
    pub fn drop_namespace(&mut self, kind: &str) {
        if let Some(Value::Array(list)) = self.config.pointer_mut("/linux/namespaces") {
            list.retain(|n| n["type"] != kind);
        }
    }

    /// Leaves out what a container can do without: for cases that are about its cgroup, and make many.
    pub fn bare(&mut self) {
        for place in ["/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"] {
            self.unmount(place);
        }
        for kind in ["network", "ipc", "uts"] {
            self.drop_namespace(kind);
        }
        for pointer in ["/hostname", "/linux/maskedPaths", "/linux/readonlyPaths"] {
            self.unset(pointer);
        }
    }

    /// All five capability sets are these names.
    pub fn caps(&mut self, names: &[&str]) {
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            self.config["process"]["capabilities"][set] = json!(names);
        }
    }

    /// A user namespace in which container ids 0.. are host ids `first`..
    pub fn user_namespace(&mut self, first: u32) {
        self.namespace("user", "");
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        self.set("/linux/uidMappings", map.clone());
        self.set("/linux/gidMappings", map);
        let chown = chown_tree(&self.place.rootfs(), first);
        self.remember(chown);
        // The container's root has to reach its rootfs through directories that are ours.
        let mut at = self.place.rootfs();
        while at.starts_with(&self.place.dir) {
            let opened = fs::set_permissions(&at, fs::Permissions::from_mode(0o755));
            self.remember(opened);
            if !at.pop() {
                break;
            }
        }
    }

    /// Keeps the first failure to prepare something; the case is not judged then.
    pub fn remember(&mut self, r: io::Result<()>) {
        if let Err(e) = r {
            self.trouble.get_or_insert(e);
        }
    }

    /// Makes a directory in the rootfs.
    pub fn dir(&mut self, path: &str) {
        let made = fs::create_dir_all(self.in_rootfs(path));
        self.remember(made);
    }

    /// Makes a file in the rootfs.
    pub fn file(&mut self, path: &str, content: &str) {
        let at = self.in_rootfs(path);
        let made = at
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&at, content));
        self.remember(made);
    }

    /// Sets the mode of a file in the rootfs.
    pub fn mode(&mut self, path: &str, mode: u32) {
        let set = fs::set_permissions(self.in_rootfs(path), fs::Permissions::from_mode(mode));
        self.remember(set);
    }

    /// Makes a symbolic link in the rootfs, in place of what is there.
    pub fn link(&mut self, path: &str, to: &str) {
        let at = self.in_rootfs(path);
        let _ = fs::remove_dir_all(&at).or_else(|_| fs::remove_file(&at));
        let made = symlink(to, &at);
        self.remember(made);
    }

    /// Makes a file outside the bundle; its path.
    pub fn outside_file(&mut self, name: &str, content: &str) -> PathBuf {
        let at = self.place.outside().join(name);
        let made = fs::write(&at, content);
        self.remember(made);
        at
    }

    /// Makes a directory outside the bundle; its path.
    pub fn outside_dir(&mut self, name: &str) -> PathBuf {
        let at = self.place.outside().join(name);
        let made = fs::create_dir_all(&at);
        self.remember(made);
        at
    }

    fn in_rootfs(&self, path: &str) -> PathBuf {
        self.place.rootfs().join(path.trim_start_matches('/'))
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// Those of writing.
    pub fn store(&self) -> io::Result<()> {
        let text = match &self.raw {
            Some(raw) => raw.clone(),
            None => serde_json::to_string_pretty(&self.config)?,
        };
        fs::write(self.place.bundle().join("config.json"), text)
    }
}

fn lay_rootfs(rootfs: &Path) -> io::Result<()> {
    for d in ["proc", "sys", "dev", "etc", "run", "var", "bin", "data"] {
        fs::create_dir_all(rootfs.join(d))?;
    }
    fs::DirBuilder::new()
        .mode(0o1777)
        .recursive(true)
        .create(rootfs.join("tmp"))?;
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root-home:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
    )?;
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
    payload::write_probe(&rootfs.join("probe"))
}

fn chown_tree(at: &Path, id: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(at, Some(id), Some(id))?;
    if fs::symlink_metadata(at)?.is_dir() {
        for e in fs::read_dir(at)? {
            chown_tree(&e?.path(), id)?;
        }
    }
    Ok(())
}

/// A config that asks for nothing unusual and shares nothing with the host but the CPU.
fn default_config(place: &Place) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "report"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": caps.clone(), "effective": caps.clone(), "permitted": caps, "inheritable": [], "ambient": []
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "judged",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": place.cgroups_path(),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let place = Place {
            dir: PathBuf::from("/nowhere"),
            tag: "cf1-2".into(),
            cgroups: CgroupMode::Hybrid,
        };
        Setup {
            config: default_config(&place),
            raw: None,
            place,
            trouble: None,
        }
    }

    #[test]
    fn pointers_reach_members_elements_and_the_end_of_lists() {
        let mut s = setup();
        s.set("/process/rlimits/0/soft", json!(7));
        s.set("/linux/sysctl/net.x", json!("1"));
        s.set("/process/env/-", json!("A=b"));
        s.set("/hooks/poststart/-", json!({"path": "/x"}));
        assert_eq!(s.config["process"]["rlimits"][0]["soft"], 7);
        assert_eq!(s.config["linux"]["sysctl"]["net.x"], "1");
        assert_eq!(s.config["process"]["env"][2], "A=b");
        assert_eq!(s.config["hooks"]["poststart"][0]["path"], "/x");
        s.unset("/hostname");
        assert!(s.config.get("hostname").is_none());
        assert!(s.trouble.is_none());
    }

    #[test]
    fn an_element_that_is_not_there_is_trouble() {
        let mut s = setup();
        s.set("/process/rlimits/9/soft", json!(7));
        assert!(s.trouble.is_some());
    }

    #[test]
    fn a_namespace_is_named_once() {
        let mut s = setup();
        s.namespace("pid", "/proc/1/ns/pid");
        let pid: Vec<_> = s.config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|n| n["type"] == "pid")
            .collect();
        assert_eq!(pid.len(), 1);
        assert_eq!(pid[0]["path"], "/proc/1/ns/pid");
    }

    #[test]
    fn the_cgroup_path_names_run_and_case() {
        assert_eq!(setup().place.cgroups_path(), "/cf1/cf1-2");
    }
}
