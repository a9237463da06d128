//! One boot of one guest: QEMU, its console, and the channel on which the guest says what came of each case.
//!
//! May not: wait without a bound, or leave QEMU behind. It dies with the thread that started it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::command;
use crate::guest::{Arch, Guest, Init};
use crate::lines;

/// What a guest needs from power-on to its first line, on a machine that does other things as well.
const BOOT: Duration = Duration::from_secs(240);
/// From its last line to power-off.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// How much of the console a failure shows.
const TAIL: usize = 40;

/// Words for every kernel.
///
/// What an emulated processor is slow at is left out: a timer that is set anew at every tick costs QEMU a wake-up of its main loop
/// each time, where one that ticks by itself does not (a fifth of all time, measured); and a program that is at another address
/// in every process is translated anew for every process (a twentieth).
const WORDS: &str =
    "panic=-1 loglevel=4 random.trust_cpu=on mitigations=off nohz=off highres=off norandmaps nokaslr";

/// Everything that a boot takes.
pub struct Machine<'a> {
    pub guest: &'a Guest,
    pub kernel: PathBuf,
    /// The first file system: base and what is judged.
    pub initrd: PathBuf,
    /// Disks, in order. Nothing that the guest writes reaches these files.
    pub disks: Vec<PathBuf>,
    /// For the console.
    pub dir: PathBuf,
    pub patience: u32,
    /// See [`private_qemu`].
    pub private_qemu: PathBuf,
}

/// The program that plays machines of this architecture.
pub fn emulator(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-system-x86_64",
        Arch::Arm64 => "qemu-system-aarch64",
    }
}

/// Where setup unpacks QEMU when it cannot be installed.
pub fn private_qemu(cache: &Path) -> PathBuf {
    cache.join("qemu")
}

/// The command that plays a machine: the system's QEMU, or the one that was unpacked beside it with its libraries.
fn play(arch: Arch, private: &Path) -> Command {
    // The thread that starts it lives as long as the guest; if this program is killed, so is the guest.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    let unpacked = private.join("usr/bin").join(emulator(arch));
    if unpacked.is_file() {
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = ["usr/lib", "lib"].map(|dir| private.join(dir).join(&triple));
        let below = |dir: &str| libraries[0].join(dir);
        command
            .arg("env")
            .arg(format!(
                "LD_LIBRARY_PATH={}:{}:{}",
                libraries[0].display(),
                libraries[1].display(),
                below("pulseaudio").display()
            ))
            .arg(format!("QEMU_MODULE_DIR={}", below("qemu").display()))
            .arg(unpacked);
        // Firmware may have come along, or be the system's.
        for root in [private, Path::new("/")] {
            for dir in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                command.arg("-L").arg(root.join(dir));
            }
        }
    } else {
        command.arg(emulator(arch));
    }
    command
}

