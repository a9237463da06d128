#![allow(clippy::unwrap_used)]

use super::*;
use crate::flags::{Order, parse as parse_flags};
use builder::request::{Named, SecretFrom};
use std::ffi::OsString;

/// A command line with these variables and a configuration with a proxy.
fn ask(args: &[&str], variables: &[(&str, &str)]) -> Result<Wanted, String> {
    let parsed = parse_flags(&table::BUILD, args.iter().map(OsString::from), Order::Anywhere)?;
    let variable = |name: &str| {
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, v)| (*v).to_owned())
    };
    let config: Config =
        serde_json::from_str(r#"{"proxies":{"default":{"httpProxy":"http://config"}}}"#).unwrap();
    read(
        &parsed,
        &Surroundings {
            variable: &variable,
            config: &config,
            out_is_terminal: false,
        },
    )
}

fn request(args: &[&str]) -> Request {
    ask(args, &[]).unwrap().request
}

#[test]
fn everything_that_can_be_asked() {
    let wanted = ask(
        &[
            "-t",
            "site",
            "-t",
            "r.io/site:2",
            "--build-arg",
            "A=1",
            "--build-arg=HERE",
            "--build-arg=ABSENT",
            "--label",
            "l",
            "--label=k=v=w",
            "-f",
            "docker/File",
            "--target",
            "x",
            "--platform",
            "linux/arm64,linux/arm/v7",
            "--platform=local",
            "--secret",
            "id=s,src=/s",
            "--secret=id=e,env=E",
            "--secret",
            "type=env,id=t,src=T",
            "--secret=id=HERE",
            "--secret=id=file",
            "--ssh",
            "default",
            "--ssh=k=/a,/b",
            "--add-host",
            "h:1.2.3.4,i=[::1]",
            "--add-host=j:host-gateway",
            "--network=none",
            "--ulimit",
            "nofile=1:2",
            "--shm-size=1m",
            "--memory",
            "2g",
            "--cpu-shares=5",
            "--resource=memory=1g",
            "--no-cache-filter=a,b",
            "--pull",
            "--squash",
            "--rm=false",
            "--compress",
            "--cache-from=u/a:c,u/b:c",
            "--cache-from",
            "type=local,src=d",
            "--cache-to=type=inline",
            "--annotation",
            "index,manifest[linux/amd64]:k=v",
            "--attest=type=sbom,generator=g",
            "--provenance=mode=max",
            "--allow=network.host",
            "--iidfile=i",
            "--metadata-file=m",
            "--build-context=base=docker-image://debian",
            "--build-context=lay=oci-layout://d/e:t@sha256:aa",
            "--progress=plain",
            "--jobs=3",
            "--cgroup-parent=/c",
            ".",
        ],
        &[
            ("HERE", "here"),
            ("https_proxy", "p"),
            ("SOURCE_DATE_EPOCH", "7"),
            ("SSH_AUTH_SOCK", "/a"),
            ("BUILDKIT_PROGRESS", "tty"),
        ],
    )
    .unwrap();
    let request = &wanted.request;
    assert_eq!(
        request.tags.iter().map(Reference::familiar).collect::<Vec<_>>(),
        ["site:latest", "r.io/site:2"]
    );
    let args: Vec<_> = request
        .build_args
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        args,
        [
            "A=1",
            "HERE=here",
            "HTTP_PROXY=http://config",
            "SOURCE_DATE_EPOCH=7",
            "http_proxy=http://config",
            "https_proxy=p"
        ]
    );
    assert_eq!(
        request.labels,
        BTreeMap::from([
            ("l".to_owned(), String::new()),
            ("k".to_owned(), "v=w".to_owned())
        ])
    );
    assert_eq!(request.dockerfile, File::Path("docker/File".into()));
    let host = image::platform::Platform::host();
    let platforms: Vec<_> = request.platforms.iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/arm/v7", &host.to_string()]);
    let secrets: Vec<_> = request
        .secrets
        .iter()
        .map(|s| match &s.from {
            SecretFrom::File(path) => format!("{}<{}", s.id, path.display()),
            SecretFrom::Variable(name) => format!("{}${name}", s.id),
        })
        .collect();
    assert_eq!(secrets, ["s</s", "e$E", "t$T", "HERE$HERE", "file<file"]);
    assert_eq!(request.ssh[1].paths, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(request.add_hosts, ["h:1.2.3.4", "i:::1", "j:host-gateway"]);
    assert_eq!(
        (request.network, request.shm_size),
        (Network::None, Some(1 << 20))
    );
    assert_eq!(
        (request.ulimits[0].name.as_str(), request.ulimits[0].hard),
        ("nofile", 2)
    );
    let limits = request.limits.as_ref().unwrap();
    assert_eq!((limits.memory, limits.cpu_shares), (1 << 30, 5));
    assert_eq!(request.no_cache_filter.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(request.pull && !request.no_cache);
    let stores: Vec<_> = request
        .cache_from
        .iter()
        .map(|s| format!("{} {:?}", s.kind, s.values))
        .collect();
    assert_eq!(
        stores,
        [
            "registry {\"ref\": \"u/a:c\"}",
            "registry {\"ref\": \"u/b:c\"}",
            "local {\"src\": \"d\"}"
        ]
    );
    assert_eq!(request.annotations[0].kinds, ["index", "manifest[linux/amd64]"]);
    assert_eq!(request.attestations.provenance.as_ref().unwrap()["mode"], "max");
    assert_eq!(request.attestations.sbom.as_ref().unwrap()["generator"], "g");
    assert_eq!(request.entitlements.len(), 1);
    assert!(matches!(&request.contexts["base"], Named::Image(r) if r.familiar() == "debian:latest"));
    assert_eq!(
        request.contexts["lay"],
        Named::Layout {
            path: "d/e".into(),
            reference: "t@sha256:aa".to_owned()
        }
    );
    assert_eq!(
        (wanted.style, wanted.quiet, request.at_once),
        (Style::Plain, false, Some(3))
    );
    assert_eq!(
        (wanted.id_file, wanted.metadata_file),
        (Some("i".into()), Some("m".into()))
    );
    assert_eq!(request.environment["https_proxy"], "p");
    assert_eq!(request.context, Origin::Directory(".".into()));
}

#[test]
fn contexts() {
    let of = |args: &[&str]| (request(args).context, request(args).dockerfile);
    assert_eq!(of(&["-"]), (Origin::Stdin, File::Usual));
    assert_eq!(
        of(&["-f", "-", "."]),
        (Origin::Directory(".".into()), File::Stdin)
    );
    assert!(matches!(
        of(&["https://host/x.git#main:sub"]).0,
        Origin::Remote(build::remote::Location::Git(_))
    ));
    assert!(matches!(
        of(&["https://host/x.tar.gz"]).0,
        Origin::Remote(build::remote::Location::Url(_))
    ));
    assert_eq!(
        of(&["-f", "https://h/F", "."]).1,
        File::Remote("https://h/F".to_owned())
    );
}

#[test]
fn outputs_and_their_short_forms() {
    let of = |args: &[&str]| {
        let mut args = args.to_vec();
        args.push(".");
        let outputs = request(&args).outputs;
        outputs
            .iter()
            .map(|o| {
                let to = o
                    .destination
                    .as_ref()
                    .map(|d| d.display().to_string())
                    .unwrap_or_default();
                let values: Vec<_> = o.values.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("{:?} {to} {}", o.kind, values.join(","))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), [""; 0]);
    assert_eq!(of(&["-o", "nowhere/out"]), ["Local nowhere/out "]);
    assert_eq!(of(&["-o-"]), ["Tar  "]);
    assert_eq!(of(&["-o", "type=tar,dest=a.tar"]), ["Tar a.tar "]);
    assert_eq!(of(&["-t", "x", "--push"]), ["Image  push=true"]);
    assert_eq!(of(&["--load"]), ["Image  "]);
    assert_eq!(of(&["-o", "type=docker"]), ["Image  "]);
    assert_eq!(
        of(&["-o", "type=docker,dest=a", "--load"]),
        ["Docker a ", "Image  "]
    );
    assert_eq!(
        of(&["-o", "type=registry,name=r/x"]),
        ["Image  name=r/x,push=true"]
    );
    assert_eq!(
        of(&["-o", "type=oci,dest=d,tar=false,Compression=zstd"]),
        ["Oci d compression=zstd,tar=false"]
    );
    assert_eq!(
        of(&["-o", "\"type=image\",\"name=a,b\",push=true"]),
        ["Image  name=a,b,push=true"]
    );
    assert_eq!(of(&["-o", "type=cacheonly"]), ["Cacheonly  "]);
}

#[test]
fn the_words_of_buildx() {
    for (args, message) in [
        (
            &["."; 0][..],
            "failed to build: please specify build context (e.g. \".\" for the current directory)",
        ),
        (
            &["nowhere"],
            "failed to build: unable to prepare context: path \"nowhere\" not found",
        ),
        (
            &["-f", "-", "-"],
            "failed to build: invalid argument: can't use stdin for both build context and dockerfile",
        ),
        (
            &["-t", "a/B", "."],
            "failed to build: invalid tag \"a/B\": repository name must be lowercase",
        ),
        (
            &["--build-arg", "=x", "."],
            "invalid key-value pair \"=x\": empty key",
        ),
        (
            &["--secret", "id", "."],
            "invalid field 'id' must be a key=value pair",
        ),
        (
            &["--secret", "id=a,foo=b", "."],
            "unexpected key 'foo' in 'foo=b'",
        ),
        (&["--secret", "type=x,id=a", "."], "unsupported secret type \"x\""),
        (&["--secret", "src=a", "."], "secret missing ID"),
        (
            &["-o", "type=foo", "."],
            "failed to build: exporter \"foo\" could not be found",
        ),
        (&["-o", "dest=a,x=y", "."], "type is required for output"),
        (&["-o", "a,b", "."], "invalid value a"),
        (
            &["-o", "type=local", "."],
            "failed to build: dest is required for local exporter",
        ),
        (
            &["-o", "type=local,dest=-", "."],
            "failed to build: dest cannot be stdout for local exporter",
        ),
        (
            &["-o", "type=tar,dest=/", "."],
            "failed to build: destination file / is a directory",
        ),
        (
            &["-o", "/etc/passwd", "."],
            "failed to build: destination directory /etc/passwd is a file",
        ),
        (
            &["-o", "-", "-o", "type=oci", "."],
            "failed to build: multiple outputs configured to write to stdout",
        ),
        (
            &["-o", "type=local,dest=/nowhere,mode=delete", "."],
            "failed to build: local output mode=delete for destination \"/nowhere\" requires --allow=buildx.local.delete",
        ),
        (
            &["--push", "."],
            "failed to build: tag is needed when pushing to registry",
        ),
        (
            &["-o", "a", "--iidfile=i", "."],
            "local and tar exporters are incompatible with image ID file",
        ),
        (&["--cache-from", "src=a", "."], "type required for \"src=a\""),
        (&["--cache-to", "type=local,a", "."], "invalid value a"),
        (&["--attest", "mode=max", "."], "attestation type not specified"),
        (
            &["--annotation", "k", "."],
            "failed to build: invalid annotation \"k\", expected key=value",
        ),
        (
            &["--annotation", "x:k=v", "."],
            "failed to build: unknown annotation type \"x\"",
        ),
        (
            &["--annotation", "index[:k=v", "."],
            "failed to build: invalid annotation type \"index[\", expected type and optional platform in square brackets",
        ),
        (
            &["--annotation", "index:k=v", "."],
            "failed to build: index annotations not supported for single platform export",
        ),
        (
            &["--allow", "all", "."],
            "failed to build: unknown entitlement all",
        ),
        (&["--add-host", "h", "."], "failed to build: invalid host h"),
        (&["--add-host", "h:x", "."], "failed to build: invalid host h:x"),
        (
            &["--build-context", "a", "."],
            "invalid context value: a, expected key=value",
        ),
        (
            &["--call", "format=json,a,b", "."],
            "invalid print value: format=json,a,b",
        ),
        (&["--call", "a=b", "."], "invalid print field: a=b"),
        (
            &["-q", "--progress=tty", "."],
            "progress=tty and quiet cannot be used together",
        ),
        (&["--progress=bars", "."], "invalid progress mode bars"),
        (
            &["--resource", "disk=1", "."],
            "failed to build: unknown resource \"disk\"",
        ),
        (
            &["-m", "1x", "."],
            "failed to build: invalid value \"1x\" for resource memory: invalid suffix: 'x'",
        ),
        (
            &["--shm-size", "x"],
            "invalid argument \"x\" for \"--shm-size\" flag: invalid size: 'x'",
        ),
        (&["--nope", "."], "unknown flag: --nope"),
    ] {
        assert_eq!(ask(args, &[]).unwrap_err(), message, "{args:?}");
    }
}

#[test]
fn a_directory_below_this_one_may_be_emptied() {
    let of = |values: &str| ask(&["-o", values, "."], &[]).map(drop);
    assert_eq!(of("type=local,dest=a/b,mode=delete"), Ok(()));
    assert!(of("type=local,dest=.,mode=delete").is_err());
    assert!(of("type=local,dest=a/../..,mode=delete").is_err());
    let allowed = ask(
        &[
            "-o",
            "type=local,dest=/nowhere,mode=delete",
            "--allow=buildx.local.delete",
            ".",
        ],
        &[],
    );
    assert!(allowed.is_ok());
}

#[test]
fn how_progress_is_shown() {
    let of = |args: &[&str], variables: &[(&str, &str)]| {
        let wanted = ask(args, variables).unwrap();
        (wanted.style, wanted.quiet)
    };
    assert_eq!(of(&["."], &[]), (Style::Auto, false));
    assert_eq!(
        of(&["."], &[("BUILDKIT_PROGRESS", "plain")]),
        (Style::Plain, false)
    );
    assert_eq!(of(&["--progress=none", "."], &[]), (Style::Quiet, false));
    assert_eq!(of(&["--progress=quiet", "."], &[]), (Style::Quiet, true));
    assert_eq!(of(&["-q", "."], &[]), (Style::Quiet, true));
    let call = ask(&["--call=check,format=json,ignorestatus=true", "."], &[])
        .unwrap()
        .call
        .unwrap();
    assert_eq!(
        (call.name.as_str(), call.is_json, call.ignore_status),
        ("lint", true, true)
    );
    assert_eq!(ask(&["--call=build", "."], &[]).unwrap().call, None);
    assert_eq!(ask(&["--check", "."], &[]).unwrap().call.unwrap().name, "lint");
}

#[path = "../../../image/src/test_chance.rs"]
#[expect(dead_code, reason = "words are drawn here, and none is damaged")]
mod chance;

/// Whatever a flag is given: it is understood or refused in words, and nothing panics.
#[test]
fn hostile_values() {
    let flags = [
        "--output",
        "--secret",
        "--ssh",
        "--build-context",
        "--cache-to",
        "--cache-from",
        "--attest",
        "--provenance",
        "--sbom",
        "--annotation",
        "--allow",
        "--network",
        "--add-host",
        "--call",
        "--platform",
        "--tag",
        "--build-arg",
        "--label",
        "--file",
        "--shm-size",
        "--ulimit",
        "--memory",
        "--cpuset-cpus",
        "--no-cache-filter",
        "--progress",
    ];
    let pieces = [
        "type=",
        "local",
        "oci",
        "docker",
        "registry",
        "tar",
        "image",
        "dest=",
        "src=",
        "id=",
        "env=",
        "ref=",
        "mode=max",
        "name=",
        "push=true",
        "=",
        ",",
        "\"",
        "\"\"",
        ":",
        "/",
        "@",
        "[",
        "]",
        "-",
        ".",
        "..",
        "x",
        "A",
        "\u{e4}",
        "\n",
        " ",
        "\t",
        "sha256:",
        "https://h/x.git",
        "#",
        "?",
        "docker-image://",
        "oci-layout://",
        "file://",
        "index",
        "manifest-descriptor",
        "linux/arm64",
        "max",
        "min",
        "0",
        "1",
        "-1",
        "99999999999999999999",
        "1.5g",
        "host-gateway",
        "::1",
        "10.0.0.1",
        "disabled=",
        "*",
        "gha",
        "security.insecure",
        "device=",
        "network.host",
        "rewrite-timestamp=true",
        "compression=zstd",
        "compression-level=22",
    ];
    let (mut chance, rounds) = chance::rounds(6000, 29);
    let (mut all, mut fine) = (0, 0);
    for () in rounds {
        all += 1;
        let mut args = vec![".".to_owned()];
        for _ in 0..=chance.below(2) {
            let text: String = (0..chance.below(7))
                .map(|_| pieces[chance.below(pieces.len())])
                .collect();
            args.push(format!("{}={text}", flags[chance.below(flags.len())]));
        }
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        match ask(&words, &[("HERE", "1"), ("SOURCE_DATE_EPOCH", "5")]) {
            Ok(_) => fine += 1,
            Err(why) => assert!(!why.is_empty() && why.len() < 2000, "{args:?}: {why}"),
        }
    }
    assert!(fine > all / 20 && fine < all, "{fine} of {all}");
}
