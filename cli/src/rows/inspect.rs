//! `image inspect`: documents, or templates on them.

use super::inspect_container::health_config;
use crate::session::Failure;
use crate::template::{Functions, Map, MissingKey, Struct, Template, Value, compact, indented};
use engine::model::Healthcheck;
use image::oci::{Descriptor, ImageConfig, RunConfig};
use std::collections::BTreeMap;

/// An image as `inspect` shows it.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:` and 64 digits.
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub config: ImageConfig,
    pub size: i64,
    /// Of the manifest.
    pub descriptor: Option<Descriptor>,
    /// When it got its last tag, as RFC 3339 with nanoseconds.
    pub last_tag_time: Option<String>,
    /// Name of the driver that mounts it, and facts about its layers.
    pub driver: Option<(String, BTreeMap<String, String>)>,
}

/// What becomes of the documents.
pub enum Inspector {
    /// An array, indented by four spaces.
    Indented,
    /// An array in one line.
    Compact,
    /// A line each.
    Template(Template),
}

impl Inspector {
    /// By `--format`.
    ///
    /// # Errors
    /// The template cannot be parsed: exit code 64.
    pub fn new(format: Option<&str>) -> Result<Inspector, Failure> {
        Ok(match format {
            None | Some("") => Inspector::Indented,
            Some("json") => Inspector::Compact,
            Some(text) => Inspector::Template(
                Template::parse("", text)
                    .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?,
            ),
        })
    }

    /// The text for stdout. Objects that could not be shown have their complaints in `errors`.
    pub fn show(&self, objects: &[Value], errors: &mut Vec<String>) -> String {
        match self {
            Inspector::Indented | Inspector::Compact if objects.is_empty() => "[]\n".to_owned(),
            Inspector::Indented => indented(&Value::list("[]interface {}", objects.to_vec())) + "\n",
            Inspector::Compact => compact(&Value::list("[]interface {}", objects.to_vec())) + "\n",
            Inspector::Template(template) => {
                let mut out = String::new();
                for object in objects {
                    match apply(template, object) {
                        Ok(text) => out += &(text + "\n"),
                        Err(e) => errors.push(format!("template parsing error: {e}")),
                    }
                }
                if out.is_empty() { "\n".to_owned() } else { out }
            }
        }
    }
}

/// On the typed object, and where that fails on its JSON: its keys are not always called as the fields are (`Id`).
fn apply(template: &Template, object: &Value) -> Result<String, String> {
    let typed = template.render(object);
    typed.or_else(|_| {
        let raw: serde_json::Value = serde_json::from_str(&compact(object))
            .map_err(|e| format!("unable to read inspect data: {e}"))?;
        let mut out = String::new();
        template.execute(&mut out, &Value::from(&raw), Functions::Docker, MissingKey::Error)?;
        Ok(out)
    })
}

/// The fields in Docker's order.
pub fn image(image: &Image) -> Value {
    let config = &image.config;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    // Its own, which commit and import used to write, before the one of its last step.
    let own_comment = config.other.get("comment").and_then(|c| c.as_str());
    let comment = own_comment
        .filter(|c| !c.is_empty())
        .map(str::to_owned)
        .or_else(|| config.history.last().and_then(|h| h.comment.clone()))
        .unwrap_or_default();
    let layers = config
        .rootfs
        .diff_ids
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let driver = match &image.driver {
        Some((name, data)) => Struct::new("storage.DriverData")
            .with("Data", data.clone())
            .with("Name", name.as_str())
            .into(),
        None => Value::NilPointer("*storage.DriverData"),
    };
    let last_tag_time = image.last_tag_time.as_deref().unwrap_or("0001-01-01T00:00:00Z");
    Struct::new("image.InspectResponse")
        .with_key("ID", "Id", image.id.as_str())
        .with("RepoTags", image.repo_tags.clone())
        .with("RepoDigests", image.repo_digests.clone())
        .with_optional("Comment", comment)
        .with_optional("Created", text(&config.created))
        .with_optional("Author", text(&config.author))
        .with("Config", run_config(&config.config))
        .with("Architecture", config.architecture.as_str())
        .with_optional("Variant", text(&config.variant))
        .with("Os", config.os.as_str())
        .with_optional("OsVersion", text(&config.os_version))
        .with("Size", image.size)
        .with_optional("GraphDriver", driver)
        .with(
            "RootFS",
            Struct::new("image.RootFS")
                .with_optional("Type", config.rootfs.kind.as_str())
                .with_optional("Layers", layers),
        )
        .with(
            "Metadata",
            Struct::new("image.Metadata").with_optional("LastTagTime", last_tag_time),
        )
        .with_optional(
            "Descriptor",
            image
                .descriptor
                .as_ref()
                .map_or(Value::NilPointer("*v1.Descriptor"), descriptor),
        )
        .into()
}

