//! What becomes of a build: images, archives, files, pushes, and what is said about how it came to be.

use serde_json::Value;

use crate::case::{Case, Done, Need, Scene, case, field, has, is, lacks};
use crate::cases::reuse::other_store;
use crate::lab::{REGISTRY, Subject};
use conformance::patience;

pub fn cases() -> Vec<Case> {
    vec![
        case("output.local", &[Need::NotBuildah], |s| {
            s.file("f", "f\n")?;
            s.dockerfile("FROM scratch\nCOPY --chmod=600 f /dir/f\nCOPY f /g\n")
                .and_then(|()| s.dockerfile("FROM scratch\nCOPY f /dir/f\nCOPY f /g\n"))?;
            s.must("docker build -q -o out .")?;
            s.prints("cat out/dir/f out/g; ls out", "f\nf\ndir\ng")?;
            s.must("docker build -q --output type=local,dest=out2 .")?;
            s.prints("cat out2/g", "f")?;
            is("an image", s.must("docker images -q out")?, "")
        }),
        case("output.local-keeps", &[Need::Brig], |s| {
            s.dockerfile("FROM scratch\nCOPY Dockerfile /new\n")?;
            s.file("out/old", "old\n")?;
            s.must("docker build -q -o out .")?;
            s.prints("ls out", "new\nold")?;
            s.must("docker build -q -o type=local,dest=out,mode=delete .")?;
            s.prints("ls out", "new")
        }),
        case("output.tar", &[Need::NotBuildah], |s| {
            s.dockerfile("FROM scratch\nCOPY Dockerfile /dir/f\n")?;
            s.must("docker build -q -o type=tar,dest=out.tar .")?;
            has("the archive", &s.must("tar tf out.tar")?, "dir/f")?;
            s.must("docker build -o - . >out2.tar 2>err")?;
            has("the archive", &s.must("tar tf out2.tar")?, "dir/f")
        }),
        case("output.docker", &[Need::Brig, Need::Docker], |s| {
            s.dockerfile("FROM tiny\nRUN echo carried >/f\nCMD cat /f\n")?;
            s.must("docker build -q -o type=docker,dest=image.tar,name=carried:1 .")?;
            let docker = |line: &str| {
                s.lab
                    .run(Subject::Docker, &s.dir, line, "", patience::seconds(60))?
                    .ok()
                    .map_err(|e| format!("{line}: {e}"))
            };
            docker("docker load -q -i image.tar")?;
            is(
                "Docker runs it",
                docker("docker run --rm --network none carried:1")?,
                "carried",
            )?;
            s.must("docker load -q -i image.tar")?;
            s.prints("docker run --rm --network none carried:1", "carried")
        }),
        case("output.oci", &[Need::Brig, Need::Program("skopeo")], |s| {
            s.dockerfile("FROM tiny\nRUN echo carried >/f\nLABEL x=y\n")?;
            s.must("docker build -q -o type=oci,dest=image.tar -t layout:1 .")?;
            let told = s.must("skopeo inspect oci-archive:image.tar")?;
            let told: Value = serde_json::from_str(&told).map_err(|e| format!("{told}: {e}"))?;
            is("labels", field(&told, "/Labels/x"), "\"y\"")?;
            is(
                "layers",
                told.pointer("/Layers")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len),
                2,
            )?;
            s.must("docker build -q -o type=oci,dest=dir,tar=false .")?;
            s.prints("cat dir/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}")?;
            s.must("skopeo copy -q oci:dir dir:unpacked")?;
            s.must("docker build -q -o type=oci,dest=zstd.tar,compression=zstd,force-compression=true .")?;
            has(
                "media types",
                &s.must("skopeo inspect --raw oci-archive:zstd.tar")?,
                "tar+zstd",
            )
        }),
        case("output.push", &[Need::Registry, Need::NotBuildah], |s| {
            let name = format!("{REGISTRY}/pushed:1");
            s.builds(&name, "FROM tiny\nRUN echo pushed >/f\nCMD cat /f\n")?;
            let told = s.must(&format!("docker push {name}"))?;
            has("push", &told, "1: digest: sha256:")?;
            s.must(&format!("docker rmi {name}"))?;
            s.prints(
                &format!("docker run --rm --network none --pull always {name} 2>/dev/null"),
                "pushed",
            )
            .or_else(|_| {
                s.must(&format!("docker pull -q {name}"))?;
                s.prints(&format!("docker run --rm --network none {name}"), "pushed")
            })
        }),
        case(
            "output.push-for-others",
            &[Need::Brig, Need::Registry, Need::Docker],
            |s| {
                let name = format!("{REGISTRY}/for-others:1");
                s.dockerfile("FROM tiny\nRUN echo for others >/f\nCMD cat /f\n")?;
                s.build(&format!("--push -t {name} ."))?;
                let line = format!("docker pull -q {name} && docker run --rm --network none {name}");
                let o = s
                    .lab
                    .run(Subject::Docker, &s.dir, &line, "", patience::seconds(60))?;
                has("Docker runs it", &o.ok()?, "for others")?;
                let stores = format!("--root {}/podman --runroot /run/podman-test", s.lab.dir.display());
                let run = format!(
                    "env -u DOCKER_CONFIG podman {stores} --cgroup-manager cgroupfs --events-backend file --runtime /usr/bin/runc run --rm --network none \
                 --tls-verify=false {name}"
                );
                if conformance::daemon::installed("podman").is_ok() {
                    has("Podman runs it", &s.must(&run)?, "for others")?;
                    s.must(&format!("podman {stores} rmi -f {name}"))?;
                }
                Ok(())
            },
        ),
        case("output.registry", &[Need::Brig, Need::Registry], |s| {
            let name = format!("{REGISTRY}/direct:1");
            s.dockerfile("FROM tiny\nLABEL direct=yes\n")?;
            s.build(&format!("-o type=registry,name={name} ."))?;
            s.must(&format!("docker pull -q {name}"))?;
            s.prints(
                &format!("docker image inspect --format '{{{{.Config.Labels.direct}}}}' {name}"),
                "yes",
            )
        }),
        case("output.several", &[Need::Brig], |s| {
            s.dockerfile("FROM scratch\nCOPY Dockerfile /f\n")?;
            s.build("-o type=local,dest=out -o type=tar,dest=out.tar -o type=image,name=several:1 .")?;
            s.prints(
                "ls out; tar tf out.tar; docker images -q several | wc -l",
                "f\nf\n1",
            )
        }),
        case("output.cacheonly", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN echo only for the cache\n")?;
            let before = s.must("docker images -aq | wc -l")?;
            s.build("-o type=cacheonly .")?;
            is("images", s.must("docker images -aq | wc -l")?, before)
        }),
        case("output.refused", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\n")?;
            s.fails("docker build -o type=nonsense .", 1, &["nonsense"])?;
            s.fails("docker build -o type=local .", 1, &["dest"])?;
            s.fails("docker build --push .", 1, &["tag"])
        }),
        case(
            "output.two-platforms",
            &[Need::Brig, Need::Program("skopeo")],
            |s| {
                s.dockerfile("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY Dockerfile /\n")?;
                s.must(
                    "docker build -q --platform linux/amd64,linux/arm64 -o type=oci,dest=dir,tar=false .",
                )?;
                let raw = s.must(
                    "cat dir/blobs/sha256/$(skopeo inspect --raw oci:dir | sha256sum | cut -d' ' -f1)",
                )?;
                let index: Value = serde_json::from_str(&raw).map_err(|e| format!("{raw}: {e}"))?;
                is(
                    "first",
                    field(&index, "/manifests/0/platform/architecture"),
                    "\"amd64\"",
                )?;
                is(
                    "second",
                    field(&index, "/manifests/1/platform/architecture"),
                    "\"arm64\"",
                )?;
                s.must("docker build -q --platform linux/amd64,linux/arm64 -o out .")?;
                s.prints("ls out", "linux_amd64\nlinux_arm64")?;
                // One of them in the form of several, for those who join them later.
                let one = "docker build -q --platform linux/arm64 --build-arg BUILDKIT_MULTI_PLATFORM=1";
                s.must(&format!(
                    "{one} -o single . && {one} -o type=oci,dest=one,tar=false ."
                ))?;
                s.prints("ls single", "linux_arm64")?;
                let raw = s.must("skopeo inspect --raw oci:one")?;
                let index: Value = serde_json::from_str(&raw).map_err(|e| format!("{raw}: {e}"))?;
                is(
                    "the only one",
                    field(&index, "/manifests/0/platform/architecture"),
                    "\"arm64\"",
                )
            },
        ),
        case(
            "output.annotations",
            &[Need::Brig, Need::Program("skopeo")],
            |s| {
                s.dockerfile("FROM scratch\nCOPY Dockerfile /\n")?;
                s.must("docker build -q --annotation a=1 --annotation manifest:b=two -o type=oci,dest=dir,tar=false .")?;
                let raw = s.must("skopeo inspect --raw oci:dir")?;
                has("manifest", &raw, "\"a\":\"1\"")?;
                has("manifest", &raw, "\"b\":\"two\"")
            },
        ),
        case("reproducible.two-stores", &[Need::Brig], reproducible),
        case("reproducible.rewritten-times", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nRUN touch /now\n")?;
            s.must("SOURCE_DATE_EPOCH=1500000000 docker build -q --no-cache -o type=docker,dest=a.tar,rewrite-timestamp=true .")?;
            s.must("SOURCE_DATE_EPOCH=1500000000 docker build -q --no-cache -o type=docker,dest=b.tar,rewrite-timestamp=true .")?;
            s.must("cmp a.tar b.tar")?;
            Ok(())
        }),
        case("attestation.provenance", &[Need::Brig], provenance),
        case("attestation.sbom", &[Need::Brig], sbom),
        case("attestation.none-by-default", &[Need::Brig], |s| {
            s.dockerfile("FROM tiny\nLABEL plain=image\n")?;
            s.must("docker build -q -o type=oci,dest=dir,tar=false .")?;
            lacks(
                "blobs",
                &s.must("cat dir/index.json dir/blobs/sha256/* | strings")?,
                "in-toto",
            )
        }),
        case("image.history", &[], |s| {
            s.builds(
                "historic",
                "FROM tiny\nARG A=1\nENV E=$A\nRUN echo history\nCOPY Dockerfile /\nWORKDIR /w\nCMD [\"x\"]\n",
            )?;
            let history = s.must("docker history --no-trunc --format '{{.CreatedBy}}' historic")?;
            let lines: Vec<&str> = history.lines().collect();
            has("CMD", lines.first().copied().unwrap_or_default(), "CMD [\"x\"]")?;
            has("COPY", &history, "COPY Dockerfile /")?;
            has("RUN", &history, "echo history")?;
            has("ENV", &history, "ENV E=1")
        }),
        case("image.layers", &[], |s| {
            s.builds(
                "layered",
                "FROM tiny\nENV A=1\nRUN echo 1 >/a\nLABEL x=y\nRUN echo 2 >/b\nRUN true\n",
            )?;
            let count = s.must("docker image inspect --format '{{len .RootFS.Layers}}' layered")?;
            is("layers", count.parse::<usize>().unwrap_or(0) >= 3, true)?;
            s.must("docker save -o saved.tar layered && docker rmi layered && docker load -i saved.tar")?;
            s.shows("layered", "cat /a /b", "1\n2")
        }),
        case("image.export-and-commit", &[Need::Brig], |s| {
            // An image of a build is an image as any other.
            s.builds("ordinary", "FROM tiny\nRUN echo built >/f\n")?;
            s.must("docker run --name more --network none ordinary sh -c 'echo more >>/f'")?;
            s.must("docker commit more committed && docker rm more")?;
            s.prints("docker run --rm --network none committed cat /f", "built\nmore")?;
            s.builds("on-top", "FROM committed\nRUN echo top >>/f\n")?;
            s.shows("on-top", "cat /f", "built\nmore\ntop")?;
            s.must("docker rmi on-top committed ordinary && docker system check")?;
            Ok(())
        }),
    ]
}

