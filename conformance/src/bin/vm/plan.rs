//! Which guests are booted and what each is told to do, from the arguments and the table of guests.
//!
//! May not: know how a machine is played.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use conformance::cases;

use crate::cache::{self, Cache};
use crate::cpio::Archive;
use crate::guest::{self, Arch, Guest, Init};
use crate::job::{Job, Suite};
use crate::lines::Sums;
use crate::machine::{self, Machine};
use crate::{Arguments, base, debian, images, inside, packages, smoke};

const GUEST_SCRIPT: &str = include_str!("guest.sh");
const DEMO: &str = include_str!("../../../../tools/demo");

/// How many guests run at once: each has one processor.
const AT_ONCE: usize = 2;

/// How often a case of the reference is tried again; and one of ours, in a machine whose time stands still now and then. Each
/// try is told.
const RETRIES: u32 = 2;
const OWN_RETRIES: u32 = 1;

/// How much longer a guest may take, and be silent, when it runs every case: those are many times as many, and some of the
/// reference are known to hang until their deadline.
const EVERY: u32 = 6;

/// Held while something is made that guests share.
static MAKING: Mutex<()> = Mutex::new(());

/// And for the disk with Debian, for which the other guests need not wait.
static MAKING_DEBIAN: Mutex<()> = Mutex::new(());

/// And for the images of brig.
static MAKING_IMAGES: Mutex<()> = Mutex::new(());

fn guests(a: &Arguments) -> Vec<&'static Guest> {
    if a.guests.is_empty() {
        guest::GUESTS.iter().collect()
    } else {
        a.guests.clone()
    }
}

/// What `guest` is to do, as far as the filters let it.
fn job(guest: &Guest, a: &Arguments) -> Job {
    let fits = |name: &str| a.filters.is_empty() || a.filters.iter().any(|text| name.contains(text.as_str()));
    let all = cases::all();
    let suite = |runtime: &&str| Suite {
        runtime: (*runtime).to_owned(),
        retries: match guest.runtimes.first() == Some(runtime) {
            true => OWN_RETRIES,
            false => RETRIES,
        },
        cases: all
            .iter()
            .enumerate()
            .filter(|(index, case)| (a.every && guest.can(case)) || guest.wants(case, *index, runtime))
            .filter(|(_, case)| fits(&format!("{}/{runtime}/{}", guest.name, case.id)))
            .map(|(_, case)| case.id.to_owned())
            .collect(),
    };
    let mut engines = Vec::new();
    if guest.engines {
        for runtime in &a.engines_with {
            for case in smoke::all() {
                if case.is_for(runtime, a.every) && fits(&format!("{}/{runtime}/{}", guest.name, case.name)) {
                    engines.push((runtime.clone(), case.name.to_owned()));
                }
            }
        }
    }
    Job {
        guest: guest.name.to_owned(),
        patience: a.patience * guest.slowness,
        retries: OWN_RETRIES,
        demo: guest.init == Init::Script && fits(&format!("{}/demo", guest.name)),
        shim: guest
            .shim
            .iter()
            .filter(|name| fits(&format!("{}/shim/{name}", guest.name)))
            .map(|name| (*name).to_owned())
            .collect(),
        brig: guest
            .brig
            .iter()
            .filter(|name| fits(&format!("{}/brig/{name}", guest.name)))
            .map(|name| (*name).to_owned())
            .collect(),
        suites: guest.runtimes.iter().map(suite).collect(),
        engines,
    }
}

/// Prints the name of every case that would run.
pub fn list(a: &Arguments) {
    for guest in guests(a) {
        let job = job(guest, a);
        if job.demo {
            println!("{}/demo", guest.name);
        }
        for suite in &job.suites {
            for id in &suite.cases {
                println!("{}/{}/{id}", guest.name, suite.runtime);
            }
        }
        for name in &job.shim {
            println!("{}/shim/{name}", guest.name);
        }
        for name in &job.brig {
            println!("{}/brig/{name}", guest.name);
        }
        for (runtime, name) in &job.engines {
            println!("{}/{runtime}/{name}", guest.name);
        }
    }
}