/// The configuration, with Docker's additions behind it. What only the document knows is left out, as Docker does it.
fn run_config(config: &RunConfig) -> Struct {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let list = |l: &Option<Vec<String>>| l.clone().map_or_else(Value::nil_list, Value::from);
    let inner = Struct::new("v1.ImageConfig")
        .with_optional("User", text(&config.user))
        .with_optional("ExposedPorts", set(config.exposed_ports.as_ref()))
        .with_optional("Env", list(&config.env))
        .with_optional("Entrypoint", list(&config.entrypoint))
        .with_optional("Cmd", list(&config.cmd))
        .with_optional("Volumes", set(config.volumes.as_ref()))
        .with_optional("WorkingDir", text(&config.working_dir))
        .with_optional("Labels", labels(config.labels.as_ref()))
        .with_optional("StopSignal", text(&config.stop_signal))
        .with_optional(
            "ArgsEscaped",
            config.other.get("ArgsEscaped") == Some(&serde_json::Value::Bool(true)),
        );
    let healthcheck = match &config.healthcheck {
        None => Value::NilPointer("*v1.HealthcheckConfig"),
        // One that no container could have is shown as it was written.
        Some(check) => serde_json::from_value::<Healthcheck>(check.clone())
            .map_or_else(|_| Value::from(check), |check| health_config(&check)),
    };
    let extension = Struct::new("v1.DockerOCIImageConfigExt")
        .with_optional("Healthcheck", healthcheck)
        .with_optional("OnBuild", list(&config.on_build))
        .with_optional("Shell", list(&config.shell));
    Struct::new("v1.DockerOCIImageConfig")
        .embedding("ImageConfig", inner)
        .embedding("DockerOCIImageConfigExt", extension)
}

/// A Go map[string]struct{}.
fn set(keys: Option<&BTreeMap<String, serde_json::Value>>) -> Value {
    Map {
        kind: "map[string]struct {}",
        entries: keys
            .into_iter()
            .flatten()
            .map(|(key, _)| (key.clone(), Struct::new("struct {}").into()))
            .collect(),
        is_nil: keys.is_none(),
        methods: BTreeMap::new(),
    }
    .into()
}

