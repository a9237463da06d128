//! How an image came to be: the SLSA provenance predicate, in the words of BuildKit.
//!
//! May not: contain what is secret. With `mode=min` it has no argument and no source.

use std::collections::BTreeMap;

use base64::Engine as _;
use image::platform::Platform;
use image::{Error, Result};
use serde_json::{Map, Value, json};

use super::super::{Product, Work};
use crate::request::{File, Origin};

const TYPE_V1: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";

pub struct Options {
    is_max: bool,
    is_v1: bool,
    builder: String,
}

impl Options {
    pub fn of(values: &BTreeMap<String, String>) -> Result<Options> {
        let mut options = Options {
            is_max: false,
            is_v1: true,
            builder: String::new(),
        };
        for (name, value) in values {
            match (name.as_str(), value.as_str()) {
                ("mode", "max") => options.is_max = true,
                ("mode", "min" | "") => {}
                ("version", "v1" | "") => {}
                ("version", "v0.2") => options.is_v1 = false,
                ("builder-id", id) => options.builder = id.to_owned(),
                ("type" | "inline-only" | "disabled" | "reproducible" | "filename", _) => {}
                (name, value) => {
                    return Err(Error::invalid(format!(
                        "invalid option {name}={value} of attestation provenance"
                    )));
                }
            }
        }
        Ok(options)
    }

    pub fn kind(&self) -> &'static str {
        match self.is_v1 {
            true => "https://slsa.dev/provenance/v1",
            false => "https://slsa.dev/provenance/v0.2",
        }
    }
}

pub fn predicate(work: &Work<'_>, product: &Product, options: &Options) -> Value {
    let materials: Vec<Value> = product
        .materials
        .iter()
        .map(|material| {
            let (algorithm, hex) = material.digest.split_once(':').unwrap_or(("sha256", ""));
            json!({"uri": material.uri, "digest": {algorithm: hex}})
        })
        .collect();
    let time = |time| sys::time::rfc3339_nano(time);
    let (started, ended) = (time(work.story.started), time(work.story.ended));
    let request = request(work, options);
    let platform = Platform::host().to_string();
    let invocation = image::Digest::of(format!("{started} {}", std::process::id()).as_bytes());
    let invocation = invocation.hex().get(..25).unwrap_or_default().to_owned();
    let entry = dockerfile_name(work);
    let metadata = metadata(work, options, &entry);
    if options.is_v1 {
        return json!({
            "buildDefinition": {
                "buildType": TYPE_V1,
                "externalParameters": {"configSource": {"path": entry}, "request": request},
                "internalParameters": {"builderPlatform": platform},
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": options.builder},
                "metadata": {
                    "invocationId": invocation,
                    "startedOn": started,
                    "finishedOn": ended,
                    "buildkit_metadata": metadata,
                    "buildkit_completeness": {"request": options.is_max, "resolvedDependencies": false},
                    "buildkit_reproducible": false,
                },
            },
        });
    }
    json!({
        "builder": {"id": options.builder},
        "buildType": TYPE_V02,
        "materials": materials,
        "invocation": {
            "configSource": {"entryPoint": entry},
            "parameters": request,
            "environment": {"platform": platform},
        },
        "metadata": {
            "buildInvocationID": invocation,
            "buildStartedOn": started,
            "buildFinishedOn": ended,
            "completeness": {"parameters": options.is_max, "environment": true, "materials": false},
            "reproducible": false,
            "https://mobyproject.org/buildkit@v1#metadata": metadata,
        },
    })
}

fn dockerfile_name(work: &Work<'_>) -> String {
    match &work.request.dockerfile {
        File::Path(path) => path.file_name().map_or_else(
            || "Dockerfile".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        ),
        File::Usual | File::Stdin | File::Remote(_) => "Dockerfile".to_owned(),
    }
}

/// What was asked. Arguments may be anything, so they are for `mode=max` only, as in BuildKit.
fn request(work: &Work<'_>, options: &Options) -> Value {
    let request = work.request;
    let mut all = Map::new();
    all.insert("frontend".into(), json!("dockerfile.v0"));
    let mut args = Map::new();
    if options.is_max {
        if let Some(target) = &request.target {
            args.insert("target".into(), json!(target));
        }
        for (name, value) in &request.build_args {
            args.insert(format!("build-arg:{name}"), json!(value));
        }
        for (name, value) in &request.labels {
            args.insert(format!("label:{name}"), json!(value));
        }
    }
    if !args.is_empty() {
        all.insert("args".into(), Value::Object(args));
    }
    if options.is_max {
        let ids = |ids: Vec<&str>| -> Vec<Value> {
            ids.into_iter()
                .map(|id| json!({"id": id, "optional": true}))
                .collect()
        };
        let secrets = ids(request.secrets.iter().map(|own| own.id.as_str()).collect());
        let agents = ids(request.ssh.iter().map(|own| own.id.as_str()).collect());
        if !secrets.is_empty() {
            all.insert("secrets".into(), json!(secrets));
        }
        if !agents.is_empty() {
            all.insert("ssh".into(), json!(agents));
        }
    }
    if !matches!(request.context, Origin::Remote(_)) {
        all.insert(
            "locals".into(),
            json!([{"name": "context"}, {"name": "dockerfile"}]),
        );
    }
    Value::Object(all)
}

fn metadata(work: &Work<'_>, options: &Options, name: &str) -> Value {
    if !options.is_max {
        return json!({});
    }
    let data = base64::engine::general_purpose::STANDARD.encode(&work.story.dockerfile);
    json!({"source": {"infos": [{"filename": name, "language": "Dockerfile", "data": data}]}})
}
