//! `ps`: a row for each container.

use super::ago;
use crate::format;
use crate::session::Failure;
use crate::template::{Functions, MissingKey, Struct, Template, Value, quote};
use crate::units::{go_time, parse_time, short_id, size};
use crate::width::ellipsis;
use engine::summary::{Port, Summary};
use image::reference::Reference;
use monitor::state::{State, Status};
use std::collections::BTreeMap;

/// A container, and what a list has to find out about it.
#[derive(Clone, Debug, Default)]
pub struct Container {
    pub summary: Summary,
    /// As it was named, or the image's id where that name leads to another by now.
    pub image: String,
    /// What it has written, and that with its image; only if it was asked for.
    pub size: Option<(i64, i64)>,
}

/// How the list is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// `--format`, or the user's own default.
    pub format: Option<&'a str>,
    pub quiet: bool,
    pub no_trunc: bool,
    pub size: bool,
    /// Seconds since 1970.
    pub now: i64,
}

const HEADERS: [(&str, &str); 16] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("HealthStatus", "HEALTH STATUS"),
];

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(containers: &[Container], look: Look<'_>) -> Result<String, Failure> {
    let rows: Vec<Value> = containers.iter().map(|c| row(c, look)).collect();
    format::rows(&layout(look), &HEADERS, &rows)
}

/// Refuses a template before anything is looked up, and tells whether it shows sizes.
///
/// # Errors
/// It cannot be parsed, or not be executed on a row.
pub fn check(format: &str) -> Result<bool, Failure> {
    let template =
        Template::parse("", format).map_err(|e| Failure::plain(format!("failed to parse template: {e}")))?;
    let empty = row(&Container::default(), Look::default());
    template
        .execute(&mut String::new(), &empty, Functions::Docker, MissingKey::NoValue)
        .map_err(|e| Failure::plain(format!("failed to execute template: {e}")))?;
    // Docker marshals all of a row for `json .`, the size with it.
    let whole = ["json .}", "json . "].iter().any(|json| format.contains(json));
    Ok(whole || format.contains(".Size"))
}

/// The template: the user's, or one of the defaults.
fn layout(look: Look<'_>) -> String {
    let with_size = |text: &str, size: &str| match look.size {
        true => format!("{text}{size}"),
        false => text.to_owned(),
    };
    match (look.format.unwrap_or(format::TABLE), look.quiet) {
        ("raw", true) => "container_id: {{.ID}}".to_owned(),
        (_, true) => "{{.ID}}".to_owned(),
        (format::TABLE, false) => with_size(TABLE, "\t{{.Size}}"),
        ("raw", false) => with_size(RAW, "size: {{.Size}}\n"),
        (own, false) => own.to_owned(),
    }
}

fn row(container: &Container, look: Look<'_>) -> Value {
    let Container {
        summary,
        image,
        size: sizes,
    } = container;
    let brief = &summary.brief;
    let cut = !look.no_trunc;
    let created = parse_time(&brief.created).unwrap_or(0);
    let labels = &brief.config.labels;
    let label = {
        let labels = labels.clone();
        Value::method(1, move |arguments| {
            let name = arguments[0].as_text().unwrap_or_default();
            Ok(labels.get(name).cloned().unwrap_or_default().into())
        })
    };
    let mounts: Vec<String> = brief
        .mounts
        .iter()
        .map(|m| if m.name.is_empty() { &m.source } else { &m.name })
        .map(|name| if cut { ellipsis(name, 15) } else { name.clone() })
        .collect();
    let command = summary.command();
    let local = brief.mounts.iter().filter(|m| m.driver == "local").count();
    let (written, all) = sizes.unwrap_or((0, 0));
    Struct::row("formatter.ContainerContext")
        .with(
            "ID",
            if cut {
                short_id(&brief.id)
            } else {
                brief.id.clone()
            },
        )
        .with("Names", brief.name.as_str())
        .with(
            "Image",
            if cut {
                short_image(image, &brief.image)
            } else {
                named(image)
            },
        )
        .with(
            "Command",
            quote(&if cut { ellipsis(&command, 20) } else { command }),
        )
        .with("CreatedAt", go_time(created))
        .with("RunningFor", ago(look.now, created))
        .with("Ports", ports(&summary.ports()))
        .with("State", state(summary.state.status))
        .with("Status", status(&summary.state, look.now))
        .with(
            "Size",
            match all {
                0 => size(written),
                all => format!("{} (virtual {})", size(written), size(all)),
            },
        )
        .with("Labels", joined(labels))
        .with("Label", label)
        .with("Mounts", mounts.join(","))
        .with("LocalVolumes", local.to_string())
        .with("Networks", summary.networks().join(","))
        .with("Platform", brief.platform.as_str())
        .with(
            "HealthStatus",
            match summary.health() {
                "none" => "",
                health => health,
            },
        )
        .into()
}

