//! Power cuts: brigs work in a store on a file system of its own, which stops at a random moment, and with it everything that was not on
//! its disk. Then the machine "boots": the file system is mounted again, and the kernel has another boot id.
//!
//! May not: sync, or give a command the time to end well. ext4 stops by its own call for this (EXT4_IOC_SHUTDOWN without a flush of the log):
//! from there on nothing reaches the device, neither dirty pages nor the journal's open transaction. What this cannot show is a disk
//! that says "written" and has not.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conformance::daemon::installed;
use conformance::{command, kernel};

use crate::lab::Lab;
use crate::soak::{self, IMAGES, kill, must, wait};
use conformance::seed::Numbers;
use conformance::tree::Tree;

/// The power goes at the latest so many milliseconds after the commands have begun.
const LATEST: usize = 400;
/// So often the work is finished and looked at.
const LOOK: usize = 10;
/// How the file system is mounted. A journal that is rarely written by itself keeps most of what nobody syncs from the disk; with
/// `writeback` a file may have its length and not its bytes.
const OPTIONS: [&str; 3] = ["", "commit=300", "commit=300,data=writeback"];
/// Sparse.
const SIZE: u64 = 4 << 30;
const PATIENCE: Duration = Duration::from_secs(60);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// After it brig trusts the kernel to have written a layer by itself, and asks.
const SETTLED: Duration = Duration::from_secs(61);

/// What stops this machine from playing that.
pub fn lack() -> Option<String> {
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    installed("mke2fs").err()
}

/// A disk that loses its power, and the machine that it is in.
struct Disk {
    file: PathBuf,
    place: PathBuf,
    /// What the kernel is said to have as its boot id.
    boot: PathBuf,
    boots: u32,
}

impl Disk {
    fn make(dir: &Path) -> Result<Disk, String> {
        let disk = Disk {
            file: dir.join("disk.ext4"),
            place: dir.join("disk"),
            boot: dir.join("boot-id"),
            boots: 0,
        };
        let text = |e: std::io::Error| format!("{}: {e}", disk.file.display());
        std::fs::create_dir_all(&disk.place).map_err(text)?;
        let file = std::fs::File::create(&disk.file).map_err(text)?;
        file.set_len(SIZE).map_err(text)?;
        let mut make = Command::new(installed("mke2fs")?);
        make.args(["-q", "-F", "-t", "ext4"]).arg(&disk.file);
        command::run(&mut make, "", PATIENCE)?.ok()?;
        std::fs::write(&disk.boot, "").map_err(text)?;
        let id = Path::new(BOOT_ID);
        kernel::mount(&disk.boot, id, "", libc::MS_BIND, "").map_err(|e| format!("{BOOT_ID}: {e}"))?;
        Ok(disk)
    }

    /// Another boot of the machine.
    fn boot(&mut self, options: &str) -> Result<(), String> {
        self.boots += 1;
        // The same file: it is mounted.
        let id = format!("{:08x}-0000-4000-8000-000000000000\n", self.boots);
        std::fs::write(&self.boot, id).map_err(|e| format!("{}: {e}", self.boot.display()))?;
        let mut mount = Command::new("mount");
        mount
            .arg("-o")
            .arg(format!("loop,{options}"))
            .arg(&self.file)
            .arg(&self.place);
        command::run(&mut mount, "", PATIENCE)?.ok().map(drop)
    }

    /// The power goes.
    fn cut(&self) -> Result<(), String> {
        kernel::shut_down_ext4(&self.place).map_err(|e| format!("{}: {e}", self.place.display()))
    }

