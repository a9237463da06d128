//! What a Docker client asks its daemon for, compared with what we make of the same command line. See tests/golden/create.py.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Definition, definition, table};
use crate::config::Config;
use crate::flags::{self, Order};

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/golden/create.json")).unwrap()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn arguments(case: &Value) -> Vec<String> {
    let files = golden().join("create").to_string_lossy().into_owned();
    let given = case["args"].as_array().unwrap();
    given
        .iter()
        .map(|a| a.as_str().unwrap().replace("FILES", &files))
        .collect()
}

fn read(arguments: &[String]) -> Result<Definition, String> {
    let parsed = flags::parse(
        &table::CREATE,
        arguments.iter().map(OsString::from),
        Order::UntilFirstOperand,
    )?;
    definition(&parsed, &Config::default())
}

/// Where Docker's client leaves to the daemon what we say ourselves.
fn as_ours(config: &mut Map<String, Value>, host: &mut Map<String, Value>) {
    let replace = |map: &mut Map<String, Value>, key: &str, from: Value, to: Value| {
        if map.get(key) == Some(&from) {
            map.insert(key.to_owned(), to);
        }
    };
    replace(host, "PidsLimit", json!(0), Value::Null);
    replace(host, "MemorySwappiness", json!(-1), Value::Null);
    replace(host, "OomKillDisable", json!(false), Value::Null);
    replace(host, "ShmSize", json!(0), json!(64 << 20));
    replace(config, "Volumes", json!({}), Value::Null);
    replace(config, "Env", Value::Null, json!([]));
    // From maps without an order.
    sort(host.get_mut("Ulimits"));
}

/// What has no order, in one.
fn sort(list: Option<&mut Value>) {
    if let Some(Value::Array(list)) = list {
        list.sort_by_key(Value::to_string);
    }
}

/// A field that is left out and one that says nothing are the same.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, without_nothing(value)))
            .filter(|(_, v)| {
                !matches!(v, Value::Null) && *v != json!({}) && *v != json!("") && *v != json!(false)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        value => value,
    }
}

#[test]
fn the_same_container_as_docker_asks_for() {
    let cases = cases();
    let first = &cases[0];
    let here = std::env::current_dir().unwrap();
    let up = here.parent().unwrap().to_string_lossy().into_owned();
    let mut count = 0;
    for case in cases.iter().filter(|c| c.get("config").is_some()) {
        let fields = |part: &str| {
            let mut all = first[part].as_object().unwrap().clone();
            all.extend(case[part].as_object().unwrap().clone());
            all
        };
        let (mut config, mut host) = (fields("config"), fields("host"));
        as_ours(&mut config, &mut host);
        let networks = case.get("networks").unwrap_or(&first["networks"]).clone();
        let expected =
            without_nothing(json!({"config": config, "host": host, "networks": networks})).to_string();

        let arguments = arguments(case);
        let (config, host, networks) = read(&arguments).unwrap_or_else(|e| panic!("{arguments:?}: {e}"));
        let object = |value: Value| value.as_object().unwrap().clone();
        let mut config = object(serde_json::to_value(config).unwrap());
        let mut host = object(serde_json::to_value(host).unwrap());
        as_ours(&mut config, &mut host);
        let ours = json!({"config": config, "host": host, "networks": networks});
        let files = golden().join("create").to_string_lossy().into_owned();
        let text = without_nothing(ours)
            .to_string()
            .replace(&files, "FILES")
            .replace(&*here.to_string_lossy(), "HERE")
            .replace(&format!("{up}:"), "UP:");
        let mut ours: Value = serde_json::from_str(&text).unwrap();
        let mut expected: Value = serde_json::from_str(&expected).unwrap();
        // By the words of the list, not by where this machine has the project.
        for side in [&mut ours, &mut expected] {
            sort(side["host"].get_mut("Binds"));
        }
        for part in ["config", "host", "networks"] {
            assert_eq!(ours[part], expected[part], "{arguments:?}: {part}");
        }
        count += 1;
    }
    assert!(count > 90, "{count}");
}