fn joined(labels: &BTreeMap<String, String>) -> String {
    let mut all: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    all.sort();
    all.join(",")
}

fn named(image: &str) -> String {
    match image {
        "" => "<no image>".to_owned(),
        image => image.to_owned(),
    }
}

/// Without the domain that everybody knows, without a digest; an id is cut.
fn short_image(image: &str, id: &str) -> String {
    if !image.is_empty() && short_id(image) == short_id(id) {
        return short_id(id);
    }
    let Ok(reference) = image.parse::<Reference>() else {
        return named(image);
    };
    match (reference.digest(), reference.tag()) {
        (None, _) => reference.familiar(),
        (Some(_), Some(tag)) => format!("{}:{tag}", reference.repository().familiar()),
        (Some(_), None) => reference.repository().familiar(),
    }
}

/// In one word.
pub fn state(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Removing => "removing",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// In some more words: `Up 3 minutes (healthy)`, `Exited (137) 2 hours ago`.
pub fn status(state: &State, now: i64) -> String {
    let up = || {
        let since = parse_time(&state.started_at).unwrap_or(now);
        format!("Up {}", crate::units::duration(now - since))
    };
    let ended = |word: &str| {
        let code = state.exit_code;
        match parse_time(&state.finished_at) {
            Some(then) => format!("{word} ({code}) {}", ago(now, then)),
            // Nobody has seen when.
            None => format!("{word} ({code})"),
        }
    };
    match state.status {
        Status::Running => match state.health.as_ref().map(|h| h.status.as_str()) {
            None | Some("" | "none") => up(),
            Some("starting") => format!("{} (health: starting)", up()),
            Some(health) => format!("{} ({health})", up()),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => ended("Restarting"),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        // It could not be started.
        Status::Exited
            if state.started_at.is_empty() && state.finished_at.is_empty() && state.exit_code == 0 =>
        {
            "Created".to_owned()
        }
        Status::Exited => ended("Exited"),
    }
}

/// `0.0.0.0:80->80/tcp, [::]:80->80/tcp`; neighbours become a range where the host's ports are the same.
pub fn ports(ports: &[Port]) -> String {
    let mut ports = ports.to_vec();
    let address = |p: &Port| {
        p.public
            .as_ref()
            .and_then(|(ip, _)| ip.parse::<std::net::IpAddr>().ok())
    };
    ports.sort_by(|a, b| {
        let key = |p: &Port| {
            (
                p.private,
                address(p),
                p.public.as_ref().map(|(_, n)| *n),
                p.protocol.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let mut ended = Vec::new();
    let mut groups: Vec<(Option<String>, String, u16, u16)> = Vec::new();
    let mut mapped = Vec::new();
    for port in &ports {
        let host = match &port.public {
            Some((ip, public)) if *public != port.private => {
                mapped.push(format!(
                    "{}->{}/{}",
                    with_port(ip, &public.to_string()),
                    port.private,
                    port.protocol
                ));
                continue;
            }
            public => public.as_ref().map(|(ip, _)| ip.clone()),
        };
        let group = groups.iter_mut().find(|g| g.0 == host && g.1 == port.protocol);
        match group {
            None => groups.push((host, port.protocol.clone(), port.private, port.private)),
            Some(group) if group.3.checked_add(1) == Some(port.private) => group.3 = port.private,
            Some(group) => {
                ended.push(range(group));
                (group.2, group.3) = (port.private, port.private);
            }
        }
    }
    ended.extend(groups.iter().map(range));
    ended.extend(mapped);
    ended.join(", ")
}

fn range((host, protocol, first, last): &(Option<String>, String, u16, u16)) -> String {
    let ports = match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match host {
        Some(ip) => format!("{}->{ports}/{protocol}", with_port(ip, &ports)),
        None => format!("{ports}/{protocol}"),
    }
}

/// An address with a port behind it; one of IPv6 in brackets.
pub fn with_port(ip: &str, port: &str) -> String {
    match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::model::MountPoint;
    use monitor::state::Health;

    const NOW: i64 = 1_795_845_600; // 2026-11-28T06:00:00Z

    fn some() -> Vec<Container> {
        let mut web = Container {
            image: "docker.io/library/nginx:1.26".into(),
            ..Container::default()
        };
        let brief = &mut web.summary.brief;
        brief.id = "0123456789abcdef".repeat(4);
        brief.name = "web".into();
        brief.created = "2026-11-28T03:00:00.5Z".into();
        brief.path = "/docker-entrypoint.sh".into();
        brief.args = vec!["nginx".into(), "-g".into(), "daemon off;".into()];
        brief.image = format!("sha256:{}", "ab".repeat(32));
        brief.platform = "linux/amd64".into();
        brief.host.network_mode = "host".into();
        brief.config.labels = [("b", "2"), ("a", "1")].map(|(k, v)| (k.into(), v.into())).into();
        brief.mounts = vec![MountPoint {
            kind: "volume".into(),
            name: "a-rather-long-name".into(),
            driver: "local".into(),
            ..MountPoint::default()
        }];
        web.summary.state.status = Status::Running;
        web.summary.state.started_at = "2026-11-28T05:57:00Z".into();
        web.size = Some((2, 21_500_000));
        let mut old = web.clone();
        old.summary.brief.id = "f".repeat(64);
        old.summary.brief.name = "old".into();
        old.image = old.summary.brief.image.clone();
        old.summary.state.status = Status::Exited;
        old.summary.state.exit_code = 137;
        old.summary.state.finished_at = "2026-11-28T04:00:00Z".into();
        vec![web, old]
    }

    fn shown(look: Look<'_>) -> String {
        list(&some(), Look { now: NOW, ..look }).unwrap()
    }

    #[test]
    fn the_table() {
        assert_eq!(
            shown(Look::default()),
            "CONTAINER ID   IMAGE          COMMAND                  CREATED       STATUS                     PORTS     NAMES\n\
             0123456789ab   nginx:1.26     \"/docker-entrypoint.\u{2026}\"   3 hours ago   Up 3 minutes                         web\n\
             ffffffffffff   abababababab   \"/docker-entrypoint.\u{2026}\"   3 hours ago   Exited (137) 2 hours ago             old\n"
        );
        let long = shown(Look {
            no_trunc: true,
            size: true,
            ..Look::default()
        });
        let second = long.lines().nth(1).unwrap();
        assert!(second.starts_with(&"0123456789abcdef".repeat(4)), "{long}");
        assert!(second.contains("   docker.io/library/nginx:1.26   "), "{long}");
        assert!(
            second.contains("   \"/docker-entrypoint.sh nginx -g 'daemon off;'\"   "),
            "{long}"
        );
        assert!(second.ends_with("2B (virtual 21.5MB)"), "{long}");
    }

    #[test]
    fn formats() {
        for (format, first) in [
            ("{{.Names}}: {{.State}}", "web: running"),
            ("{{.Labels}} {{.Label \"a\"}} {{.Label \"x\"}}", "a=1,b=2 1 "),
            (
                "{{.Mounts}} {{.LocalVolumes}} {{.Networks}}",
                "a-rather-long-\u{2026} 1 host",
            ),
            ("{{.Platform}}{{.HealthStatus}}", "linux/amd64"),
            ("table {{.ID}}\\t{{.Image}}", "CONTAINER ID   IMAGE"),
            ("raw", "container_id: 0123456789ab"),
        ] {
            let text = shown(Look {
                format: Some(format),
                ..Look::default()
            });
            assert_eq!(text.lines().next().unwrap(), first, "{format}");
        }
        let quiet = Look {
            quiet: true,
            format: Some("{{.Names}}"),
            ..Look::default()
        };
        assert_eq!(shown(quiet), "0123456789ab\nffffffffffff\n");
        let json = shown(Look {
            format: Some("json"),
            ..Look::default()
        });
        assert!(
            json.starts_with(
                "{\"Command\":\"\\\"/docker-entrypoint.\u{2026}\\\"\",\"CreatedAt\":\"2026-11-28 "
            ),
            "{json}"
        );
    }

    #[test]
    fn templates_are_refused_early() {
        assert_eq!(
            check("{{.Foo}}").unwrap_err().message,
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
        assert!(
            check("{{")
                .unwrap_err()
                .message
                .starts_with("failed to parse template: template: :1: ")
        );
        assert!(check("table {{.ID}}\\t{{.Size}}").unwrap() && check("{{json .}}").unwrap());
        assert!(!check("{{.ID}}").unwrap() && !check("json").unwrap());
    }

    #[test]
    fn states() {
        let state = |status, change: &dyn Fn(&mut State)| {
            let mut state = State {
                status,
                started_at: "2026-11-28T05:00:00Z".into(),
                finished_at: "2026-11-28T05:59:55Z".into(),
                exit_code: 1,
                ..State::default()
            };
            change(&mut state);
            super::status(&state, NOW)
        };
        let health = |text: &'static str| {
            move |s: &mut State| {
                s.health = Some(Health {
                    status: text.into(),
                    ..Health::default()
                });
            }
        };
        assert_eq!(
            state(Status::Running, &health("healthy")),
            "Up About an hour (healthy)"
        );
        assert_eq!(
            state(Status::Running, &health("starting")),
            "Up About an hour (health: starting)"
        );
        assert_eq!(state(Status::Running, &health("none")), "Up About an hour");
        assert_eq!(
            state(Status::Paused, &health("healthy")),
            "Up About an hour (Paused)"
        );
        assert_eq!(state(Status::Restarting, &|_| ()), "Restarting (1) 5 seconds ago");
        assert_eq!(state(Status::Exited, &|_| ()), "Exited (1) 5 seconds ago");
        let unseen = |s: &mut State| {
            s.exit_code = 255;
            s.finished_at.clear();
        };
        assert_eq!(state(Status::Exited, &unseen), "Exited (255)");
        assert_eq!(state(Status::Removing, &|_| ()), "Removal In Progress");
        assert_eq!(state(Status::Created, &|_| ()), "Created");
        assert_eq!(state(Status::Dead, &|_| ()), "Dead");
    }

    #[test]
    fn ports_and_their_ranges() {
        let port = |private, protocol: &str, public: Option<(&str, u16)>| Port {
            private,
            protocol: protocol.into(),
            public: public.map(|(ip, n)| (ip.to_owned(), n)),
        };
        let both = |n| {
            [
                port(n, "tcp", Some(("0.0.0.0", n))),
                port(n, "tcp", Some(("::", n))),
            ]
        };
        for (given, text) in [
            (vec![port(80, "tcp", None)], "80/tcp"),
            (both(80).to_vec(), "0.0.0.0:80->80/tcp, [::]:80->80/tcp"),
            (
                [both(80), both(81)].concat(),
                "0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp",
            ),
            (
                vec![port(80, "tcp", Some(("127.0.0.1", 8080))), port(443, "tcp", None)],
                "443/tcp, 127.0.0.1:8080->80/tcp",
            ),
            (
                (3300..=3310)
                    .map(|n| port(n, "tcp", None))
                    .chain([port(53, "udp", None)])
                    .collect(),
                "53/udp, 3300-3310/tcp",
            ),
            (
                vec![port(1, "tcp", None), port(3, "tcp", None), port(4, "tcp", None)],
                "1/tcp, 3-4/tcp",
            ),
        ] {
            assert_eq!(ports(&given), text);
        }
    }

    #[test]
    fn names_of_images() {
        let id = format!("sha256:{}", "ab".repeat(32));
        for (image, shown) in [
            ("docker.io/library/nginx", "nginx"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("abababababab", "abababababab"),
            (id.as_str(), "abababababab"),
            ("", "<no image>"),
        ] {
            assert_eq!(short_image(image, &id), shown, "{image}");
        }
        let digest = format!("nginx:1@sha256:{}", "cd".repeat(32));
        assert_eq!(short_image(&digest, &id), "nginx:1");
    }
}
