//! The runtime with `--systemd-cgroup` and nobody in front of it: the names that it gives, and what it leaves.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::scope::{Manager, Scope};
use super::{Case, Done, Stage, same};

pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "direct.scope",
        act: scope,
    }]
}

/// A bundle whose container sleeps, in the scope `vm-NAME.scope` of system.slice.
fn bundle(s: &Stage, name: &str, edit: impl FnOnce(&mut Value)) -> Result<PathBuf, String> {
    let dir = std::env::temp_dir().join(format!("bundle-{}-{name}", s.runtime));
    let told = |e: std::io::Error| format!("{}: {e}", dir.display());
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(told)?;
    }
    std::fs::create_dir_all(&dir).map_err(told)?;
    s.must(&[&s.program(), "spec", "--bundle", &dir.display().to_string()])?;
    let file = dir.join("config.json");
    let text = std::fs::read(&file).map_err(told)?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    config["root"]["path"] = json!("/opt/rootfs");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sleep", "600"]);
    config["linux"]["cgroupsPath"] = json!(format!("system.slice:vm:{name}"));
    edit(&mut config);
    std::fs::write(&file, config.to_string()).map_err(told)?;
    Ok(dir)
}

fn call(s: &Stage, words: &[&str]) -> Result<String, String> {
    let program = s.program();
    let mut line = vec![program.as_str(), "--systemd-cgroup"];
    line.extend(words);
    // Not through a pipe or file of ours that the container would hold open: the output is read when it ended.
    s.must(&line)
}

fn create(s: &Stage, bundle: &Path, name: &str) -> Done {
    call(s, &["create", "--bundle", &bundle.display().to_string(), name]).map(drop)
}

/// Name, slice, limits and their update, and devices across a daemon-reload.
fn scope(s: &mut Stage) -> Done {
    let dir = bundle(s, "scope", |config| {
        config["linux"]["resources"] = json!({
            "devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            ],
            "memory": {"limit": 67_108_864}, "pids": {"limit": 44}, "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000},
        });
        config["linux"]["devices"] = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666},
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
        ]);
    })?;
    s.step("create and start");
    create(s, &dir, "scope")?;
    call(s, &["start", "scope"])?;
    let state: Value = serde_json::from_str(&call(s, &["state", "scope"])?).map_err(|e| e.to_string())?;
    let scope = Scope::of(&state["pid"].to_string(), Manager::System)?;
    same("the unit", &scope.unit, "vm-scope.scope")?;
    scope.property(s, "Slice", "system.slice")?;
    scope.property(s, "Delegate", "yes")?;
    scope.status(s)?;
    s.step("limits");
    scope.file("memory.max", "67108864")?;
    scope.file("pids.max", "44")?;
    scope.file("cpu.max", "50000 100000")?;
    s.step("update");
    call(
        s,
        &["update", "--memory", "33554432", "--pids-limit", "22", "scope"],
    )?;
    scope.file("memory.max", "33554432")?;
    scope.file("pids.max", "22")?;
    scope.property(s, "MemoryMax", "33554432")?;
    scope.property(s, "TasksMax", "22")?;
    for moment in ["devices before daemon-reload", "devices after daemon-reload"] {
        s.step(moment);
        if moment.contains("after") {
            scope.reload(s)?;
            scope.file("memory.max", "33554432")?;
        }
        call(s, &["exec", "scope", "sh", "-c", ": </dev/fuse && : </dev/null"])?;
        if call(s, &["exec", "scope", "sh", "-c", ": </dev/kmsg"]).is_ok() {
            return Err("a device that is not allowed can be opened".to_owned());
        }
    }
    s.step("delete");
    call(s, &["delete", "--force", "scope"])?;
    scope.gone(s)
}