/// Boots every guest that has something to do.
pub fn run(a: &Arguments) -> Result<Sums, String> {
    let cache = Cache::open(&a.cache)?;
    cache.sweep();
    let turns: VecDeque<(&Guest, Job)> = guests(a)
        .into_iter()
        .map(|guest| (guest, job(guest, a)))
        .filter(|(_, job)| !job.is_empty())
        .collect();
    if turns.is_empty() {
        return Err("no case fits the filter".to_owned());
    }
    let own = cache.dir().join(format!("run-{}", std::process::id()));
    let (turns, sums) = (Mutex::new(turns), Mutex::new(Sums::default()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let turn = turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((guest, job)) = turn else { break };
                    let of_guest = play(a, &cache, guest, &job, &own.join(guest.name));
                    sums.lock().unwrap_or_else(PoisonError::into_inner).add(of_guest);
                }
            });
        }
    });
    if a.keep {
        eprintln!("vm: the consoles are in {}", own.display());
    } else {
        cache::remove(&own)?;
    }
    Ok(sums.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One guest from its images to its end. Whatever goes wrong with it is a case of its own, named after the guest.
fn play(a: &Arguments, cache: &Cache, guest: &Guest, job: &Job, dir: &Path) -> Sums {
    let began = std::time::Instant::now();
    let mut sums = Sums::default();
    let mut say = |line: &str| {
        sums.count(line);
        println!("{line}");
    };
    if let Some(lack) = lack(a, guest) {
        say(&format!("skip {}: {lack}", guest.name));
        return sums;
    }
    let mut job = job.clone();
    if !job.brig.is_empty() && !is_root() {
        say(&format!("skip {}/brig: its images are made by root", guest.name));
        job.brig.clear();
    }
    let played = prepare(a, cache, guest, Some(&job), dir).and_then(|machine| machine.run(&mut say));
    let seconds = began.elapsed().as_secs();
    match played {
        Ok(took) => say(&format!(
            "ok   {}/whole ({seconds} s, {} s of a processor)",
            guest.name,
            took.as_secs()
        )),
        Err(why) => {
            say(&format!("FAIL {}/whole ({seconds} s)", guest.name));
            say(&format!("     {}", why.trim_end().replace('\n', "\n     ")));
        }
    }
    sums
}

/// What this machine does not have and a guest cannot do without.
fn lack(a: &Arguments, guest: &Guest) -> Option<String> {
    let root_needed = guest.init == Init::Systemd;
    let mut programs = vec![
        machine::emulator(guest.arch),
        "setpriv",
        "mke2fs",
        "dpkg-deb",
        "apt-get",
    ];
    if root_needed || is_root() && !guest.brig.is_empty() {
        programs.push("debootstrap");
    }
    let unpacked = machine::private_qemu(&a.cache).join("usr/bin");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:" + &unpacked.to_string_lossy();
    let there = |name: &str| path.split(':').any(|dir| Path::new(dir).join(name).is_file());
    if let Some(name) = programs.iter().find(|name| !there(name)) {
        return Some(format!("{name} is not installed"));
    }
    if release(a, guest.arch).is_none() {
        return Some(format!(
            "the programs for {} could not be built here",
            guest.arch.debian()
        ));
    }
    if root_needed && !is_root() {
        return Some("its image is made by root".to_owned());
    }
    None
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Where the programs for guests of this architecture are.
fn release(a: &Arguments, arch: Arch) -> Option<PathBuf> {
    let own = match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::Arm64,
        _ => return None,
    };
    match &a.release {
        _ if arch != own => a.arm64.clone().filter(|_| arch == Arch::Arm64),
        Some(dir) => Some(dir.clone()),
        None => Some(std::env::current_exe().ok()?.parent()?.to_owned()),
    }
}

/// Boots one guest with a shell.
pub fn shell(a: &Arguments) -> Result<bool, String> {
    let guest = a
        .guests
        .first()
        .copied()
        .or(guest::find("v2"))
        .ok_or("no guest")?;
    if let Some(lack) = lack(a, guest) {
        return Err(lack);
    }
    let cache = Cache::open(&a.cache)?;
    cache.sweep();
    let own = cache.dir().join(format!("run-{}", std::process::id()));
    let ended = prepare(a, &cache, guest, None, &own)?.shell();
    cache::remove(&own)?;
    ended
}

fn prepare<'a>(
    a: &Arguments,
    cache: &Cache,
    guest: &'a Guest,
    job: Option<&Job>,
    dir: &Path,
) -> Result<Machine<'a>, String> {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let (packages, base, disk) = {
        // Guests of one architecture share all of this; who comes second finds it made.
        let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let packages = packages::fetch(cache, guest.arch)?;
        let base = base::archive(cache, guest.arch, &packages)?;
        (packages, base, base::disk(cache)?)
    };
    let release = release(a, guest.arch).ok_or("no programs for this guest")?;
    let has_images = job.map_or(!guest.brig.is_empty(), |job| !job.brig.is_empty());
    let initrd = dir.join("initrd");
    join(&initrd, &base, &release, has_images, job).map_err(|e| format!("{}: {e}", initrd.display()))?;
    let mut disks: Vec<PathBuf> = match guest.init {
        Init::Script => vec![disk.clone(), disk],
        Init::Systemd => {
            let _turn = MAKING_DEBIAN.lock().unwrap_or_else(PoisonError::into_inner);
            vec![debian::image(cache, &packages)?, disk]
        }
    };
    if has_images {
        let _turn = MAKING_IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        disks.push(images::archive(cache)?);
    }
    Ok(Machine {
        guest,
        kernel: packages.kernel()?,
        initrd,
        disks,
        dir: dir.to_owned(),
        patience: a.patience * if a.every { EVERY } else { 1 },
        private_qemu: machine::private_qemu(cache.dir()),
    })
}

/// The base and, behind it, what changes with every run: what is judged, and the job.
fn join(to: &Path, base: &Path, release: &Path, with_brig: bool, job: Option<&Job>) -> std::io::Result<()> {
    let mut file = File::create(to)?;
    std::io::copy(&mut File::open(base)?, &mut file)?;
    let mut archive = Archive::new(BufWriter::new(file));
    for dir in ["vm", "vm/release", "vm/tools"] {
        archive.directory(dir)?;
    }
    let of_brig = ["brig", "brig-monitor", "brig-init"];
    let of_brig = of_brig.into_iter().filter(|_| with_brig);
    for name in ["runb", inside::SHIM, "conformance", "shimtest", "vm"]
        .into_iter()
        .chain(of_brig)
    {
        archive.copy(&format!("vm/release/{name}"), &release.join(name))?;
    }
    archive.file("vm/guest.sh", 0o755, GUEST_SCRIPT.as_bytes())?;
    archive.file("vm/tools/demo", 0o755, DEMO.as_bytes())?;
    if let Some(job) = job {
        archive.file("vm/job.json", 0o644, &serde_json::to_vec(job)?)?;
    }
    archive.finish()?.flush()
}
