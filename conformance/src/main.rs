//! `conformance`: command line and exit status. Judges nothing itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use conformance::case::Case;
use conformance::cases;
use conformance::config::Place;
use conformance::expectation::Expectations;
use conformance::format::{self, Format};
use conformance::host::{self, CgroupView};
use conformance::payload;
use conformance::scheduler::{self, Plan, Subject, Verdict};
use conformance::worker::{self, Outcome};

const HELP: &str = "\
Judges an OCI runtime from the outside.

usage:
  conformance run --runtime PATH [options]    run cases; the exit status is the verdict
  conformance list [--filter X]               list cases: id, level, clause
  conformance matrix --runtime PATH...        run cases on each runtime; print clause by runtime (Markdown)
  conformance probe FILE                      write the static probe to FILE

options of run and matrix:
  --runtime PATH      the program to judge; a bare name is looked up in PATH
  --filter X          only cases whose id contains X; several separated by commas; ^X for ids that begin with X
  --cases FILE        only cases whose ids are in FILE (one a line, # for remarks)
  --exclude X         no cases whose id contains X (as --filter)
  --format F          human (default), tap, json or junit
  --list              list what would run
  --jobs N            how many cases at once (default: the number of CPUs)
  --expect FILE       known deviations, instead of the list that comes with this program for runc, crun and runb
  --cgroups VIEW      host (default); v1: a hybrid machine without its v2 tree; v2: one v2 tree (core files only where the
                      controllers are bound to v1)
  --ci FILE           fail on every skip whose case id is not in FILE (one id a line, # for remarks)
  --retries N         try a case that fails up to N times again: for a reference that has races of its own
  --patience N        every deadline times N, for a slow machine (default 1)
  --work DIR          where bundles are made (default: a directory below TMPDIR or /var/tmp)
  --keep              keep the directories of failed cases
  --verbose           the commands of every case, not only of failed ones

exit status: 0 all as expected; 1 a failure, an unexpected pass or an undeclared skip; 2 bad usage.

examples:
  conformance run --runtime runc
  conformance run --runtime ./target/release/runb --filter ^cve,hooks --jobs 1 --verbose
  conformance run --runtime crun --format tap | tee crun.tap
  conformance matrix --runtime runc --runtime crun > matrix.md

Most cases need root; one that cannot run here is a skip that says why. Nothing of the machine is changed: every case
has its own mount namespace, bundle, state root and cgroup, and what is left afterwards is a failure.
";

#[derive(Default)]
struct Options {
    runtimes: Vec<PathBuf>,
    filter: Vec<String>,
    exclude: Vec<String>,
    only: Option<Vec<String>>,
    format: Option<Format>,
    list: bool,
    jobs: Option<usize>,
    retries: u32,
    patience: Option<u32>,
    expect: Option<PathBuf>,
    ci: Option<PathBuf>,
    view: CgroupView,
    work: Option<PathBuf>,
    keep: bool,
    verbose: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => Err("no command".to_owned()),
        ["-h" | "--help" | "help", ..] | [_, "-h" | "--help"] => {
            print!("{HELP}");
            Ok(true)
        }
        ["--version"] => {
            println!("conformance version {}", env!("CARGO_PKG_VERSION"));
            Ok(true)
        }
        ["__case", id, tag, view, rest @ ..] => work(id, tag, view, rest),
        ["run", rest @ ..] => parse(rest).and_then(|o| run(&o)),
        ["list", rest @ ..] => parse(rest).map(|o| list(&o)),
        ["matrix", rest @ ..] => parse(rest).and_then(|o| matrix(&o)),
        ["probe", file] => payload::write_probe(Path::new(file))
            .map(|()| true)
            .map_err(|e| e.to_string()),
        [other, ..] => Err(format!("unknown command {other:?}, or wrong arguments for it")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("conformance: {why} (see conformance --help)");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[&str]) -> Result<Options, String> {
    let mut o = Options::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let (name, inline) = arg.split_once('=').map_or((*arg, None), |(n, v)| (n, Some(v)));
        let mut value = || {
            inline
                .or_else(|| rest.next().copied())
                .map(str::to_owned)
                .ok_or_else(|| format!("{name} needs a value"))
        };
        let words = |v: String| v.split(',').map(str::to_owned).collect::<Vec<_>>();
        match name {
            "--runtime" => o.runtimes.push(value()?.into()),
            "--filter" => o.filter.extend(words(value()?)),
            "--cases" => o.only = Some(load_ids(Path::new(&value()?))?),
            "--exclude" => o.exclude.extend(words(value()?)),
            "--format" => {
                let v = value()?;
                o.format = Some(Format::parse(&v).ok_or_else(|| format!("unknown format {v:?}"))?);
            }
            "--jobs" => {
                let v = value()?;
                o.jobs = Some(
                    v.parse()
                        .ok()
                        .filter(|n| *n > 0)
                        .ok_or_else(|| format!("--jobs {v:?} is no positive number"))?,
                );
            }
            "--cgroups" => {
                let v = value()?;
                o.view = CgroupView::parse(&v).ok_or_else(|| format!("unknown cgroup view {v:?}"))?;
            }
            "--retries" => {
                let v = value()?;
                o.retries = v.parse().map_err(|_| format!("--retries {v:?} is no number"))?;
            }
            "--patience" => {
                let v = value()?;
                let n: u32 = v.parse().map_err(|_| format!("--patience {v:?} is no number"))?;
                o.patience = Some(n);
            }
            "--expect" => o.expect = Some(value()?.into()),
            "--ci" => o.ci = Some(value()?.into()),
            "--work" => o.work = Some(value()?.into()),
            "--list" => o.list = true,
            "--keep" => o.keep = true,
            "--verbose" | "-v" => o.verbose = true,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(o)
}

fn fits(id: &str, pattern: &str) -> bool {
    pattern
        .strip_prefix('^')
        .map_or_else(|| id.contains(pattern), |p| id.starts_with(p))
}

fn chosen(o: &Options) -> Vec<&'static Case> {
    cases::all()
        .into_iter()
        .filter(|c| o.filter.is_empty() || o.filter.iter().any(|f| fits(c.id, f)))
        .filter(|c| (o.only.as_ref()).is_none_or(|ids| ids.iter().any(|id| id == c.id)))
        .filter(|c| !o.exclude.iter().any(|f| fits(c.id, f)))
        .collect()
}

fn list(o: &Options) -> bool {
    for c in chosen(o) {
        println!(
            "{:<44} {:<7} {}",
            c.id,
            format!("{:?}", c.level).to_lowercase(),
            c.clause
        );
    }
    true
}

fn run(o: &Options) -> Result<bool, String> {
    if o.list {
        return Ok(list(o));
    }
    let [path] = o.runtimes.as_slice() else {
        return Err("run needs exactly one --runtime".into());
    };
    let subject = Subject::probe(path)?;
    let format = o.format.unwrap_or(Format::Human);
    let verdicts = judge(o, &subject, |v| {
        if format == Format::Human {
            print!("{}", format::human_line(v, o.verbose));
        }
    })?;
    match format {
        Format::Human => print!("{}", format::human_summary(&subject, &verdicts)),
        Format::Tap => print!("{}", format::tap(&verdicts)),
        Format::Json => println!("{:#}", format::json(&subject, &verdicts)),
        Format::Junit => print!("{}", format::junit(&subject, &verdicts)),
    }
    let undeclared = undeclared_skips(o, &verdicts)?;
    for id in &undeclared {
        eprintln!("conformance: {id} was skipped and is not on the declared list");
    }
    Ok(undeclared.is_empty() && verdicts.iter().all(Verdict::as_expected))
}

fn undeclared_skips(o: &Options, verdicts: &[Verdict]) -> Result<Vec<&'static str>, String> {
    let Some(file) = &o.ci else { return Ok(Vec::new()) };
    let declared = load_ids(file)?;
    let skipped = verdicts
        .iter()
        .filter(|v| v.finding.outcome == Outcome::Skip)
        .map(|v| v.case.id);
    Ok(skipped.filter(|id| !declared.iter().any(|d| d == id)).collect())
}

/// The ids in a file: one a line, `#` for remarks.
fn load_ids(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let ids = text.lines().map(|l| l.split('#').next().unwrap_or("").trim());
    Ok(ids.filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

fn judge(o: &Options, subject: &Subject, each: impl FnMut(&Verdict)) -> Result<Vec<Verdict>, String> {
    if !payload::is_embedded() {
        return Err(
            "this build has no static probe: add a musl target (rustup target add) and build again".into(),
        );
    }
    let known = match &o.expect {
        Some(file) => Expectations::load(file)?,
        None => Expectations::for_runtime(&subject.version)?,
    };
    let cases = chosen(o);
    if cases.is_empty() {
        return Err("no case fits the filter".into());
    }
    let work = o.work.clone().unwrap_or_else(|| {
        let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        base.join(format!("conformance-{}", std::process::id()))
    });
    std::fs::create_dir_all(&work).map_err(|e| format!("cannot make {}: {e}", work.display()))?;
    let jobs = o
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let plan = Plan {
        subject,
        view: o.view,
        cases: &cases,
        jobs,
        work: &work,
        keep: o.keep,
        retries: o.retries,
        patience: o.patience,
    };
    let verdicts = scheduler::run(&plan, &known, each).map_err(|e| format!("the harness failed: {e}"));
    if !o.keep {
        // Only when empty: with --work it may be somebody's directory.
        let _ = std::fs::remove_dir(&work);
    }
    verdicts
}

fn matrix(o: &Options) -> Result<bool, String> {
    if o.runtimes.is_empty() {
        return Err("matrix needs --runtime".into());
    }
    let mut runs = Vec::new();
    for path in &o.runtimes {
        let subject = Subject::probe(path)?;
        let verdicts = judge(o, &subject, |_| {})?;
        runs.push((subject, verdicts));
    }
    print!("{}", format::matrix(&runs));
    Ok(runs.iter().all(|(_, all)| all.iter().all(Verdict::as_expected)))
}

/// The hidden command of a worker process.
fn work(id: &str, tag: &str, view: &str, rest: &[&str]) -> Result<bool, String> {
    let [runtime, name, dir] = rest else {
        return Err("wrong arguments for __case".into());
    };
    let view = CgroupView::parse(view).ok_or("no such view")?;
    let all = cases::all();
    let case = all
        .iter()
        .find(|c| c.id == id)
        .ok_or_else(|| format!("no case {id:?}"))?;
    let place = Place {
        dir: dir.into(),
        tag: tag.into(),
        cgroups: host::probe_cgroup_mode(),
    };
    worker::run(case, place, view, Path::new(runtime), name)
        .map_err(|e| format!("the harness failed: {e}"))?;
    Ok(true)
}
