//! What files have come to, so that a build that finds them again does not read them again.
//!
//! One file of records: device, inode, size and both times of a file, and the hash of what is in it. The rule is that of git's index:
//! a file that was changed in the very moment in which it was read may be changed once more without a new time, so one whose ctime
//! is not clearly older than the reading is not remembered.
//!
//! May not: fail a build. A memory that is damaged, or cannot be written, is none.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use sys::fs::Dated;
use sys::xattr::Time;

const MAGIC: &[u8] = b"brig file hashes 1\n";

const RECORD: usize = 84;

const SUM: usize = 32;

/// A memory that is larger is given up, at eighty-four bytes a file.
const MOST_BYTES: u64 = 512 << 20;

/// A record that nobody has asked for as long is dropped.
const DAYS: u32 = 30;

/// The kernel stamps files with the time of its last tick, which is at most a hundredth of a second ago.
const TICK: Duration = Duration::from_millis(50);

/// File systems that know no fractions of a second (vfat: only every other one).
const COARSE: Duration = Duration::from_secs(2);

/// The hash of what is in a file.
pub type Hash = [u8; 32];

/// A memory of files, below a path.
pub struct Memory {
    path: PathBuf,
    records: Mutex<Option<Records>>,
}

#[derive(Default)]
struct Records {
    of: HashMap<(u64, u64), Record>,
    has_changed: bool,
}

#[derive(Clone, Copy)]
struct Record {
    size: u64,
    mtime: Time,
    ctime: Time,
    /// The day on which somebody asked for it last, since 1970.
    day: u32,
    hash: Hash,
}

impl Memory {
    /// Nothing is read before somebody asks.
    pub fn at(path: PathBuf) -> Memory {
        Memory {
            path,
            records: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Records>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What these files are known to come to, in their order.
    pub fn recall<'f>(&self, files: impl Iterator<Item = &'f Dated>) -> Vec<Option<Hash>> {
        let mut guard = self.lock();
        let records = guard.get_or_insert_with(|| read(&self.path).unwrap_or_default());
        let today = day(SystemTime::now());
        let recalled = files.map(|file| {
            let record = records.of.get_mut(&(file.stat.dev, file.stat.ino))?;
            let is_same =
                (record.size, record.mtime, record.ctime) == (file.stat.size, file.mtime, file.ctime);
            if !is_same {
                return None;
            }
            record.day = today;
            Some(record.hash)
        });
        recalled.collect()
    }

    /// Files that were read since `began`.
    pub fn learn<'f>(&self, began: SystemTime, files: impl Iterator<Item = (&'f Dated, Hash)>) {
        let mut guard = self.lock();
        let records = guard.get_or_insert_with(|| read(&self.path).unwrap_or_default());
        for (file, hash) in files {
            if !is_settled(file.ctime, began) {
                continue;
            }
            let record = Record {
                size: file.stat.size,
                mtime: file.mtime,
                ctime: file.ctime,
                day: day(began),
                hash,
            };
            records.of.insert((file.stat.dev, file.stat.ino), record);
            records.has_changed = true;
        }
    }

    /// Writes what was learned, in one step: who reads sees the old one or the new one.
    pub fn save(&self) {
        let mut guard = self.lock();
        let Some(records) = guard.as_mut().filter(|records| records.has_changed) else {
            return;
        };
        records.has_changed = false;
        let bytes = written(records, day(SystemTime::now()));
        // It is only a memory: the next build reads the files again.
        let _ = replace(&self.path, &bytes);
    }
}

/// Whether a file cannot be changed any more without getting another time.
fn is_settled(ctime: Time, began: SystemTime) -> bool {
    let Ok(seconds) = u64::try_from(ctime.seconds) else {
        return false;
    };
    let changed = UNIX_EPOCH + Duration::new(seconds, ctime.nanoseconds);
    let slack = match ctime.nanoseconds {
        0 => COARSE,
        _ => TICK,
    };
    changed + slack < began
}

fn day(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86400).unwrap_or(u32::MAX)
}

