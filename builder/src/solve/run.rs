//! RUN: a process in a container of a moment, on top of what the stage has come to.
//!
//! May not: let a secret into a key, a layer or a record.

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::history;
use build::instruction;
use build::instruction::mount::{Mount, Owner};
use build::scope::{Execution, PROXY_ARGS};
use engine::model::{Config, Definition, DeviceRequest, HostConfig};
use engine::passing::{self, Bind, Passing, Source, Stream};
use image::layer::Owners;
use image::{Context as _, Digest, Error, Kind, Result};
use serde_json::{Value, json};
use sys::process::Exit;

use super::agent::{Agent, Keys};
use super::stage::{Broken, Doing, Made};
use super::state::State;
use super::{Solver, snapshot};
use crate::cache::mounts::{self as cache_mounts, CacheMount};
use crate::files::{self, Selection, Tree};
use crate::request::{Entitlement, Network};
use crate::sources;
use crate::telling::{self, Event};

/// The host name of a step, if no build argument says another.
const HOSTNAME: &str = "buildkitsandbox";
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
const NAMESPACE_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Where agents are found that nobody has given a place.
const AGENTS: &str = "/run/buildkit/ssh_agent";

/// What stands behind mounts, for as long as the step runs.
#[derive(Default)]
struct Mounted {
    binds: Vec<Held>,
    tmpfs: BTreeMap<String, String>,
    variables: Vec<(String, String)>,
    caches: Vec<CacheMount>,
    agents: Vec<Agent>,
}

/// A bind whose content is ours.
struct Held {
    destination: String,
    source: HeldSource,
    writable: bool,
}

enum HeldSource {
    Path(PathBuf),
    Root {
        layers: Vec<image::mount::Layer>,
        path: String,
    },
    Secret {
        content: Vec<u8>,
        owner: Owner,
        mode: u32,
    },
}

impl Held {
    fn bind(&self) -> Bind<'_> {
        let source = match &self.source {
            HeldSource::Path(path) => Source::Path(path.clone()),
            HeldSource::Root { layers, path } => Source::Root {
                layers: layers.clone(),
                path: path.clone(),
            },
            HeldSource::Secret { content, owner, mode } => Source::Secret {
                content,
                uid: owner.uid.unwrap_or(0),
                gid: owner.gid.unwrap_or(0),
                mode: owner.mode.unwrap_or(*mode),
            },
        };
        Bind {
            destination: self.destination.clone(),
            source,
            writable: self.writable,
        }
    }
}