impl Machine<'_> {
    /// Boots, and hands every line of the guest to `each`; the processor time that QEMU took.
    ///
    /// # Errors
    /// It did not come up, went silent, or ended before it was done; with the end of its console.
    pub fn run(&self, mut each: impl FnMut(&str)) -> Result<Duration, String> {
        let console = self.console();
        let mut command = self.command(&format!("file:{}", console.display()));
        command
            .args(["-chardev", "stdio,id=results,signal=off"])
            .args(["-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=results,name=results"]);
        let log = fs::File::create(self.dir.join("qemu.log")).map_err(|e| e.to_string())?;
        // Nothing is ever said to the guest, but without a writer the channel would count as closed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let lines = read_lines(&mut child);
        let told = lines
            .ok_or("QEMU has no output".to_owned())
            .and_then(|lines| self.listen(&lines, &mut each));
        let took = processor_time(child.id());
        let ended = end(&mut child, told.is_ok().then_some(SHUTDOWN * self.patience));
        told.and(ended)
            .map(|()| took)
            .map_err(|why| format!("{why}\n{}", self.tail()))
    }

    /// Boots with the console on this terminal.
    pub fn shell(&self) -> Result<bool, String> {
        let mut command = self.command("mon:stdio");
        let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
        Ok(status.success())
    }

    pub fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    fn listen(&self, lines: &Receiver<String>, each: &mut impl FnMut(&str)) -> Result<(), String> {
        let began = Instant::now();
        let total = self.guest.total * self.patience;
        let mut quiet = BOOT * self.patience;
        loop {
            let left = total.saturating_sub(began.elapsed());
            match lines.recv_timeout(quiet.min(left)) {
                Ok(line) if line == lines::DONE => return Ok(()),
                Ok(line) => each(&line),
                Err(RecvTimeoutError::Disconnected) => return Err("it ended before it was done".to_owned()),
                Err(RecvTimeoutError::Timeout) if left <= quiet => {
                    return Err(format!("not done after {} s", total.as_secs()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("said nothing for {} s", quiet.as_secs()));
                }
            }
            quiet = self.guest.quiet * self.patience;
        }
    }

    fn command(&self, serial: &str) -> Command {
        let guest = self.guest;
        let mut command = play(guest.arch, &self.private_qemu);
        let (machine, cpu, console, own) = match guest.arch {
            // A plain CPU: what a newer one saves and walks more costs twice the time here, and shows nothing.
            //
            // The kernel counts ticks against its own time and panics ("IO-APIC + timer doesn't work") when the host gave
            // it none meanwhile; below KVM it leaves that test out, here it has to be told.
            Arch::Amd64 => ("pc", "Nehalem", "ttyS0", "no_timer_check"),
            Arch::Arm64 => ("virt", "cortex-a72", "ttyAMA0", ""),
        };
        // One processor: with two, emulated in parallel, a guest hung now and then, both stuck in its kernel (QEMU 7.2).
        // There are two guests at a time instead.
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-machine", machine, "-accel", "tcg", "-cpu", cpu])
            .args(["-smp", "1", "-m", guest.memory, "-serial", serial])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .arg("-append")
            .arg(format!(
                "console={console} {WORDS} {own} {} brig.guest={} brig.init={}",
                guest.kernel,
                guest.name,
                match guest.init {
                    Init::Script => "script",
                    Init::Systemd => "systemd",
                }
            ));
        command.args(["-device", "virtio-rng-pci"]);
        for (n, disk) in self.disks.iter().enumerate() {
            // A full disk of the host is the guest's error; by default QEMU would stop the guest without a word.
            command
                .arg("-drive")
                .arg(format!(
                    "file={},if=none,id=disk{n},format=raw,snapshot=on,cache=unsafe,werror=report",
                    disk.display()
                ))
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive=disk{n}"));
        }
        // What the guest writes to its disks goes to an unnamed file there.
        command.env("TMPDIR", &self.dir);
        command
    }

    /// The end of the console, and whatever QEMU itself complained about.
    fn tail(&self) -> String {
        let read = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let (qemu, console) = (read(&self.dir.join("qemu.log")), read(&self.console()));
        let lines: Vec<&str> = qemu.lines().chain(console.lines()).collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        format!("the end of its console:\n  {}", tail.join("\n  "))
    }
}

/// What a process, which is not reaped yet, has had of the processors. It says more than the time on the clock where the
/// machine does other things as well. Zero if the kernel does not say.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state is the third field, utime and stime are the 14th and the 15th, both in
    // hundredths whatever the kernel's own tick (USER_HZ).
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn read_lines(child: &mut Child) -> Option<Receiver<String>> {
    let output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Some(receiver)
}

/// Waits for the end so long, then makes it.
fn end(child: &mut Child, patience: Option<Duration>) -> Result<(), String> {
    let ended = patience.is_some_and(|patience| {
        command::until("power-off", patience, || {
            child.try_wait().is_ok_and(|status| status.is_some())
        })
        .is_ok()
    });
    if !ended {
        child.kill().map_err(|e| format!("QEMU cannot be ended: {e}"))?;
    }
    child.wait().map_err(|e| format!("QEMU: {e}"))?;
    match patience {
        Some(patience) if !ended => Err(format!(
            "did not switch itself off within {} s",
            patience.as_secs()
        )),
        _ => Ok(()),
    }
}