fn read(path: &Path) -> Option<Records> {
    if fs::metadata(path).ok()?.len() > MOST_BYTES {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let body = body.strip_prefix(MAGIC)?;
    let mut records = Records::default();
    records.of.reserve(body.len() / RECORD);
    for bytes in body.chunks_exact(RECORD) {
        let (key, record) = parse(bytes)?;
        records.of.insert(key, record);
    }
    Some(records)
}

fn parse(bytes: &[u8]) -> Option<((u64, u64), Record)> {
    let mut rest = bytes;
    let mut number = |length: usize| -> Option<u64> {
        let (part, after) = rest.split_at_checked(length)?;
        rest = after;
        let mut wide = [0; 8];
        wide.get_mut(..length)?.copy_from_slice(part);
        Some(u64::from_le_bytes(wide))
    };
    let key = (number(8)?, number(8)?);
    let size = number(8)?;
    let mut time = || -> Option<Time> {
        Some(Time {
            seconds: number(8)?.cast_signed(),
            nanoseconds: u32::try_from(number(4)?).ok()?,
        })
    };
    let (mtime, ctime) = (time()?, time()?);
    let day = u32::try_from(number(4)?).ok()?;
    let record = Record {
        size,
        mtime,
        ctime,
        day,
        hash: rest.try_into().ok()?,
    };
    Some((key, record))
}

fn written(records: &Records, today: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + records.of.len() * RECORD + SUM);
    bytes.extend_from_slice(MAGIC);
    for ((dev, ino), record) in &records.of {
        if record.day.saturating_add(DAYS) < today {
            continue;
        }
        for number in [*dev, *ino, record.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for time in [record.mtime, record.ctime] {
            bytes.extend_from_slice(&time.seconds.to_le_bytes());
            bytes.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(&record.day.to_le_bytes());
        bytes.extend_from_slice(&record.hash);
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Builds of the same context write at the same time; the last one stays.
    let mut random = [0; 8];
    sys::random::fill(&mut random).map_err(|e| std::io::Error::from_raw_os_error(e.errno().0))?;
    let name = format!(".new-{:016x}", u64::from_le_bytes(random));
    let new = directory.join(name);
    let done = fs::File::create_new(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(ino: u64, seconds: i64) -> Dated {
        let time = Time {
            seconds,
            nanoseconds: 5,
        };
        let mut dated = sys::fs::dated(sys::fs::cwd(), Path::new("."), 0).unwrap();
        dated.stat.ino = ino;
        (dated.mtime, dated.ctime) = (time, time);
        dated
    }

    fn path(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("builder-memory-{name}-{}", std::process::id()));
        dir.join("hashes")
    }

    fn recall(memory: &Memory, file: &Dated) -> Option<Hash> {
        memory.recall(std::iter::once(file))[0]
    }

    #[test]
    fn it_remembers_what_has_not_changed() {
        let path = path("same");
        let (one, two) = (file(1, 1000), file(2, 2000));
        let memory = Memory::at(path.clone());
        assert_eq!(recall(&memory, &one), None);
        memory.learn(SystemTime::now(), [(&one, [1; 32]), (&two, [2; 32])].into_iter());
        memory.save();
        let memory = Memory::at(path.clone());
        assert_eq!(
            (recall(&memory, &one), recall(&memory, &two)),
            (Some([1; 32]), Some([2; 32]))
        );
        let mut changed = [one; 4];
        changed[0].mtime.nanoseconds = 6;
        changed[1].ctime.seconds = 1001;
        changed[2].stat.size += 1;
        changed[3].stat.ino = 3;
        assert!(changed.iter().all(|file| recall(&memory, file).is_none()));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_was_just_changed_is_not_believed() {
        let now = UNIX_EPOCH + Duration::new(5000, 0);
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (ctime, settled) in [
            (time(4999, 900_000_000), true),
            (time(4999, 960_000_000), false),
            (time(5000, 1), false),
            (time(6000, 1), false),
            (time(-1, 1), false),
            // No fractions.
            (time(4998, 0), false),
            (time(4997, 0), true),
        ] {
            assert_eq!(is_settled(ctime, now), settled, "{ctime:?}");
        }
        let memory = Memory::at(path("racy"));
        let file = file(1, 5000);
        memory.learn(now, std::iter::once((&file, [1; 32])));
        assert_eq!(recall(&memory, &file), None);
    }

    #[test]
    fn a_damaged_one_is_none() {
        let path = path("damaged");
        let one = file(1, 1000);
        let memory = Memory::at(path.clone());
        memory.learn(SystemTime::now(), std::iter::once((&one, [1; 32])));
        memory.save();
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), MAGIC.len() + RECORD + SUM);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(recall(&Memory::at(path.clone()), &one), None, "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(recall(&Memory::at(path.clone()), &one), None, "{at}");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(recall(&Memory::at(path.clone()), &one), Some([1; 32]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
