//! What instructions of a Dockerfile say of a configuration: the steps of a build, and `--change` of commit and import.
//!
//! May not: read a Dockerfile in words of its own; the crate build does.

use std::collections::BTreeMap;

use build::expand::Env;
use build::history;
use build::instruction::{self, Health, Keyword};
use build::lint::{self, Report};
use build::scope::{Action, Base, Context, Scope};
use build::source::{Problem, Source};
use image::oci::RunConfig;
use image::{Error, Result};
use serde_json::{Map, Value, json};

/// What may stand in `--change`: nothing that makes files.
const CHANGES: [Keyword; 11] = [
    Keyword::Cmd,
    Keyword::Entrypoint,
    Keyword::Env,
    Keyword::Expose,
    Keyword::Healthcheck,
    Keyword::Label,
    Keyword::Onbuild,
    Keyword::Stopsignal,
    Keyword::User,
    Keyword::Volume,
    Keyword::Workdir,
];

/// Applies `--change`: `CMD ["a"]`, `ENV PATH=/a:$PATH` and so on, one text an instruction or several lines of them.
///
/// # Errors
/// Something is no instruction that changes a configuration, or its argument makes no sense; nothing is changed.
pub fn apply_all(run: &mut RunConfig, texts: &[String]) -> Result<()> {
    for word in texts.iter().filter_map(|text| text.split_whitespace().next()) {
        if Keyword::of(word).is_none_or(|keyword| !CHANGES.contains(&keyword)) {
            return Err(is_no_change(word));
        }
    }
    let text = texts.join("\n");
    if text.trim().is_empty() {
        return Ok(());
    }
    let source = Source::new("--change", text).map_err(refused)?;
    let file =
        instruction::read(&source).map_err(|all| all.into_iter().next().map_or_else(nothing, refused))?;
    let mut scope = Scope::of_image(&Base {
        env: run.env.clone().unwrap_or_default(),
        workdir: run.working_dir.clone().unwrap_or_default(),
        user: run.user.clone().unwrap_or_default(),
        shell: run.shell.clone().unwrap_or_default(),
        is_unknown: true,
    });
    let context = Context {
        escape: file.escape,
        globals: &Env::default(),
        build_args: &BTreeMap::new(),
        ignore: None,
    };
    let mut changed = run.clone();
    let mut report = Report::new(lint::Config::default());
    for instruction in &file.instructions {
        if !CHANGES.contains(&instruction.keyword) {
            return Err(is_no_change(&instruction.written));
        }
        let action = scope
            .apply_alone(&context, instruction, &mut report)
            .map_err(refused)?;
        apply(&mut changed, &action, &scope);
    }
    *run = changed;
    Ok(())
}

/// Changes what one instruction says. `scope` is the one behind it.
pub fn apply(config: &mut RunConfig, action: &Action, scope: &Scope) {
    match action {
        Action::Arg(_) | Action::Run(_) | Action::Copy(_) | Action::Maintainer(_) => {}
        Action::Env(pairs) => {
            let env = config.env.get_or_insert_default();
            pairs
                .iter()
                .for_each(|(name, value)| set_variable(env, name, value));
        }
        Action::Label(pairs) => {
            let labels = config.labels.get_or_insert_default();
            labels.extend(pairs.iter().cloned());
        }
        Action::Expose(ports) => {
            let all = config.exposed_ports.get_or_insert_default();
            all.extend(ports.iter().map(|port| (port.clone(), json!({}))));
        }
        Action::Cmd(command) => config.cmd = Some(history::words(command, scope)),
        Action::Entrypoint(command) => {
            config.entrypoint = Some(history::words(command, scope));
            // What an image runs by itself was not meant for this entrypoint.
            if !scope.has_cmd() {
                config.cmd = None;
            }
        }
        Action::User(user) => config.user = Some(user.clone()),
        Action::Workdir(path) => config.working_dir = Some(path.clone()),
        Action::Volume(volumes) => {
            let all = config.volumes.get_or_insert_default();
            all.extend(volumes.iter().map(|path| (path.clone(), json!({}))));
        }
        Action::Stopsignal(signal) => config.stop_signal = Some(signal.clone()),
        Action::Shell(shell) => config.shell = Some(shell.clone()),
        Action::Onbuild(expression) => config.on_build.get_or_insert_default().push(expression.clone()),
        Action::Healthcheck(health) => config.healthcheck = Some(health_value(health)),
    }
}

