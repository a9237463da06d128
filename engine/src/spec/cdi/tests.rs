#![allow(clippy::unwrap_used)]

use super::*;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("brig-cdi-{name}-{}", std::process::id()));
        for part in ["etc", "run"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        Place(dir)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn registry(&self) -> Registry {
        Registry::read(&[&self.0.join("etc"), &self.0.join("run")])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FILE: &str = r#"{"cdiVersion": "1.1.0", "kind": "vendor.com/thing",
    "devices": [
        {"name": "a", "containerEdits": {
            "env": ["WHICH=a"],
            "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/null", "permissions": "rw"}],
            "mounts": [{"hostPath": "/lib/x", "containerPath": "/opt/lib/x", "options": ["ro", "bind"]},
                {"hostPath": "/opt/other", "containerPath": "/opt", "options": ["rbind"], "type": "bind"}],
            "additionalGids": [0, 44]}},
        {"name": "b", "containerEdits": {
            "deviceNodes": [{"path": "/dev/b", "type": "b", "major": 9, "minor": 8, "uid": 3, "fileMode": 384}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}],
            "netDevices": [{"hostInterfaceName": "eth7"}],
            "intelRdt": {"closID": "c"}}}],
    "containerEdits": {"env": ["ALL=1", "PATH=/x"]}}"#;

fn request(driver: &str, count: i64, ids: &[&str], capabilities: &[&str]) -> DeviceRequest {
    let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    DeviceRequest {
        driver: driver.into(),
        count,
        device_ids: (!ids.is_empty()).then(|| list(ids)),
        capabilities: (!capabilities.is_empty()).then(|| vec![list(capabilities)]),
        ..DeviceRequest::default()
    }
}

fn by_name(registry: &Registry, names: &[&str]) -> Result<Edits> {
    edits_of(&[request("cdi", 0, names, &[])], registry)
}

#[test]
fn devices_change_a_configuration() {
    let place = Place::new("change");
    place.file("etc/thing.json", FILE);
    let edits = by_name(&place.registry(), &["vendor.com/thing=a", "vendor.com/thing=b"]).unwrap();
    let mut config = json!({
        "process": {"env": ["PATH=/bin", "B=1"], "user": {"uid": 5, "gid": 0, "additionalGids": [7]}},
        "mounts": [{"destination": "/proc"}, {"destination": "/opt/lib/x", "source": "old"}, {"destination": "/a/b/c"}],
        "linux": {"devices": [{"path": "/dev/thing", "major": 1}], "resources": {"devices": [{"allow": false}]}},
    });
    let mut map = config.as_object().unwrap().clone();
    apply(&edits, &mut map).unwrap();
    config = Value::Object(map);
    assert_eq!(
        config["process"]["env"],
        json!(["PATH=/x", "B=1", "ALL=1", "WHICH=a"])
    );
    assert_eq!(config["process"]["user"]["additionalGids"], json!([7, 44]));
    assert_eq!(
        config["linux"]["devices"],
        json!([
            {"path": "/dev/thing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 5},
            {"path": "/dev/b", "type": "b", "major": 9, "minor": 8, "fileMode": 384, "uid": 3},
        ])
    );
    assert_eq!(
        config["linux"]["resources"]["devices"],
        json!([
            {"allow": false},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "b", "major": 9, "minor": 8, "access": "rwm"},
        ])
    );
    let order: Vec<&str> = config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["destination"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["/proc", "/opt", "/a/b/c", "/opt/lib/x"]);
    assert_eq!(
        config["mounts"][3],
        json!({"destination": "/opt/lib/x", "source": "/lib/x", "options": ["ro", "bind"]})
    );
    assert_eq!(config["linux"]["netDevices"], json!({"eth7": {"name": "eth7"}}));
    assert_eq!(config["linux"]["intelRdt"], json!({"closID": "c"}));
    assert_eq!(
        config["hooks"],
        json!({"createContainer": [{"path": "/bin/hook", "args": ["hook", "x"], "timeout": 5}]})
    );
    // Without rules none is made; without devices everything stays.
    let mut map = json!({"process": {"env": []}, "mounts": [], "linux": {}})
        .as_object()
        .unwrap()
        .clone();
    apply(&edits, &mut map).unwrap();
    assert!(map["linux"].get("resources").is_none());
    let mut map = Map::new();
    apply(&Edits::default(), &mut map).unwrap();
    assert_eq!(map, Map::new());
}