/// Two builds in two stores with nothing in common but the context and an hour.
fn reproducible(s: &Scene) -> Done {
    s.file("d/f", "f\n")?;
    s.must("mkdir empty; ln -s f d/l")?;
    s.dockerfile(
        "FROM tiny AS made\nRUN mkdir /x && for i in 1 2 3; do echo $i >/x/$i; done && find /x -exec touch -hd @1400000000 {} +\n\
         FROM tiny\nARG SOURCE_DATE_EPOCH\nENV AT=$SOURCE_DATE_EPOCH\nWORKDIR /w\nCOPY d /d/\nCOPY --from=made /x /x\nADD --chmod=755 empty /e\nRUN echo run >/r\n",
    )?;
    other_store(s)?;
    let line =
        "SOURCE_DATE_EPOCH=1500000000 docker build --no-cache -q -o type=oci,rewrite-timestamp=true,dest=";
    s.must(&format!("{line}a.tar ."))?;
    s.must("touch d/f d")?;
    s.must(&format!("BRIG_ROOT=$PWD/other {line}b.tar ."))?;
    let digest = |file: &str| {
        s.must(&format!(
            "tar xOf {file} index.json | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"manifests\"][0][\"digest\"])'"
        ))
    };
    is("the digest of the second", digest("b.tar")?, digest("a.tar")?)?;
    s.must("SOURCE_DATE_EPOCH=1500000000 docker build -q -t epoch .")?;
    s.prints(
        "docker image inspect --format '{{.Created}}' epoch",
        "2017-07-14T02:40:00Z",
    )?;
    s.shows("epoch", "echo $AT", "1500000000")
}

