#![allow(clippy::unwrap_used)]
use super::*;

fn record(options: &[(&str, &str)]) -> Record {
    Record {
        driver: "bridge".into(),
        ipv4: true,
        device: "br-0123".into(),
        options: options
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ipam: Ipam {
            pools: vec![Pool {
                subnet: "10.0.0.0/24".into(),
                gateway: "10.0.0.1".into(),
                auxiliary: [("printer".to_owned(), "10.0.0.9".to_owned())].into(),
                ..Pool::default()
            }],
            ..Ipam::default()
        },
        ..Record::default()
    }
}

#[test]
fn what_the_kernel_has_to_know() {
    let usual = record(&[]).of_kernel().unwrap();
    assert!(usual.icc && usual.masquerade && !usual.routed && !usual.internal);
    assert_eq!(usual.subnets.len(), 1);
    assert_eq!(
        (
            usual.subnets[0].address.to_string().as_str(),
            usual.subnets[0].prefix
        ),
        ("10.0.0.1", 24)
    );
    let other = record(&[
        (option::ICC, "false"),
        (option::MTU, "1400"),
        (option::GATEWAY_MODE_V4, "routed"),
    ]);
    let other = other.of_kernel().unwrap();
    assert!(!other.icc && !other.masquerade && other.routed);
    assert_eq!(other.mtu, 1400);
    assert_eq!(
        record(&[(option::BINDING, "127.0.0.1")]).publish_at(),
        ["127.0.0.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(record(&[(option::BINDING, "0.0.0.0")]).publish_at().len(), 2);
    let range = record(&[]).ipam.pools[0].range().unwrap();
    assert_eq!(range.reserved.len(), 2);
    let mut newer = record(&[]);
    newer.driver = "vxlan".into();
    assert_eq!(newer.of_kernel().unwrap_err().kind(), Kind::Unsupported);
}

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> (Root, Networks) {
        let path = std::env::temp_dir().join(format!("brig-networks-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let networks = Networks::of(&Roots::at(&path));
        (Root(path), networks)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_default_one_is_made_once_by_many() {
    if !is_possible() {
        println!("skip engine.networks: not root");
        return;
    }
    let (_root, networks) = Root::new("once");
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| networks.bridge().unwrap().id))
            .collect();
        makers.into_iter().map(|m| m.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let bridge = networks.find("bridge").unwrap();
    assert_eq!(bridge.ipam.pools.len(), 1);
    assert!(bridge.device.starts_with("brig"));
    assert_eq!(networks.find(&bridge.id).unwrap(), bridge);
    assert_eq!(networks.find(bridge.id.get(..6).unwrap()).unwrap(), bridge);
    let names: Vec<String> = networks.list().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
    assert_eq!(
        networks.find("nope").unwrap_err().to_string(),
        "network nope not found"
    );
    let held = networks.hold(&bridge.id, "bridge").unwrap();
    assert_eq!(held.record, bridge);
    let containers = Containers::of(&networks.roots).unwrap();
    assert_eq!(
        networks.remove(&containers, &bridge).unwrap_err().to_string(),
        "bridge is a pre-defined network and cannot be removed"
    );
}