fn labels(labels: Option<&BTreeMap<String, String>>) -> Value {
    let mut map = Map::of_text(labels.cloned().unwrap_or_default());
    map.is_nil = labels.is_none();
    map.into()
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let platform = descriptor
        .platform
        .as_ref()
        .map_or(Value::NilPointer("*v1.Platform"), |p| {
            Struct::new("v1.Platform")
                .with_key("Architecture", "architecture", p.architecture.as_str())
                .with_key("OS", "os", p.os.as_str())
                .into()
        });
    let mut s = Struct::new("v1.Descriptor")
        .with_key("MediaType", "mediaType", descriptor.media_type.as_str())
        .with_key("Digest", "digest", descriptor.digest.to_string())
        .with_key("Size", "size", descriptor.size)
        .with_key("Annotations", "annotations", descriptor.annotations.clone())
        .with_key("Platform", "platform", platform);
    for field in &mut s.fields[3..] {
        field.omit_empty = true;
    }
    s.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn some() -> Value {
        let config = ImageConfig::parse(
            br#"{"created":"2026-01-02T03:04:05.6Z","architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","A=<b>"],"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Labels":{"b":"2","a":"1"}},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#,
        )
        .unwrap();
        image(&Image {
            id: "sha256:0123".to_owned(),
            repo_tags: vec!["httpd:latest".to_owned()],
            repo_digests: Vec::new(),
            config,
            size: 42,
            descriptor: None,
            last_tag_time: None,
            driver: None,
        })
    }

    fn shown(format: Option<&str>) -> (String, Vec<String>) {
        let mut errors = Vec::new();
        let text = Inspector::new(format).unwrap().show(&[some()], &mut errors);
        (text, errors)
    }

    #[test]
    fn the_document() {
        assert_eq!(
            shown(None).0,
            r#"[
    {
        "Id": "sha256:0123",
        "RepoTags": [
            "httpd:latest"
        ],
        "RepoDigests": [],
        "Created": "2026-01-02T03:04:05.6Z",
        "Config": {
            "ExposedPorts": {
                "80/tcp": {}
            },
            "Env": [
                "PATH=/bin",
                "A=<b>"
            ],
            "Cmd": [
                "sh"
            ],
            "Labels": {
                "a": "1",
                "b": "2"
            }
        },
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 42,
        "RootFS": {
            "Type": "layers",
            "Layers": [
                "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            ]
        },
        "Metadata": {
            "LastTagTime": "0001-01-01T00:00:00Z"
        }
    }
]
"#
        );
    }

    #[test]
    fn templates() {
        for (format, text) in [
            ("{{.RepoTags}}", "[httpd:latest]\n"),
            ("{{.Os}}", "linux\n"),
            ("{{.Id}} {{.ID}}", ""),
            ("{{.Id}}", "sha256:0123\n"),
            ("{{.ID}}", "sha256:0123\n"),
            ("{{.Config.Env}}", "[PATH=/bin A=<b>]\n"),
            ("{{json .Config.Env}}", "[\"PATH=/bin\",\"A=<b>\"]\n"),
            (
                "{{.Config.Labels}} {{index .Config.Labels \"a\"}}",
                "map[a:1 b:2] 1\n",
            ),
            (
                "{{range $k, $v := .Config.ExposedPorts}}{{$k}}{{end}}",
                "80/tcp\n",
            ),
            ("{{.Config.Volumes}}{{.Config.Entrypoint}}", "map[][]\n"),
            (
                "{{.RootFS}}",
                "{layers [sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855]}\n",
            ),
            ("{{.GraphDriver}}", "<nil>\n"),
            ("{{len .RepoDigests}}", "0\n"),
        ] {
            let (shown, errors) = shown(Some(format));
            if text.is_empty() {
                assert_eq!(errors.len(), 1, "{format}");
            } else {
                assert_eq!((shown.as_str(), errors.len()), (text, 0), "{format} {errors:?}");
            }
        }
    }

    #[test]
    fn what_docker_has_types_for() {
        let shown = |config: &str, format: &str| {
            let text = format!(
                r#"{{"architecture":"amd64","os":"linux","config":{config},"comment":"own","rootfs":{{"type":"layers","diff_ids":[]}},"history":[{{"comment":"last"}}]}}"#
            );
            let image = image(&Image {
                id: "sha256:0123".to_owned(),
                repo_tags: Vec::new(),
                repo_digests: Vec::new(),
                config: ImageConfig::parse(text.as_bytes()).unwrap(),
                size: 42,
                descriptor: None,
                last_tag_time: None,
                driver: None,
            });
            let mut errors = Vec::new();
            let text = Inspector::new(Some(format)).unwrap().show(&[image], &mut errors);
            assert_eq!(errors, [""; 0], "{format}");
            text
        };
        let check = r#"{"Healthcheck":{"Retries":3,"Interval":30000000000,"Timeout":1500000000,"Test":["CMD-SHELL","true"]}}"#;
        for (format, text) in [
            ("{{.Config.Healthcheck}}", "{[CMD-SHELL true] 30s 1.5s 0s 0s 3}\n"),
            ("{{.Config.Healthcheck.Interval}}", "30s\n"),
            (
                "{{json .Config.Healthcheck}}",
                "{\"Test\":[\"CMD-SHELL\",\"true\"],\"Interval\":30000000000,\"Timeout\":1500000000,\"Retries\":3}\n",
            ),
            ("{{.Comment}}", "own\n"),
        ] {
            assert_eq!(shown(check, format), text);
        }
        assert_eq!(
            shown(r#"{"Healthcheck":{"Test":5}}"#, "{{json .Config.Healthcheck}}"),
            "{\"Test\":5}\n"
        );
    }

    #[test]
    fn what_is_not_there() {
        let (text, errors) = shown(Some("{{.ContainerConfig.Env}}"));
        assert_eq!(text, "\n");
        assert_eq!(
            errors,
            [
                "template parsing error: template: :1:18: executing \"\" at <.ContainerConfig.Env>: map has no entry for key \"ContainerConfig\""
            ]
        );
        assert_eq!(Inspector::new(Some("{{")).err().unwrap().code, 64);
        let mut errors = Vec::new();
        assert_eq!(Inspector::new(None).unwrap().show(&[], &mut errors), "[]\n");
        assert_eq!(
            Inspector::new(Some("json")).unwrap().show(&[], &mut errors),
            "[]\n"
        );
    }
}
