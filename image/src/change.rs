//! Instructions of a Dockerfile that change a configuration, one by one: `--change` of import and commit.
//!
//! May not: read a Dockerfile. There is no continuation, no variable and no flag but those of HEALTHCHECK here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::oci::RunConfig;
use crate::{Error, Result};

/// Applies `CMD ["a"]`, `ENV a=b` and so on.
///
/// # Errors
/// It is no instruction that changes a configuration, or its argument makes no sense; nothing is changed.
pub fn apply(run: &mut RunConfig, text: &str) -> Result<()> {
    let text = text.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let keyword = name.to_ascii_uppercase();
    if rest.is_empty() {
        return Err(Error::invalid(format!(
            "{keyword} requires at least one argument"
        )));
    }
    match keyword.as_str() {
        "CMD" => run.cmd = Some(command(run, rest)),
        "ENTRYPOINT" => run.entrypoint = Some(command(run, rest)),
        "ENV" => {
            let variables = pairs(rest)
                .ok_or_else(|| Error::invalid(format!("ENV must have NAME=VALUE, not {rest:?}")))?;
            let env = run.env.get_or_insert_default();
            for (key, value) in variables {
                let line = format!("{key}={value}");
                match env
                    .iter_mut()
                    .find(|old| old.split('=').next() == Some(key.as_str()))
                {
                    Some(old) => *old = line,
                    None => env.push(line),
                }
            }
        }
        "LABEL" => {
            let labels = pairs(rest)
                .ok_or_else(|| Error::invalid(format!("LABEL must have NAME=VALUE, not {rest:?}")))?;
            run.labels.get_or_insert_default().extend(labels);
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                insert(&mut run.exposed_ports, &exposed(port)?);
            }
        }
        "VOLUME" => {
            for path in words(rest) {
                if path.is_empty() {
                    return Err(Error::invalid("VOLUME specified can not be an empty string"));
                }
                insert(&mut run.volumes, &path);
            }
        }
        "USER" => run.user = Some(rest.to_owned()),
        "WORKDIR" => run.working_dir = Some(joined(run.working_dir.as_deref(), rest)),
        "STOPSIGNAL" => run.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => run.on_build.get_or_insert_default().push(rest.to_owned()),
        "HEALTHCHECK" => run.healthcheck = Some(healthcheck(rest)?),
        _ => {
            return Err(Error::invalid(format!(
                "{} is not a valid change command",
                name.to_ascii_lowercase()
            )));
        }
    }
    Ok(())
}

fn insert(map: &mut Option<BTreeMap<String, Value>>, key: &str) {
    map.get_or_insert_default().insert(key.to_owned(), json!({}));
}

/// A JSON list, or words for a shell.
fn command(run: &RunConfig, rest: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(rest) {
        return list;
    }
    let mut command = run
        .shell
        .clone()
        .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    command.push(rest.to_owned());
    command
}

/// A JSON list, or words.
fn words(rest: &str) -> Vec<String> {
    serde_json::from_str(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect())
}

/// `a=b c="d e"`, or the older `a b c`, which is one pair.
fn pairs(rest: &str) -> Option<Vec<(String, String)>> {
    let first = rest.split_whitespace().next()?;
    if !first.contains('=') {
        let (key, value) = rest.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in quoted_words(rest) {
        let (key, value) = word.split_once('=')?;
        if key.is_empty() {
            return None;
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Some(pairs)
}

fn quoted_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn exposed(port: &str) -> Result<String> {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_range = match numbers.split_once('-') {
        Some((first, last)) => is_port(first) && is_port(last),
        None => is_port(numbers),
    };
    if !is_range || !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid containerPort: {port}")));
    }
    Ok(format!("{numbers}/{protocol}"))
}

fn joined(old: Option<&str>, new: &str) -> String {
    if new.starts_with('/') {
        return new.to_owned();
    }
    format!("{}/{new}", old.unwrap_or_default().trim_end_matches('/'))
}

fn healthcheck(rest: &str) -> Result<Value> {
    let mut check = serde_json::Map::new();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("HEALTHCHECK flag --{flag} has no value")))?;
        let key = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => "Retries",
            _ => return Err(Error::invalid(format!("unknown flag for HEALTHCHECK: --{name}"))),
        };
        let number = if name == "retries" {
            value.parse::<i64>().ok()
        } else {
            duration(value)
        };
        let number = number.ok_or_else(|| {
            Error::invalid(format!(
                "HEALTHCHECK flag --{name} has the invalid value {value:?}"
            ))
        })?;
        check.insert(key.to_owned(), json!(number));
        rest = after.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let arguments = arguments.trim();
    let test = match kind.to_ascii_uppercase().as_str() {
        "NONE" => vec!["NONE".to_owned()],
        "CMD" if !arguments.is_empty() => match serde_json::from_str::<Vec<String>>(arguments) {
            Ok(list) => ["CMD".to_owned()].into_iter().chain(list).collect(),
            Err(_) => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
        },
        _ => {
            return Err(Error::invalid(format!(
                "unknown type {kind:?} in HEALTHCHECK (try CMD)"
            )));
        }
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// A duration as Go writes it, in nanoseconds: `1m30s`, `1.5s`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |n| digits + n);
        let scale = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += number * scale;
        rest = &rest[unit_end..];
    }
    (text.len() > 1 && sum < 9e18).then_some(sum as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn configuration_is_changed() {
        let mut run = RunConfig::default();
        for text in [
            r#"CMD ["a", "b"]"#,
            "entrypoint exec top",
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
        ] {
            apply(&mut run, text).unwrap();
        }
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
    fn what_changes_no_configuration_is_refused() {
        for text in [
            "",
            "CMD",
            "RUN x",
            "COPY a b",
            "ENV a",
            "ENV =b",
            "EXPOSE x",
            "EXPOSE 1/icmp",
            "HEALTHCHECK x",
            "HEALTHCHECK --interval=x CMD a",
        ] {
            let mut run = RunConfig::default();
            assert!(apply(&mut run, text).is_err(), "{text}");
            assert_eq!(run, RunConfig::default(), "{text}");
        }
    }
}
