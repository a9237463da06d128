//! What a Docker client says to 230 templates, taken down from `docker context inspect --format` of Docker 28.2.2
//! (`golden/docker.json`), compared with what we say.
#![allow(clippy::unwrap_used)]

use super::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    template: String,
    code: i32,
    stdout: String,
    stderr: String,
}

/// The value that the client executes its templates on.
fn context() -> Value {
    let endpoint = Struct::new("context.EndpointMetaBase")
        .with("Host", "unix:///var/run/docker.sock")
        .with("SkipTLSVerify", false);
    let map = |kind, entries: Vec<(&str, Value)>| {
        Value::from(Map {
            kind,
            entries: entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            is_nil: false,
            methods: Default::default(),
        })
    };
    let endpoints = map("map[string]interface {}", vec![("docker", endpoint.into())]);
    let inner = Struct::new("command.DockerContext")
        .with_optional("Description", "")
        .with_key("AdditionalFields", "-", map("map[string]interface {}", vec![]));
    let metadata = Struct::new("store.Metadata")
        .with("Name", "default")
        .with("Metadata", inner)
        .with("Endpoints", endpoints);
    let storage = Struct::new("store.StorageInfo")
        .with("MetadataPath", "<IN MEMORY>")
        .with("TLSPath", "<IN MEMORY>");
    Struct::new("context.contextWithTLSListing")
        .embedding("Metadata", metadata)
        .with("TLSMaterial", map("map[string]context.EndpointFiles", vec![]))
        .with("Storage", storage)
        .into()
}

#[test]
fn as_a_docker_client_answers() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/docker.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let (code, stdout, stderr) = match Template::parse("", &case.template) {
            Err(e) => (64, String::new(), format!("template parsing error: {e}\n")),
            Ok(template) => match template.render(&context()) {
                Ok(text) => (0, format!("{text}\n"), String::new()),
                Err(e) => (1, "\n".to_owned(), format!("template parsing error: {e}\n")),
            },
        };
        if (code, &stdout, &stderr) != (case.code, &case.stdout, &case.stderr) {
            wrong.push(format!(
                "{}\n  docker: {} {:?} {:?}\n  brig:   {code} {stdout:?} {stderr:?}",
                case.template, case.code, case.stdout, case.stderr
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
