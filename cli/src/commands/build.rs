//! `build`, which is `image build`, `builder build` and `buildx build`, too.
//!
//! May not: know how a build is done. The flags become a request, what happens becomes progress on stderr, and what came of it is
//! told as buildx tells it.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use build::lint::Report;
use build::scope::Base;
use build::source::Source;
use builder::context::{self, Context};
use builder::request::{File, Origin, Request};
use builder::{Built, Means};
use image::registry::{Cancel, Client};

use crate::build_call::{self, Subject};
use crate::build_progress::screen::Colours;
use crate::build_progress::{Board, excerpt};
use crate::build_request::{self, Style, Wanted, table};
use crate::command::{Command, Count};
use crate::flags::{Offers, Parsed};
use crate::session::{Failure, Outcome, Program, Session};
use crate::workshop::{self, Workshop};

pub(super) const BUILD: Command = Command {
    aliases: &["b"],
    about: "PATH is a directory that COPY and ADD take files from, and in which the Dockerfile is; URL is a repository of git or an\narchive; - reads an archive or a Dockerfile from stdin. Stages that do not need each other are built at the same time,\nand what was built before is taken from the cache.\n\nThe result is an image here, unless --output says otherwise. docs/build.md tells more.",
    usage: "[OPTIONS] PATH | URL | -",
    plugin: "buildx build",
    ways: &["build", "image build", "builder build", "buildx build"],
    count: Count::Exactly(1),
    flags: &table::BUILD,
    examples: &[
        "{name} build -t site:1 .",
        "{name} build -t site:1 --build-arg VERSION=2 --target test -f docker/Dockerfile .",
        "{name} build --secret id=token,env=TOKEN --ssh default .",
        "{name} build --platform linux/amd64,linux/arm64 -t registry.example.com/site:1 --push .",
        "{name} build -o out .",
        "{name} build --check .",
    ],
    offers: Offers::Directories,
    ..Command::new("build", "Build an image from a Dockerfile", build)
};

fn build(session: &Session, parsed: &Parsed) -> Outcome {
    let wanted = build_request::parse(session, parsed)?;
    wanted.warnings.iter().for_each(|line| session.warn(line));
    if let Some(file) = &wanted.id_file {
        // One that is left from an earlier build would say that this one has succeeded.
        match std::fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&format!("removing image ID file: {e}")));
            }
            _ => {}
        }
    }
    if wanted.call.is_some() {
        return call(session, &wanted);
    }
    made(session, &wanted)
}

fn failed(why: &str) -> Failure {
    Failure::plain(format!("ERROR: {why}"))
}

fn not_solved(why: &str) -> Failure {
    failed(&format!("failed to build: failed to solve: {why}"))
}

/// Who builds, at the right end of the first line.
fn builder_name(session: &Session) -> &'static str {
    match session.program {
        Program::Docker => "docker:default",
        Program::Brig => "brig",
    }
}

fn made(session: &Session, wanted: &Wanted) -> Outcome {
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    // From here on stderr is the board's.
    let board = Arc::new(Board::new(wanted.style, builder_name(session)).map_err(|why| failed(&why))?);
    let hearing = board.clone();
    let client = workshop.client_heard(session.credentials(), Arc::new(move |line| hearing.note(line)))?;
    if let Some(why) = &workshop.single_owner {
        board.note(&format!("all files will belong to one user: {why}"));
    }
    let means = Means {
        maker: &workshop.maker(&image::progress::silent)?,
        client: &client,
        containers: &containers,
        listener: &|event| board.tell(event),
        at_once: workshop.settings.parallel(),
    };
    let outcome = builder::build(&means, &wanted.request);
    board.finish();
    match outcome {
        Ok(built) => {
            warn(session, wanted, &built.source, &built.report);
            tell(session, wanted, &built)?;
            keep_within(session, &workshop, &built)
        }
        Err(failure) => {
            if let builder::Failure::Dockerfile { source, report, .. }
            | builder::Failure::Step { source, report, .. } = &failure
            {
                warn(session, wanted, source, report);
            }
            Err(told(&failure))
        }
    }
}

/// What should be otherwise in the Dockerfile, unless nobody is to read anything.
fn warn(session: &Session, wanted: &Wanted, source: &Source, report: &Report) {
    if matches!(wanted.style, Style::Quiet | Style::Rawjson) {
        return;
    }
    let colours = match std::io::stderr().is_terminal() {
        true => Colours::of(|name| std::env::var(name).ok()),
        false => Colours::none(),
    };
    let findings = report.findings();
    let is_debug = session.debug || wanted.is_debug;
    let text = excerpt::warnings(source, findings, &colours, session.program.name(), is_debug);
    if !text.is_empty() {
        session.warn(text.trim_end_matches('\n'));
    }
}