    /// When nobody has anything open there any more.
    fn unmount(&self) -> Result<(), String> {
        let mut last = String::new();
        command::until("unmounting the disk", PATIENCE, || {
            let ended = command::run(Command::new("umount").arg(&self.place), "", PATIENCE);
            match ended.and_then(command::Outcome::ok) {
                Ok(_) => true,
                Err(e) => {
                    last = e;
                    false
                }
            }
        })
        .map_err(|e| format!("{e}: {last}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Unmounted already, unless something went wrong.
        let _ = kernel::detach(&self.place);
        if let Err(e) = kernel::detach(Path::new(BOOT_ID)) {
            eprintln!("images: {BOOT_ID}: {e}");
        }
        if let Err(e) = std::fs::remove_file(&self.file) {
            eprintln!("images: {}: {e}", self.file.display());
        }
    }
}

struct Cuts<'a> {
    lab: &'a Lab,
    disk: Disk,
    store: PathBuf,
    archive: String,
    rootfs: String,
    numbers: Numbers,
    tree: Tree,
}

/// What was done before the cut, and said to be done: its name and its id.
struct Promise {
    name: String,
    id: String,
}

/// So many power cuts. With `settled`, also one a minute after a pull: then the unpacked layers are on the disk as well.
pub fn run(lab: &Lab, dir: &Path, cuts: usize, seed: u64, settled: bool) -> Result<(), String> {
    let image = lab.dir.join("image");
    let rootfs = std::fs::read_to_string(&image).map_err(|e| format!("{}: {e}", image.display()))?;
    let archive = soak::archive(lab)?;
    let mut disk = Disk::make(dir)?;
    let store = disk.place.join("store");
    disk.boot("")?;
    let mut run = Cuts {
        lab,
        tree: soak::tree(lab, &store)?,
        disk,
        store,
        archive,
        rootfs: rootfs.trim().to_owned(),
        numbers: Numbers::from(seed),
    };
    for round in 1..=cuts {
        let told = run
            .round()
            .map_err(|e| format!("seed {seed}, power cut {round}: {e}"))?;
        if round % LOOK == 0 {
            run.finish()
                .map_err(|e| format!("seed {seed}, after power cut {round} ({told}): {e}"))?;
        }
    }
    if settled {
        run.settled()?;
    }
    run.finish()?;
    soak::empty(lab, &run.store)?;
    run.disk.unmount()
}

impl Cuts<'_> {
    /// Something is done to its end, other things have begun: the power goes, and comes again.
    fn round(&mut self) -> Result<String, String> {
        let promise = self.promise()?;
        let mut running = Vec::new();
        let mut told = vec![format!("{} is there", promise.name)];
        for _ in 0..1 + self.numbers.below(3) {
            let words = self.words(&promise.name);
            told.push(words.join(" "));
            let mut command = self.lab.command(&self.store);
            command.args(&words).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null()).process_group(0);
            running.push(command.spawn().map_err(|e| format!("{command:?}: {e}"))?);
        }
        let told = told.join("; ");
        let moment = Instant::now() + Duration::from_millis(self.numbers.below(LATEST) as u64);
        while let Some(left) = moment.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        self.disk.cut()?;
        for child in &mut running {
            kill(child)?;
            wait(child).map_err(|e| format!("{told}: {e}"))?;
        }
        let options = self.numbers.pick(&OPTIONS).copied().unwrap_or_default();
        self.disk.unmount()?;
        self.disk.boot(options)?;
        let at = |e: String| format!("{told}: {e}");
        self.must(&["system", "check"]).map_err(at)?;
        let id = self.id(&promise.name).map_err(at)?;
        if id != promise.id {
            return Err(at(format!("{} is {id} instead of {}", promise.name, promise.id)));
        }
        Ok(told)
    }

    /// Brings an image, by one way or another.
    fn promise(&mut self) -> Result<Promise, String> {
        let image = self.numbers.pick(&IMAGES).copied().unwrap_or("many:1");
        let name = match self.numbers.below(6) {
            0..=3 => {
                let name = self.lab.plain.reference(image);
                self.must(&["pull", "-q", &name])?;
                name
            }
            4 => {
                self.must(&["load", "-i", &self.archive])?;
                self.lab.plain.reference("many:1")
            }
            _ => {
                self.must(&["import", &self.rootfs, "imported:1"])?;
                "imported:1".to_owned()
            }
        };
        let id = self.id(&name)?;
        Ok(Promise { name, id })
    }

    /// A command line, any that leaves `promised` alone.
    fn words(&mut self, promised: &str) -> Vec<String> {
        let image = self.numbers.pick(&IMAGES).copied().unwrap_or("many:1");
        let reference = self.lab.plain.reference(image);
        match self.numbers.below(10) {
            0..=3 => vec!["pull".to_owned(), reference],
            4 | 5 => vec!["load".to_owned(), "-i".to_owned(), self.archive.clone()],
            6 => ["import", &self.rootfs, "imported:2"].map(str::to_owned).to_vec(),
            7 | 8 if reference != promised => vec!["rmi".to_owned(), "-f".to_owned(), reference],
            _ => ["image", "prune", "-f"].map(str::to_owned).to_vec(),
        }
    }

    /// What was broken off is finished, and the image is what it must be.
    fn finish(&self) -> Result<(), String> {
        soak::finish(self.lab, &self.store, &self.tree)?;
        self.must(&["load", "-i", &self.archive])?;
        self.must(&["import", &self.rootfs, "imported:2"])?;
        self.must(&["system", "check"]).map(drop)
    }

    /// A minute after a pull the next one finds its layers written, and says so in the store: they are good in the next boot.
    fn settled(&mut self) -> Result<(), String> {
        let name = self.lab.plain.reference("many:1");
        self.must(&["pull", "-q", &name])?;
        let tree = soak::tree(self.lab, &self.store)?;
        std::thread::park_timeout(SETTLED);
        self.must(&["pull", "-q", &name])?;
        self.disk.cut()?;
        self.disk.unmount()?;
        self.disk.boot("")?;
        let said = self.must(&["system", "check"])?;
        // Those of other images are of earlier boots, and nobody has needed them since.
        let layers = &self.lab.fixtures.many.layers;
        if let Some(layer) = layers.iter().find(|layer| said.contains(&layer.diff_id[7..])) {
            return Err(format!(
                "a minute after its pull layer {} was not on the disk: {said}",
                layer.diff_id
            ));
        }
        let again = soak::tree(self.lab, &self.store)?;
        again
            .difference(&tree, "the tree before the cut")
            .map_or(Ok(()), Err)
    }

    fn id(&self, name: &str) -> Result<String, String> {
        self.must(&["image", "inspect", "--format", "{{.Id}}", name])
    }

    fn must(&self, words: &[&str]) -> Result<String, String> {
        must(self.lab, &self.store, words)
    }
}