/// The statement of a kind in the only index of a layout.
fn statement(s: &Scene, kind: &str) -> Result<Value, String> {
    let text = s.must(&format!(
        "grep -laF '{kind}' dir/blobs/sha256/* | while read -r f; do grep -q _type $f && cat $f; done | head -n 100000"
    ))?;
    serde_json::from_str(&text).map_err(|e| format!("{kind}: {text:?}: {e}"))
}

fn provenance(s: &Scene) -> Done {
    s.file("secret", "hidden-from-provenance")?;
    s.dockerfile("FROM tiny\nARG A\nRUN --mount=type=secret,id=s echo provenance\n")?;
    s.must("docker build -q --provenance=mode=max --build-arg A=1 --secret id=s,src=secret -o type=oci,dest=dir,tar=false .")?;
    let top = s.json("dir/index.json")?;
    has(
        "index",
        &field(&top, "/manifests/0/mediaType"),
        "application/vnd.oci.image.index.v1+json",
    )?;
    let all = s.must("cat dir/blobs/sha256/*")?;
    has(
        "the manifest's mark",
        &all,
        "\"vnd.docker.reference.type\":\"attestation-manifest\"",
    )?;
    has("the platform", &all, "\"architecture\":\"unknown\"")?;
    let told = statement(s, "https://slsa.dev/provenance/")?;
    is(
        "type",
        field(&told, "/_type"),
        "\"https://in-toto.io/Statement/v0.1\"",
    )
    .or_else(|_| {
        is(
            "type",
            field(&told, "/_type"),
            "\"https://in-toto.io/Statement/v1\"",
        )
    })?;
    has(
        "what it is about",
        &field(&told, "/subject/0/digest/sha256"),
        "\"",
    )?;
    has("materials", &told.to_string(), "tiny")?;
    lacks("a secret", &told.to_string(), "hidden-from-provenance")
}

fn sbom(s: &Scene) -> Done {
    s.dockerfile("FROM debian:bookworm\nRUN true\n")?;
    s.must("docker build -q --sbom=true -o type=oci,dest=dir,tar=false .")?;
    let told = statement(s, "https://spdx.dev/Document")?;
    is("version", field(&told, "/predicate/spdxVersion"), "\"SPDX-2.3\"")?;
    let names: Vec<String> = told
        .pointer("/predicate/packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|package| field(package, "/name"))
        .collect();
    for package in ["\"dpkg\"", "\"bash\"", "\"libc6\""] {
        is(package, names.iter().any(|name| name == package), true)?;
    }
    let count = s.inside("debian:bookworm", "dpkg-query -W | wc -l")?;
    let count = count.parse::<usize>().unwrap_or(0);
    is("packages are there", names.len() >= count, true)
}