/// The id, in the files and on the streams where it was wanted.
fn tell(session: &Session, wanted: &Wanted, built: &Built) -> Outcome {
    let id = built.exported.iter().find_map(|done| done.image_id());
    let id = id.map(ToString::to_string).unwrap_or_default();
    if wanted.quiet && !id.is_empty() {
        session.print(&format!("{id}\n"))?;
    }
    if let Some(file) = &wanted.id_file {
        std::fs::write(file, &id).map_err(|e| failed(&format!("writing image ID file: {e}")))?;
    }
    if let (Some(file), Some(done)) = (&wanted.metadata_file, built.exported.first()) {
        let name = format!(
            "default/default/{}",
            build_name().map_err(|e| failed(&e.to_string()))?
        );
        let text = serde_json::to_string_pretty(&done.metadata(&name)).unwrap_or_default();
        std::fs::write(file, text).map_err(|e| failed(&e.to_string()))?;
    }
    Ok(())
}

/// What this build is called: nobody can ask for it, but programs want one.
fn build_name() -> sys::Result<String> {
    let mut bytes = [0; 16];
    sys::random::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The limit of the store holds for what is built, too.
fn keep_within(session: &Session, workshop: &Workshop, built: &Built) -> Outcome {
    image::evict::keep_cache(&workshop.store, &workshop.settings)?;
    let Some(image) = built.images.first() else {
        return Ok(());
    };
    for gone in image::evict::keep_within(&workshop.store, &workshop.settings, &image.id)? {
        session.warn(&format!(
            "removed image {}: the store had outgrown its limit",
            gone.id.short()
        ));
    }
    Ok(())
}

/// Why there is no image, in the words of buildx: the place, the line, and 130 where somebody has said stop.
fn told(failure: &builder::Failure) -> Failure {
    let (shown, why, error) = match failure {
        builder::Failure::Dockerfile { source, problems, .. } => {
            let problem = problems.first().cloned();
            let span = problem.as_ref().map(|p| p.span).unwrap_or_default();
            let why = problem
                .map(|p| build_call::sentence(source, &p))
                .unwrap_or_else(|| failure.to_string());
            (excerpt::pointed(source, source.name(), span), why, None)
        }
        builder::Failure::Step {
            source, span, error, ..
        } => (
            excerpt::excerpt(source, source.name(), *span),
            error.to_string(),
            Some(error),
        ),
        builder::Failure::Other(error) => (String::new(), error.to_string(), Some(error)),
    };
    if error.is_some_and(|error| error.kind() == image::Kind::Cancelled) {
        return cancelled();
    }
    Failure::plain(format!("{shown}ERROR: failed to build: failed to solve: {why}"))
}

/// Somebody has said stop.
fn cancelled() -> Failure {
    Failure::new(
        crate::signals::exit_code(),
        "ERROR: failed to build: failed to solve: Canceled: context canceled",
    )
}

/// `--check` and `--call`.
fn call(session: &Session, wanted: &Wanted) -> Outcome {
    let Some(call) = &wanted.call else {
        return Ok(());
    };
    let (source, context) = inputs(session, &wanted.request)?;
    let base = |name: &str| base_of(session, name);
    let subject = Subject {
        source: &source,
        ignore: context.ignore(),
        request: &wanted.request,
        base: &base,
    };
    let answer = build_call::answer(call, &subject).map_err(|broken| {
        Failure::plain(format!(
            "{}ERROR: failed to build: failed to solve: {}",
            broken.excerpt, broken.why
        ))
    })?;
    session.print(&answer.text)?;
    match answer.error {
        Some(error) => Err(failed(&error)),
        None if answer.code != 0 => Err(Failure::silent(answer.code)),
        None => Ok(()),
    }
}

/// What an image of the store brings to a stage. A store that cannot be opened knows none.
fn base_of(session: &Session, name: &str) -> Option<Base> {
    let store = workshop::open_store(session).ok()?;
    let image = store.find_image(name).ok()?;
    let (config, _) = store.config(&image.id).ok()?;
    let config = config.config;
    Some(Base {
        env: config.env.unwrap_or_default(),
        workdir: config.working_dir.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        shell: config.shell.unwrap_or_default(),
        is_unknown: false,
    })
}

/// The Dockerfile, and the context that it is for. One that is here needs neither store nor network.
fn inputs(session: &Session, request: &Request) -> Result<(Source, Context), Failure> {
    let is_here =
        matches!(request.context, Origin::Directory(_)) && !matches!(request.dockerfile, File::Remote(_));
    if is_here {
        let line = Workshop::for_registry(session)?;
        let client = line.client(session.credentials())?;
        return open(request, &client, line.cancel(), Path::new(""));
    }
    let workshop = Workshop::open(session)?;
    let client = workshop.client(session.credentials())?;
    workshop.store.ensure_room()?;
    let lease = workshop.store.lease()?;
    open(request, &client, &workshop.cancel, &lease.directory())
}

fn open(
    request: &Request,
    client: &Client,
    cancel: &Cancel,
    scratch: &Path,
) -> Result<(Source, Context), Failure> {
    let means = context::Means {
        client,
        scratch,
        memories: scratch,
        environment: &request.environment,
        secrets: &|_| Ok(None),
        cancel,
    };
    match context::open(request, &means, &mut std::io::stdin().lock()) {
        Ok((context, source)) => Ok((source, context)),
        Err(e) if e.kind() == image::Kind::Cancelled => Err(cancelled()),
        Err(e) => Err(not_solved(&e.to_string())),
    }
}
