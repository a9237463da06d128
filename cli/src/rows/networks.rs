//! `network ls`, `network inspect`.

use std::collections::BTreeMap;

use engine::networks::{Pool, Record, User};

use crate::format;
use crate::session::Failure;
use crate::template::{Map, Struct, Value};
use crate::units::{go_time, parse_time, short_id};

/// How the list is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// `--format`, or the user's own default.
    pub format: Option<&'a str>,
    pub quiet: bool,
    pub no_trunc: bool,
}

const HEADERS: [(&str, &str); 9] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(networks: &[Record], look: Look<'_>) -> Result<String, Failure> {
    let format = match (look.format.unwrap_or(format::TABLE), look.quiet) {
        ("raw", true) => "network_id: {{.ID}}",
        (_, true) => "{{.ID}}",
        (format::TABLE, false) => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        ("raw", false) => RAW,
        (own, false) => own,
    };
    let rows: Vec<Value> = networks.iter().map(|n| row(n, look.no_trunc)).collect();
    format::rows(format, &HEADERS, &rows)
}

fn row(record: &Record, no_trunc: bool) -> Value {
    let labels = record.labels.clone();
    let joined: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let label = Value::method(1, move |arguments| {
        let name = arguments[0].as_text().unwrap_or_default();
        Ok(labels.get(name).cloned().unwrap_or_default().into())
    });
    let id = match no_trunc {
        true => record.id.clone(),
        false => short_id(&record.id),
    };
    Struct::row("formatter.networkContext")
        .with("ID", id)
        .with("Name", record.name.as_str())
        .with("Driver", record.driver.as_str())
        .with("Scope", "local")
        .with("IPv4", record.ipv4.to_string())
        .with("IPv6", record.ipv6.to_string())
        .with("Internal", record.internal.to_string())
        .with("Labels", joined.join(","))
        .with("Label", label)
        .with("CreatedAt", go_time(parse_time(&record.created).unwrap_or(0)))
        .into()
}

/// All there is to know of one, in Docker's order. `leased`: how many addresses each of its pools has given away.
pub fn document(record: &Record, users: &[User], leased: &[u64]) -> Value {
    let pools = record.ipam.pools.iter().map(pool).collect();
    let options = Map {
        is_nil: record.ipam.options.is_none(),
        ..Map::of_text(record.ipam.options.clone().unwrap_or_default())
    };
    let ipam = Struct::new("network.IPAM")
        .with("Driver", record.ipam.driver.as_str())
        .with("Options", options)
        .with("Config", Value::list("[]network.IPAMConfig", pools));
    let containers = users.iter().map(|user| (user.container.clone(), endpoint(user)));
    Struct::new("network.Inspect")
        .with("Name", record.name.as_str())
        .with_key("ID", "Id", record.id.as_str())
        .with("Created", record.created.as_str())
        .with("Scope", "local")
        .with("Driver", record.driver.as_str())
        .with("EnableIPv4", record.ipv4)
        .with("EnableIPv6", record.ipv6)
        .with("IPAM", ipam)
        .with("Internal", record.internal)
        .with("Attachable", record.attachable)
        .with("Ingress", false)
        .with(
            "ConfigFrom",
            Struct::new("network.ConfigReference").with("Network", ""),
        )
        .with("ConfigOnly", false)
        .with("Options", record.options.clone())
        .with("Labels", record.labels.clone())
        .with(
            "Containers",
            map("map[string]network.EndpointResource", containers),
        )
        .with("Status", status(record, leased))
        .into()
}

fn pool(pool: &Pool) -> Value {
    Struct::new("network.IPAMConfig")
        .with_optional("Subnet", pool.subnet.as_str())
        .with_optional("IPRange", pool.ip_range.as_str())
        .with_optional("Gateway", pool.gateway.as_str())
        .with_key_optional("AuxAddress", "AuxiliaryAddresses", pool.auxiliary.clone())
        .into()
}

