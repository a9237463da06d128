//! `process` of config.json: what runs, as whom, with what.
//!
//! May not: look anything up.

use image::bundle::defaults;
use image::{Error, Result};
use serde_json::{Map, Value, json};

use image::bundle::user::User;

use super::{Inputs, Mode, Security, apparmor, capabilities, machine, modes, selinux};

/// Where brig-init is in a container: Docker's name, for who looks for it.
pub(super) const INIT: &str = "/sbin/docker-init";

/// Of the container's own program.
pub(super) fn value(inputs: &Inputs<'_>, security: &Security, capabilities: &[String]) -> Result<Value> {
    let args = arguments(inputs)?;
    with_args(inputs, args, security, capabilities).map(Value::Object)
}

fn with_args(
    inputs: &Inputs<'_>,
    args: Vec<String>,
    security: &Security,
    capabilities: &[String],
) -> Result<Map<String, Value>> {
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
    process.insert("user".into(), user_value(inputs, &inputs.found.user));
    process.insert("args".into(), json!(args));
    process.insert("env".into(), json!(environment(inputs, config.tty)));
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
    if let Some(profile) = apparmor::profile_of(host, security, inputs.host) {
        process.insert("apparmorProfile".into(), json!(profile));
    }
    let labels = selinux::labels(&inputs.definition.id, security, inputs.host)?;
    if !labels.process.is_empty() {
        process.insert("selinuxLabel".into(), json!(labels.process));
    }
    // Without privileges the kernel lets nobody have a lower one than their parent.
    let score = match inputs.host.ids {
        Some(_) => host.oom_score_adj.max(inputs.host.oom_score_adj),
        None => host.oom_score_adj,
    };
    process.insert("oomScoreAdj".into(), json!(score));
    Ok(process)
}

/// With one id the kernel lets nobody set groups.
fn user_value(inputs: &Inputs<'_>, user: &User) -> Value {
    let maps = inputs.ids.as_ref().or(inputs.host.ids.as_ref());
    let mut value = json!({"uid": user.uid, "gid": user.gid});
    if maps.is_none_or(|maps| !maps.is_one_id()) {
        value["additionalGids"] = json!(user.additional_gids);
    }
    value
}

fn arguments(inputs: &Inputs<'_>) -> Result<Vec<String>> {
    let definition = inputs.definition;
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
    let own = modes::pid(&host.pid_mode)? == Mode::Private && !inputs.found.is_machine;
    let wanted = host.init == Some(true) && own;
    match (wanted, &inputs.init) {
        (true, None) => Err(Error::not_found(
            "exec: \"brig-init\": executable file not found in $PATH",
        )),
        (wanted, _) => Ok(wanted),
    }
}

/// HOME is the runtime's to add.
fn environment(inputs: &Inputs<'_>, tty: bool) -> Vec<String> {
    let config = &inputs.definition.config;
    let mut env = vec![defaults::PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    if inputs.found.is_machine {
        env.extend(machine::environment(&inputs.definition.id));
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

/// Another process in a container.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    pub args: Vec<String>,
    /// More of it, or otherwise.
    pub env: Vec<String>,
    /// `None`: the container's own ([`super::Found::user`] finds others).
    pub user: Option<User>,
    pub working_dir: Option<String>,
    pub tty: bool,
    /// Height, width.
    pub console_size: [u16; 2],
    pub privileged: bool,
}

/// `process` of an exec: as the container's own, but for what was said. Health checks are execs of which nothing was said.
///
/// # Errors
/// Something makes no sense, in Docker's words.
pub fn exec(inputs: &Inputs<'_>, exec: &Exec) -> Result<Value> {
    let (config, host) = (&inputs.definition.config, &inputs.definition.host);
    if exec.args.is_empty() {
        return Err(Error::invalid("no exec command specified"));
    }
    let mut of = host.clone();
    of.privileged |= exec.privileged;
    let capabilities = capabilities::of_container(&of, &inputs.host.capabilities)?;
    let mut process = with_args(inputs, exec.args.clone(), &Security::of(host)?, &capabilities)?;
    if exec.privileged && inputs.host.apparmor {
        process.insert("apparmorProfile".into(), json!("unconfined"));
    }
    let mut env = environment(inputs, exec.tty);
    defaults::merge_environment(&mut env, &exec.env);
    process.insert("env".into(), json!(env));
    process.insert("terminal".into(), json!(exec.tty));
    process.remove("consoleSize");
    if exec.tty && exec.console_size != [0, 0] {
        let [height, width] = exec.console_size;
        process.insert("consoleSize".into(), json!({"height": height, "width": width}));
    }
    let cwd = exec.working_dir.as_deref().unwrap_or(&config.working_dir);
    process.insert("cwd".into(), json!(defaults::cleaned(cwd)));
    if let Some(user) = &exec.user {
        process.insert("user".into(), user_value(inputs, user));
    }
    Ok(Value::Object(process))
}
