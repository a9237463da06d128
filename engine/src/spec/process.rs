//! `process` of config.json: what runs, as whom, with what.
//!
//! May not: look anything up.

use image::bundle::defaults;
use image::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Inputs, Mode, Security, modes};

/// Where brig-init is in a container: Docker's name, for who looks for it.
pub(super) const INIT: &str = "/sbin/docker-init";

pub(super) fn value(inputs: &Inputs<'_>, security: &Security, capabilities: &[String]) -> Result<Value> {
    let (config, host) = (&inputs.definition.config, &inputs.definition.host);
    let cwd = match config.working_dir.as_str() {
        "" => "/".to_owned(),
        path => defaults::cleaned(path),
    };
    let mut process = Map::new();
    process.insert("terminal".into(), json!(config.tty));
    if config.tty && host.console_size != [0, 0] {
        let [height, width] = host.console_size;
        process.insert("consoleSize".into(), json!({"height": height, "width": width}));
    }
    process.insert("user".into(), user(inputs));
    process.insert("args".into(), json!(arguments(inputs)?));
    process.insert("env".into(), json!(environment(inputs)));
    process.insert("cwd".into(), json!(cwd));
    process.insert(
        "capabilities".into(),
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities}),
    );
    if !host.ulimits.is_empty() {
        process.insert("rlimits".into(), rlimits(inputs));
    }
    if security.no_new_privileges {
        process.insert("noNewPrivileges".into(), json!(true));
    }
    // Without privileges the kernel lets nobody have a lower one than their parent.
    let score = match inputs.host.ids {
        Some(_) => host.oom_score_adj.max(inputs.host.oom_score_adj),
        None => host.oom_score_adj,
    };
    process.insert("oomScoreAdj".into(), json!(score));
    Ok(Value::Object(process))
}

/// With one id the kernel lets nobody set groups.
fn user(inputs: &Inputs<'_>) -> Value {
    let user = &inputs.found.user;
    let maps = inputs.ids.as_ref().or(inputs.host.ids.as_ref());
    let mut value = json!({"uid": user.uid, "gid": user.gid});
    if maps.is_none_or(|maps| !maps.is_one_id()) {
        value["additionalGids"] = json!(user.additional_gids);
    }
    value
}

fn arguments(inputs: &Inputs<'_>) -> Result<Vec<String>> {
    let definition = inputs.definition;
    if definition.path.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    let mut args = Vec::new();
    if has_init(inputs)? {
        args.extend([INIT.to_owned(), "--".to_owned()]);
    }
    args.push(definition.path.clone());
    args.extend(definition.args.iter().cloned());
    Ok(args)
}

/// Where process 1 is somebody else's there is nothing for an init to do.
pub(super) fn has_init(inputs: &Inputs<'_>) -> Result<bool> {
    let host = &inputs.definition.host;
    let wanted = host.init == Some(true) && modes::pid(&host.pid_mode)? == Mode::Private;
    match (wanted, &inputs.init) {
        (true, None) => Err(Error::not_found(
            "exec: \"brig-init\": executable file not found in $PATH",
        )),
        (wanted, _) => Ok(wanted),
    }
}

/// HOME is the runtime's to add.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let config = &inputs.definition.config;
    let mut env = vec![defaults::PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    defaults::merge_environment(&mut env, &config.env);
    env
}

/// -1 is no limit.
fn rlimits(inputs: &Inputs<'_>) -> Value {
    let of = |limit: &crate::model::Ulimit| {
        json!({
            "type": format!("RLIMIT_{}", limit.name.to_uppercase()),
            "hard": limit.hard.cast_unsigned(),
            "soft": limit.soft.cast_unsigned(),
        })
    };
    inputs.definition.host.ulimits.iter().map(of).collect()
}
