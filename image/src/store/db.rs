//! The database: its form, and how it is opened.
//!
//! May not: know what the rows mean to anybody.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::{Context, Error, Kind, Result};

/// The form that this program writes.
const VERSION: i64 = 2;

/// How long a writer waits for another. Transactions take milliseconds; only a stopped process makes one wait.
const PATIENCE: Duration = Duration::from_secs(60);

const FORM: &str = "
-- A configuration and the manifest that leads to its layers.
CREATE TABLE image (
    id       TEXT PRIMARY KEY,      -- digest of the configuration
    manifest TEXT NOT NULL,
    size     INTEGER NOT NULL,      -- bytes of its files, unpacked
    added    INTEGER NOT NULL,      -- nanoseconds since 1970
    used     INTEGER NOT NULL,      -- when it was last pulled, or something began to stand on it
    parent   TEXT                   -- the image that it was built or committed from, here
) WITHOUT ROWID;
-- Tags.
CREATE TABLE name (
    reference  TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES image(id),
    manifest   TEXT NOT NULL,
    target     TEXT NOT NULL,       -- what the registry calls by this name: the manifest or an index
    updated    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX name_image ON name(image);
-- Repositories that are known to have an image, by digest.
CREATE TABLE pin (
    repository TEXT NOT NULL,
    target     TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES image(id),
    manifest   TEXT NOT NULL,
    PRIMARY KEY (repository, target)
) WITHOUT ROWID;
CREATE INDEX pin_image ON pin(image);
-- What a manifest needs.
CREATE TABLE part (
    manifest TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('blob', 'layer')),
    position INTEGER NOT NULL,
    key      TEXT NOT NULL,
    PRIMARY KEY (manifest, kind, position)
) WITHOUT ROWID;
CREATE INDEX part_key ON part(kind, key);
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    added  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE layer (
    key     TEXT PRIMARY KEY,
    diff_id TEXT NOT NULL,
    form    TEXT NOT NULL,
    size    INTEGER NOT NULL,       -- bytes of its files
    disk    INTEGER NOT NULL,       -- bytes that it takes
    opaque  INTEGER NOT NULL,       -- hides all that is below it
    blob    TEXT,                   -- what it was made from, or was packed into
    tar     INTEGER NOT NULL DEFAULT 0, -- bytes of its tar, if we can make that again
    boot    TEXT NOT NULL,          -- boot id in which it was made
    synced  INTEGER NOT NULL,
    added   INTEGER NOT NULL
) WITHOUT ROWID;
-- What a living process is working with.
CREATE TABLE hold (
    lease TEXT NOT NULL,
    kind  TEXT NOT NULL CHECK (kind IN ('blob', 'layer', 'manifest')),
    key   TEXT NOT NULL,
    PRIMARY KEY (lease, kind, key)
) WITHOUT ROWID;
-- Bundles, mounts and containers that stand on an image.
CREATE TABLE use (
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    image    TEXT NOT NULL,
    manifest TEXT NOT NULL,
    since    INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX use_image ON use(image);
";

/// What builds have done, by the key of what was to be done.
const STEPS: &str = "
CREATE TABLE step (
    key         TEXT PRIMARY KEY,
    layer       TEXT,               -- what it has written; none, if nothing
    diff_id     TEXT,
    description TEXT NOT NULL,
    kind        TEXT NOT NULL,
    value       TEXT NOT NULL,      -- what the builder wants to know of it again
    parents     TEXT NOT NULL,      -- keys, separated by spaces
    size        INTEGER NOT NULL,   -- bytes that it takes, where that is no layer
    created     INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    uses        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX step_layer ON step(layer);
";

/// From form 1.
const TO_2: &str = "ALTER TABLE layer ADD COLUMN tar INTEGER NOT NULL DEFAULT 0;";

/// Opens the database; none, if there is none.
pub fn open(path: &Path) -> Result<Option<Connection>> {
    if !super::exists(path)? {
        return Ok(None);
    }
    let mut db = connect(path)?;
    leave_log(&db).context(format!("failed to open {}", path.display()))?;
    match version(&db)? {
        VERSION => Ok(Some(db)),
        1 => {
            upgrade(&mut db).context(format!("failed to bring {} into form {VERSION}", path.display()))?;
            Ok(Some(db))
        }
        // Nothing was ever written into it; its place is taken by a new one.
        0 if is_blank(&db)? => Ok(None),
        0 => Err(Error::corrupt(format!(
            "{} is no database of a store: move it away and pull the images again",
            path.display()
        ))),
        newer => Err(Error::of(
            Kind::Unsupported,
            format!(
                "{} has form {newer}, made by a newer brig; this one knows {VERSION}",
                path.display()
            ),
        )),
    }
}

/// All of it or nothing. Two may come here at the same time: the second finds it done.
fn upgrade(db: &mut Connection) -> Result<()> {
    let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if version(&change)? == 1 {
        change.execute_batch(TO_2)?;
        change.execute_batch(STEPS)?;
        change.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(change.commit()?)
}

/// Makes the database. It appears under its name when it is complete: whoever comes meanwhile would change its mode while another reads it,
/// which SQLite refuses to both. The caller sees to it that nobody else makes it.
pub fn create(path: &Path) -> Result<()> {
    let failed = || format!("failed to make {}", path.display());
    let unfinished = path.with_extension("db.new");
    match std::fs::remove_file(&unfinished) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::from(e).context(failed())),
        _ => {}
    }
    let db = connect(&unfinished)?;
    db.pragma_update(None, "journal_mode", "wal").context(failed())?;
    db.execute_batch(FORM).context(failed())?;
    db.execute_batch(STEPS).context(failed())?;
    db.pragma_update(None, "user_version", VERSION)
        .context(failed())?;
    // The last connection that closes writes everything into the file itself, synced.
    db.close().map_err(|(_, e)| Error::from(e)).context(failed())?;
    std::fs::rename(&unfinished, path).context(failed())?;
    super::sync_directory(path.parent().unwrap_or(Path::new("/")))
}

fn connect(path: &Path) -> Result<Connection> {
    let failed = || format!("failed to open {}", path.display());
    // Every connection belongs to one Mutex; SQLite need not lock once more.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).context(failed())?;
    db.busy_timeout(PATIENCE).context(failed())?;
    set_durable(&db, true).context(failed())?;
    db.pragma_update(None, "foreign_keys", "on").context(failed())?;
    Ok(db)
}

/// The write-ahead log stays when the last connection closes, and is there for the next one. To move it into the file and remove it costs
/// four waits for the disk in every command. Short, because whoever comes first reads all of it.
fn leave_log(db: &Connection) -> rusqlite::Result<()> {
    const PAGES: u32 = 64;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "wal_autocheckpoint", PAGES)
}

/// Whether a commit is on the disk when it returns. With WAL, the other way loses the last ones at a power cut, and nothing else.
pub fn set_durable(db: &Connection, durable: bool) -> Result<()> {
    let level = if durable { "full" } else { "normal" };
    db.pragma_update(None, "synchronous", level)
        .context("failed to say when changes of the store are on the disk")
}

fn is_blank(db: &Connection) -> Result<bool> {
    db.query_row("SELECT count(*) FROM sqlite_master", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(|tables| tables == 0)
    .context("failed to look for tables in the database")
}

fn version(db: &Connection) -> Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .context("failed to read the form of the database")
}