impl Solver<'_> {
    pub(super) fn run(
        &self,
        doing: &Doing<'_>,
        run: &Execution,
        state: &State,
        name: &str,
    ) -> Result<(Made, bool), Broken> {
        self.check_rights(run)?;
        let words = match &run.script {
            Some(script) => vec![script.name.clone()],
            None => history::words(&run.command, doing.scope),
        };
        let sources = self.digests(doing, run)?;
        let definition = json!({
            "run": words,
            "script": run.script.as_ref().map(|script| &script.text),
            "env": doing.scope.env().to_list(),
            "cwd": doing.scope.workdir,
            "user": doing.scope.user,
            "mounts": run.mounts.iter().map(definition_of).collect::<Vec<Value>>(),
            "sources": sources,
            "network": format!("{:?}", self.network(run)),
            "insecure": run.is_insecure,
            "devices": run.devices.iter().map(|d| &d.name).collect::<Vec<_>>(),
            "hosts": self.host_names(),
            "hostname": self.hostname(),
            "ulimits": &self.request.ulimits,
            "shm": self.request.shm_size,
            "platform": self.platform_of(doing.index).to_string(),
        });
        self.once(doing, &definition, state, name, || {
            let snapshot = self.snapshot(doing, state)?;
            let mounted = self.mount_all(doing, run)?;
            let exit = self.execute(doing, run, &words, &snapshot, &mounted)?;
            check_exit(exit, &words).inspect_err(|_| self.tell_why_alone(run))?;
            Ok(snapshot.finish(self.epoch, self.means.maker.cancel)?)
        })
    }

    /// What a step says that reaches nobody is about the network, and never why there is none.
    fn tell_why_alone(&self, run: &Execution) {
        if self.network(run) != Network::Default {
            return;
        }
        if let Some(why) = engine::networks::ground::shut_in(self.means.containers.roots()) {
            (self.means.listener)(&Event::Warning { text: &why });
        }
    }

    /// What only whoever builds can allow.
    fn check_rights(&self, run: &Execution) -> Result<()> {
        let has = |entitlement: Entitlement| self.request.entitlements.contains(&entitlement);
        let refused = |what: &str| {
            Err(Error::invalid(format!(
                "failed to load LLB: {what} is not allowed"
            )))
        };
        if run.network == instruction::Network::Host
            && self.request.network != Network::Host
            && !has(Entitlement::NetworkHost)
        {
            return refused("network.host");
        }
        if run.is_insecure && !has(Entitlement::SecurityInsecure) {
            return refused("security.insecure");
        }
        let is_required = |device: &&instruction::Device| device.required;
        if let Some(device) = run.devices.iter().find(is_required)
            && !has(Entitlement::Device)
        {
            return refused(&format!("device {}", device.name));
        }
        Ok(())
    }

    fn network(&self, run: &Execution) -> Network {
        match run.network {
            instruction::Network::Default => self.request.network,
            instruction::Network::None => Network::None,
            instruction::Network::Host => Network::Host,
        }
    }

    /// Names alone: where they lead to today does not make another step.
    fn host_names(&self) -> Vec<&str> {
        let name = |entry: &'_ String| entry.split([':', '=']).next().map(str::len).unwrap_or(0);
        self.request
            .add_hosts
            .iter()
            .map(|entry| entry.get(..name(entry)).unwrap_or_default())
            .collect()
    }

    /// What a step is told that its machine is called.
    fn hostname(&self) -> &str {
        self.build_args()
            .get(HOSTNAME_ARG)
            .map_or(HOSTNAME, String::as_str)
    }

    /// Digests of what is bound from elsewhere.
    fn digests(&self, doing: &Doing<'_>, run: &Execution) -> Result<Vec<Option<Digest>>> {
        run.mounts
            .iter()
            .enumerate()
            .map(|(n, mount)| {
                let (source, from) = match mount {
                    Mount::Bind { source, .. } => (source, true),
                    Mount::Cache { source, from, .. } => (source, from.is_some()),
                    _ => return Ok(None),
                };
                match from {
                    true => self.digest_of(doing, n, source).map(Some),
                    false => Ok(None),
                }
            })
            .collect()
    }

    fn digest_of(&self, doing: &Doing<'_>, n: usize, source: &str) -> Result<Digest> {
        let origin = doing.step.origins.get(n).and_then(Option::as_ref);
        let of_files = self.sources.digest(origin, source, self.means.maker.cancel)?;
        match (of_files, origin) {
            (Some(digest), _) => Ok(digest),
            (None, Some(origin)) => {
                let state = self.state_of(origin, doing.shared)?;
                Ok(super::key::of_step(Some(&state.key), &json!({"path": source})))
            }
            (None, None) => Err(Error::not_found("there is no build context")),
        }
    }

    fn mount_all(&self, doing: &Doing<'_>, run: &Execution) -> Result<Mounted> {
        let mut mounted = Mounted::default();
        let mut agents = 0;
        for (n, mount) in run.mounts.iter().enumerate() {
            match mount {
                Mount::Bind {
                    source,
                    target,
                    writable,
                    ..
                } => {
                    let source = self.bound(doing, n, source)?;
                    mounted.bind(target, source, *writable);
                }
                Mount::Cache {
                    id,
                    from,
                    source,
                    target,
                    sharing,
                    writable,
                    owner,
                } => {
                    let seed = from.as_ref().map(|_| self.bound(doing, n, source)).transpose()?;
                    let namespace = self
                        .build_args()
                        .get(NAMESPACE_ARG)
                        .map(String::as_str)
                        .unwrap_or_default();
                    let cache = cache_mounts::take(
                        self.means.maker,
                        &cache_mounts::Wanted {
                            id,
                            namespace,
                            sharing: *sharing,
                            owner: self.of_here(*owner),
                        },
                        |directory| match &seed {
                            Some(HeldSource::Root { layers, path }) => self.seed(directory, layers, path),
                            _ => Ok(()),
                        },
                    )?;
                    mounted.bind(target, HeldSource::Path(cache.path().to_owned()), *writable);
                    mounted.caches.push(cache);
                }
                Mount::Tmpfs {
                    target,
                    size,
                    writable,
                } => {
                    let mut options = vec![if *writable { "rw" } else { "ro" }.to_owned(), "exec".to_owned()];
                    options.extend(size.map(|size| format!("size={size}")));
                    mounted.tmpfs.insert(target.clone(), options.join(","));
                }
                Mount::Secret {
                    id,
                    target,
                    variable,
                    required,
                    owner,
                } => self.secret(
                    &mut mounted,
                    id,
                    target.as_deref(),
                    variable.as_deref(),
                    *required,
                    *owner,
                )?,
                Mount::Ssh {
                    id,
                    target,
                    required,
                    owner,
                } => {
                    let target = target.clone().unwrap_or_else(|| format!("{AGENTS}.{agents}"));
                    self.agent(&mut mounted, doing, id, &target, *required, *owner)?;
                    agents += 1;
                }
            }
        }
        if let Some(script) = &run.script {
            let path = self
                .lease
                .directory()
                .join(format!("script-{}-{}", doing.index, doing.vertex));
            write_script(&path, &script.text).context("failed to write a heredoc")?;
            mounted.bind(&script.name, HeldSource::Path(path), false);
        }
        Ok(mounted)
    }

    /// Where there is but one user, there is nobody else to give anything to.
    fn of_here(&self, owner: Owner) -> Owner {
        match self.means.maker.means.owners {
            Owners::Keep => owner,
            Owners::Caller => Owner {
                uid: None,
                gid: None,
                ..owner
            },
        }
    }

    /// What a mount is of: the build context, a stage, an image.
    fn bound(&self, doing: &Doing<'_>, n: usize, source: &str) -> Result<HeldSource> {
        let origin = doing.step.origins.get(n).and_then(Option::as_ref);
        let layers = match (self.sources.bindable(origin)?, origin) {
            (Some(directory), _) => vec![image::mount::Layer::Tree(directory)],
            (None, Some(origin)) => {
                let layers = self.files_of(origin, doing.shared)?.layers;
                snapshot::readable(self.means.maker.store, &layers, self.lease)?
            }
            (None, None) => return Err(Error::not_found("there is no build context")),
        };
        Ok(HeldSource::Root {
            layers,
            path: source.to_owned(),
        })
    }

    fn seed(&self, directory: &std::path::Path, layers: &[image::mount::Layer], path: &str) -> Result<()> {
        let root = snapshot::root(layers, None, self.lease)?;
        let tree = Tree::of_root(root);
        let cancel = self.means.maker.cancel;
        let sources = [path.to_owned()];
        let selection = Selection {
            sources: &sources,
            ..Selection::default()
        };
        let selected = tree.select(&selection, cancel)?;
        files::put_into(&tree, &selected, directory, cancel)
    }

    fn secret(
        &self,
        mounted: &mut Mounted,
        id: &str,
        target: Option<&str>,
        variable: Option<&str>,
        required: bool,
        owner: Owner,
    ) -> Result<()> {
        let Some(secret) = self.request.secrets.iter().find(|secret| secret.id == id) else {
            return match required {
                true => Err(Error::not_found(format!("secret {id}: not found"))),
                false => Ok(()),
            };
        };
        let content = sources::read_secret(secret)?;
        if let Some(variable) = variable {
            let text = String::from_utf8(content.clone())
                .map_err(|_| Error::invalid(format!("secret {id} is no text: it cannot be a variable")))?;
            mounted.variables.push((variable.to_owned(), text));
        }
        if let Some(target) = target {
            mounted.bind(
                target,
                HeldSource::Secret {
                    content,
                    owner: self.of_here(owner),
                    mode: 0o400,
                },
                true,
            );
        }
        Ok(())
    }

    /// Which socket, or which keys, of whoever builds an id stands for.
    fn agent_paths(&self, id: &str) -> Result<Option<Vec<PathBuf>>> {
        let Some(agent) = self.request.ssh.iter().find(|agent| agent.id == id) else {
            return Ok(None);
        };
        if !agent.paths.is_empty() {
            return Ok(Some(agent.paths.clone()));
        }
        match self.request.environment.get("SSH_AUTH_SOCK") {
            Some(path) if !path.is_empty() => Ok(Some(vec![PathBuf::from(path)])),
            _ => Err(Error::not_found(format!(
                "invalid empty ssh agent socket for {id}: SSH_AUTH_SOCK is not set"
            ))),
        }
    }

    fn agent(
        &self,
        mounted: &mut Mounted,
        doing: &Doing<'_>,
        id: &str,
        target: &str,
        required: bool,
        owner: Owner,
    ) -> Result<()> {
        let Some(paths) = self.agent_paths(id)? else {
            return match required {
                true => Err(Error::not_found(format!(
                    "unset ssh forward key {id}: brig build --ssh {id} gives one"
                ))),
                false => Ok(()),
            };
        };
        let name = format!("ssh-{}-{}-{}", doing.index, doing.vertex, mounted.agents.len());
        let socket = self.lease.directory().join(name);
        let owner = self.of_here(owner);
        let of = (owner.uid.unwrap_or(0), owner.gid.unwrap_or(0));
        let mode = owner.mode.unwrap_or(0o600);
        let is_socket = |path: &PathBuf| {
            use std::os::unix::fs::FileTypeExt as _;
            std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        };
        let ours = match paths.as_slice() {
            [agent] if is_socket(agent) => Agent::start(socket, agent, of, mode)?,
            files => {
                let own = socket.with_extension("keys");
                Agent::of_keys(socket, Keys::of(files, &own)?, of, mode)?
            }
        };
        mounted.bind(target, HeldSource::Path(ours.path().to_owned()), true);
        mounted.agents.push(ours);
        if !mounted.variables.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
            mounted
                .variables
                .push(("SSH_AUTH_SOCK".to_owned(), target.to_owned()));
        }
        Ok(())
    }

    fn execute(
        &self,
        doing: &Doing<'_>,
        run: &Execution,
        words: &[String],
        snapshot: &snapshot::Snapshot<'_>,
        mounted: &Mounted,
    ) -> Result<Exit> {
        let mut env = doing.scope.env().clone();
        for name in PROXY_ARGS {
            if let (None, Some(value)) = (env.get(name), self.build_args().get(name)) {
                env.set(name, value.as_str());
            }
        }
        for (name, value) in &mounted.variables {
            env.set(name, value.as_str());
        }
        let id = self.means.maker.store.random_id()?;
        let (path, args) = words
            .split_first()
            .ok_or_else(|| Error::invalid("RUN has nothing to run"))?;
        let definition = Definition {
            name: format!("build-{}", id.get(..12).unwrap_or_default()),
            id,
            path: path.clone(),
            args: args.to_vec(),
            platform: self.platform_of(doing.index).to_string(),
            config: Config {
                hostname: self.hostname().to_owned(),
                user: doing.scope.user.clone(),
                env: env.to_list(),
                working_dir: doing.scope.workdir.clone(),
                ..Config::default()
            },
            host: self.host(run, mounted),
            ..Definition::default()
        };
        let passing = Passing {
            definition,
            layers: snapshot.below().to_vec(),
            upper: snapshot.upper(),
            binds: mounted.binds.iter().map(Held::bind).collect(),
        };
        let vertex = doing.vertex;
        let listener = self.means.listener;
        let mut heard = |stream: Stream, bytes: &[u8]| {
            let stream = match stream {
                Stream::Stdout => telling::Stream::Stdout,
                Stream::Stderr => telling::Stream::Stderr,
            };
            listener(&Event::Output {
                vertex,
                stream,
                bytes,
            });
        };
        passing::run(
            self.means.containers,
            &passing,
            &mut heard,
            self.means.maker.cancel,
        )
    }

    fn host(&self, run: &Execution, mounted: &Mounted) -> HostConfig {
        let limits = self.request.limits.as_deref().cloned().unwrap_or_default();
        HostConfig {
            network_mode: match self.network(run) {
                Network::Default => engine::network::usual().to_owned(),
                Network::None => "none".to_owned(),
                Network::Host => "host".to_owned(),
            },
            privileged: run.is_insecure,
            extra_hosts: Some(self.request.add_hosts.clone()),
            shm_size: self.request.shm_size.unwrap_or(limits.shm_size),
            ulimits: self.request.ulimits.clone(),
            cgroup_parent: self.request.cgroup_parent.clone(),
            tmpfs: mounted.tmpfs.clone(),
            device_requests: devices(run).or(limits.device_requests),
            ..limits
        }
    }
}