#[test]
fn names_are_found_in_files() {
    let place = Place::new("names");
    place.file("etc/one.json", FILE);
    place.file("etc/two.yaml", "cdiVersion: 0.6.0\nkind: other.org/x\ndevices:\n- name: all\n  containerEdits:\n    env:\n    - TWO=2\n");
    place.file("etc/readme.txt", "not one");
    let registry = place.registry();
    assert_eq!(by_name(&registry, &["other.org/x=all"]).unwrap().env, ["TWO=2"]);
    assert_eq!(
        by_name(&registry, &["other.org/x=no", "x=y", "vendor.com/thing=a"])
            .unwrap_err()
            .to_string(),
        "CDI device injection failed: unresolvable CDI devices other.org/x=no, x=y"
    );
    // The later directory goes before; a name that two files of one directory have is nobody's.
    place.file(
        "run/x.yaml",
        "kind: other.org/x\ndevices:\n- name: all\n  containerEdits:\n    env: [\"RUN=1\"]\n",
    );
    assert_eq!(
        by_name(&place.registry(), &["other.org/x=all"]).unwrap().env,
        ["RUN=1"]
    );
    place.file("run/y.yaml", "kind: other.org/x\ndevices:\n- name: all\n");
    assert!(by_name(&place.registry(), &["other.org/x=all"]).is_err());
    // A file that cannot be read is named to who misses something.
    place.file("run/bad.json", "{");
    place.file("run/kind.json", r#"{"kind": "x"}"#);
    let error = by_name(&place.registry(), &["a/b=c"]).unwrap_err().to_string();
    assert!(
        error.contains("bad.json: EOF") && error.contains("kind.json: invalid kind \"x\""),
        "{error}"
    );
    assert!(by_name(&place.registry(), &["vendor.com/thing=a"]).is_ok());
}

#[test]
fn graphics_cards_are_devices_with_names() {
    let place = Place::new("gpus");
    let gpus = |requests: &[DeviceRequest]| {
        edits_of(requests, &place.registry())
            .map(|e| e.env)
            .map_err(|e| e.to_string())
    };
    let all = request("", -1, &[], &["gpu"]);
    assert_eq!(
        gpus(std::slice::from_ref(&all)).unwrap_err(),
        "could not select device driver \"\" with capabilities: [[gpu]]"
    );
    let file = |vendor: &str| {
        format!(
            "kind: {vendor}/gpu\ndevices:\n- name: all\n  containerEdits:\n    env: [\"G={vendor} all\"]\n\
             - name: \"0\"\n  containerEdits:\n    env: [\"G={vendor} 0\"]\n"
        )
    };
    place.file("etc/amd.yaml", &file("amd.com"));
    assert_eq!(gpus(std::slice::from_ref(&all)).unwrap(), ["G=amd.com all"]);
    place.file("etc/nvidia.yaml", &file("nvidia.com"));
    assert_eq!(gpus(&[all]).unwrap(), ["G=nvidia.com all"]);
    assert_eq!(
        gpus(&[request("", 1, &[], &["gpu"])]).unwrap(),
        ["G=nvidia.com 0"]
    );
    assert_eq!(
        gpus(&[request("amd", 0, &["0"], &["gpu"])]).unwrap(),
        ["G=amd.com 0"]
    );
    assert_eq!(
        gpus(&[request("nvidia", 0, &["amd.com/gpu=all"], &[])]).unwrap(),
        ["G=amd.com all"]
    );
    for (bad, want) in [
        (
            request("", 2, &[], &["gpu"]),
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=1",
        ),
        (
            request("", 1, &["0"], &["gpu"]),
            "cannot set both Count and DeviceIDs on device request",
        ),
        (
            request("cdi", 1, &["0"], &[]),
            "unexpected count in CDI device request",
        ),
        (
            request("x", 1, &[], &["gpu", "y"]),
            "could not select device driver \"x\" with capabilities: [[gpu y]]",
        ),
    ] {
        assert_eq!(gpus(&[bad]).unwrap_err(), want);
    }
}

#[test]
fn a_node_that_is_not_there() {
    let place = Place::new("nodes");
    let file = |node: &str| {
        place.file("etc/n.json", &format!(r#"{{"kind": "v.com/c", "devices": [{{"name": "d", "containerEdits": {{"deviceNodes": [{node}]}}}}]}}"#));
        by_name(&place.registry(), &["v.com/c=d"]).map_err(|e| e.to_string())
    };
    assert_eq!(
        file(r#"{"path": "/dev/none"}"#).unwrap_err(),
        "CDI device injection failed: failed to inject devices: failed to stat CDI host device \"/dev/none\": no such file or directory"
    );
    assert!(
        file(r#"{"path": "/etc"}"#)
            .unwrap_err()
            .ends_with("not a device node")
    );
    let node = file(r#"{"path": "/dev/none", "type": "c", "major": 5, "minor": 6}"#)
        .unwrap()
        .device_nodes
        .remove(0);
    assert_eq!((node.kind.as_str(), node.major, node.minor), ("c", 5, 6));
}

#[test]
fn names_are_not_paths() {
    for (text, want) in [
        ("vendor.com/class=name", true),
        ("nvidia.com/gpu=0:1", true),
        ("/dev/x=y", false),
        ("/dev/null", false),
        ("a/b", false),
        ("1a/b=c", false),
        ("a/b=", false),
        ("a/b=c-", false),
    ] {
        assert_eq!(is_device_name(text), want, "{text}");
    }
}