fn is_no_change(written: &str) -> Error {
    Error::invalid(format!(
        "{} is not a valid change command",
        written.to_ascii_lowercase()
    ))
}

fn refused(problem: Problem) -> Error {
    Error::invalid(problem.message)
}

fn nothing() -> Error {
    Error::invalid("a change is no instruction")
}

/// In its place, if there is one of this name.
fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let is_it = |old: &&mut String| old.split_once('=').map_or(old.as_str(), |(n, _)| n) == name;
    match env.iter_mut().find(is_it) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

/// As a configuration has it: what is not said is not there.
fn health_value(health: &Health) -> Value {
    let mut value = Map::new();
    value.insert("Test".into(), json!(health.test));
    for (name, number) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
        ("Retries", i64::from(health.retries)),
    ] {
        if number != 0 {
            value.insert(name.into(), json!(number));
        }
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn applied(run: &mut RunConfig, texts: &[&str]) -> Result<()> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        apply_all(run, &texts)
    }

    #[test]
    fn configuration_is_changed() {
        let mut run = RunConfig::default();
        let texts = [
            "entrypoint exec top",
            r#"CMD ["a", "b"]"#,
            r#"ENV A=1 B="two words" C=a\ b"#,
            "ENV A 3 four",
            "LABEL k=v",
            "EXPOSE 80 53/udp",
            r#"VOLUME ["/data"]"#,
            "VOLUME /a /b",
            "USER 1:2",
            "WORKDIR /srv",
            "WORKDIR www",
            "STOPSIGNAL SIGQUIT",
            "ONBUILD RUN true",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl localhost",
        ];
        applied(&mut run, &texts).unwrap();
        assert_eq!(run.cmd.unwrap(), ["a", "b"]);
        assert_eq!(run.entrypoint.unwrap(), ["/bin/sh", "-c", "exec top"]);
        assert_eq!(run.env.unwrap(), ["A=3 four", "B=two words", "C=a b"]);
        assert_eq!(run.labels.unwrap()["k"], "v");
        assert_eq!(
            run.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(
            run.volumes.unwrap().into_keys().collect::<Vec<_>>(),
            ["/a", "/b", "/data"]
        );
        assert_eq!(
            (run.user.as_deref(), run.working_dir.as_deref()),
            (Some("1:2"), Some("/srv/www"))
        );
        assert_eq!(
            run.healthcheck.unwrap(),
            json!({"Interval": 90_000_000_000_i64, "Retries": 2, "Test": ["CMD-SHELL", "curl localhost"]})
        );
    }

    #[test]
    fn variables_of_the_configuration_are_expanded_and_lines_are_instructions() {
        let mut run = RunConfig {
            env: Some(vec!["PATH=/bin".into(), "HOME=/h".into()]),
            ..RunConfig::default()
        };
        let texts = [
            "ENV PATH=/x:$PATH\nLABEL at=${HOME}/y",
            "WORKDIR $HOME",
            "ENV ON='$PATH'",
            "CMD echo $PATH",
        ];
        applied(&mut run, &texts).unwrap();
        assert_eq!(run.env.unwrap(), ["PATH=/x:/bin", "HOME=/h", "ON=$PATH"]);
        assert_eq!(run.labels.unwrap()["at"], "/h/y");
        assert_eq!(run.working_dir.as_deref(), Some("/h"));
        assert_eq!(run.cmd.unwrap()[2], "echo $PATH");
    }

    #[test]
    fn what_changes_no_configuration_is_refused() {
        for text in [
            "RUN x",
            "COPY a b",
            "FROM x",
            "SHELL [\"x\"]",
            "ENV a",
            "ENV =b",
            "EXPOSE x",
            "EXPOSE 1/icmp",
            "HEALTHCHECK x",
            "HEALTHCHECK --interval=x CMD a",
        ] {
            let mut run = RunConfig::default();
            assert!(applied(&mut run, &["USER 1", text]).is_err(), "{text}");
            assert_eq!(run, RunConfig::default(), "{text}");
        }
    }
}