impl Mounted {
    fn bind(&mut self, destination: &str, source: HeldSource, writable: bool) {
        self.binds.push(Held {
            destination: destination.to_owned(),
            source,
            writable,
        });
    }
}

/// Devices by their names in the files of CDI.
fn devices(run: &Execution) -> Option<Vec<DeviceRequest>> {
    let names: Vec<String> = run.devices.iter().map(|device| device.name.clone()).collect();
    let request = DeviceRequest {
        driver: "cdi".into(),
        device_ids: Some(names),
        ..DeviceRequest::default()
    };
    (!run.devices.is_empty()).then(|| vec![request])
}

/// What a key says of a mount: all that the step can see of it. An id of a cache that is its target says nothing more, and what a
/// secret holds is none of its business.
fn definition_of(mount: &Mount) -> Value {
    let of = |owner: &Owner| json!([owner.uid, owner.gid, owner.mode]);
    match mount {
        Mount::Bind {
            source,
            target,
            writable,
            ..
        } => json!({"bind": target, "source": source, "rw": writable}),
        Mount::Cache {
            id,
            source,
            target,
            writable,
            owner,
            ..
        } => json!({"cache": target, "id": id, "source": source, "rw": writable, "owner": of(owner)}),
        Mount::Tmpfs {
            target,
            size,
            writable,
        } => json!({"tmpfs": target, "size": size, "rw": writable}),
        Mount::Secret {
            id,
            target,
            variable,
            required,
            owner,
        } => {
            json!({"secret": target, "id": id, "variable": variable, "required": required, "owner": of(owner)})
        }
        Mount::Ssh {
            id,
            target,
            required,
            owner,
        } => json!({"ssh": target, "id": id, "required": required, "owner": of(owner)}),
    }
}

fn write_script(path: &std::path::Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn check_exit(exit: Exit, words: &[String]) -> Result<(), Broken> {
    let code = exit.shell_code();
    if code == 0 {
        return Ok(());
    }
    let command = words.join(" ");
    let sentence = format!(
        "process {} did not complete successfully: exit code: {code}",
        build::source::quoted(&command)
    );
    Err(Broken {
        error: Error::of(Kind::Other, sentence),
        exit_code: Some(code),
    })
}