fn endpoint(user: &User) -> Value {
    let address = |is_v4: bool| {
        let all = &user.endpoint.addresses;
        all.iter()
            .find(|a| a.address.is_ipv4() == is_v4)
            .map_or_else(String::new, |a| format!("{}/{}", a.address, a.prefix))
    };
    Struct::new("network.EndpointResource")
        .with("Name", user.name.as_str())
        .with("EndpointID", user.endpoint.id.as_str())
        .with("MacAddress", user.endpoint.mac.as_str())
        .with("IPv4Address", address(true))
        .with("IPv6Address", address(false))
        .into()
}

/// How many addresses there are, and how many are left.
fn status(record: &Record, leased: &[u64]) -> Struct {
    let subnets = record.ipam.pools.iter().zip(leased).map(|(pool, leased)| {
        let (total, left) = pool.range().map_or((0, 0), |range| {
            let left = range.size().saturating_sub(*leased);
            (range.within.unwrap_or(range.subnet).size(), left)
        });
        let one = Struct::new("network.SubnetStatus")
            .with("IPsInUse", Value::Uint(total.saturating_sub(left)))
            .with("DynamicIPsAvailable", Value::Uint(left));
        (pool.subnet.clone(), one.into())
    });
    let ipam =
        Struct::new("network.IPAMStatus").with("Subnets", map("map[string]network.SubnetStatus", subnets));
    Struct::new("network.Status").with("IPAM", ipam)
}

fn map(kind: &'static str, entries: impl Iterator<Item = (String, Value)>) -> Value {
    Map {
        kind,
        entries: entries.collect(),
        is_nil: false,
        methods: BTreeMap::new(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rows::inspect::Inspector;
    use engine::networks::Ipam;

    fn some() -> Record {
        Record {
            id: "0123456789abcdef".repeat(4),
            name: "mine".into(),
            created: "2026-11-28T05:00:00.5Z".into(),
            driver: "bridge".into(),
            ipv4: true,
            ipam: Ipam {
                driver: "default".into(),
                pools: vec![Pool {
                    subnet: "10.77.0.0/16".into(),
                    gateway: "10.77.0.9".into(),
                    ..Pool::default()
                }],
                ..Ipam::default()
            },
            labels: [("colour".to_owned(), "blue".to_owned())].into(),
            ..Record::default()
        }
    }

    #[test]
    fn lists() {
        let show = |look| list(&[some()], look).unwrap();
        assert_eq!(
            show(Look::default()),
            "NETWORK ID     NAME      DRIVER    SCOPE\n0123456789ab   mine      bridge    local\n"
        );
        let quiet = Look {
            quiet: true,
            no_trunc: true,
            ..Look::default()
        };
        assert_eq!(show(quiet), format!("{}\n", "0123456789abcdef".repeat(4)));
        let own = Look {
            format: Some("{{.Name}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.Label \"colour\"}}"),
            ..Look::default()
        };
        assert_eq!(show(own), "mine false false colour=blue blue\n");
    }

    #[test]
    fn the_document_has_dockers_fields_in_their_order() {
        let text = Inspector::new(None)
            .unwrap()
            .show(&[document(&some(), &[], &[3])], &mut Vec::new());
        let keys: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("        \"")?.split('"').next())
            .collect();
        assert_eq!(
            keys.join(" "),
            "Name Id Created Scope Driver EnableIPv4 EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom ConfigOnly Options Labels Containers Status"
        );
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json[0]["IPAM"],
            serde_json::json!({"Driver": "default", "Options": null, "Config": [{"Subnet": "10.77.0.0/16", "Gateway": "10.77.0.9"}]})
        );
        assert_eq!(
            json[0]["Status"]["IPAM"]["Subnets"]["10.77.0.0/16"],
            serde_json::json!({"IPsInUse": 6, "DynamicIPsAvailable": 65530})
        );
        let format = "{{.Name}} {{range .IPAM.Config}}{{.Subnet}}{{end}} {{.Options}} {{len .Containers}}";
        let text = Inspector::new(Some(format))
            .unwrap()
            .show(&[document(&some(), &[], &[0])], &mut Vec::new());
        assert_eq!(text, "mine 10.77.0.0/16 map[] 0\n");
    }
}
