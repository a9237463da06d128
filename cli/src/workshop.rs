//! What commands on images work with: the store, the way layers are made here, the registry client, and the handle that ends it all.
//!
//! May not: be opened by a command that only reads; [`open_store`] is enough for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::containers::Containers;
use engine::networks::ground;
use image::credentials::Credentials;
use image::platform::Platform;
use image::progress::{self, Event, Listener, Step};
use image::provide::{Maker, Means};
use image::registry::{Cancel, Client, Notice, Settings};
use image::store::{Form, Image, Roots, Store};
use image::{rootless, standing};
use monitor::place::RUN_VARIABLE;

use crate::progress::Display;
use crate::session::{Failure, Session};
use crate::signals;

/// Between two looks whether the user has pressed Ctrl-C.
const GLANCE: Duration = Duration::from_millis(50);

/// Where the store of this user lies.
///
/// # Errors
/// An ordinary user has no home.
pub fn roots(session: &Session) -> Result<Roots, Failure> {
    match &session.root {
        Some(root) => {
            let roots = Roots::at(&std::path::absolute(root)?);
            let run = std::env::var_os(RUN_VARIABLE).map(std::path::PathBuf::from);
            Ok(match run.filter(|run| run.is_absolute()) {
                Some(run) => Roots { run, ..roots },
                None => roots,
            })
        }
        None => Ok(Roots::of_user()?),
    }
}

/// The store, for who only reads it or changes names.
///
/// # Errors
/// It cannot be opened.
pub fn open_store(session: &Session) -> Result<Store, Failure> {
    Ok(Store::open(&roots(session)?)?)
}

/// The containers, for who only asks about them or speaks with their monitors. Where a monitor was killed its work is done from here, so
/// an ordinary user enters the user namespace that the container is in.
///
/// # Errors
/// An ordinary user has no home.
pub fn containers(session: &Session) -> Result<Containers, Failure> {
    let containers = Containers::of(&roots(session)?)?;
    if rootless::is_needed() && ground::has_orphans(&containers) {
        ground::enter(containers.roots())?;
    }
    tidy(&containers);
    Ok(containers)
}

/// The containers, for who looks at their networks, too, or changes them. An ordinary user's are where its keeper is.
///
/// # Errors
/// An ordinary user has no home, or namespaces are forbidden.
pub fn containers_on_ground(session: &Session) -> Result<Containers, Failure> {
    let roots = roots(session)?;
    if rootless::is_needed() && ground::is_there(&roots) {
        ground::enter(&roots)?;
        return Ok(Containers::of(&roots)?);
    }
    containers(session)
}

/// Takes away what was mounted in volumes for containers that do not run any more. What cannot be taken away now is looked at again by the
/// next command. An ordinary user's mounts go with their namespace.
pub fn tidy(containers: &Containers) {
    if !rootless::is_needed() && !image::mount::in_user_namespace() {
        let _ = engine::volumes::unmount_unused(containers);
    }
}

/// The containers, for who changes them and needs no image. An ordinary user enters the user namespace that they are in, so this has
/// to come before any thread.
///
/// # Errors
/// An ordinary user has no home, or namespaces are forbidden.
pub fn containers_within(session: &Session) -> Result<Containers, Failure> {
    let roots = roots(session)?;
    if rootless::is_needed() {
        ground::enter(&roots)?;
    }
    let containers = Containers::of(&roots)?;
    tidy(&containers);
    Ok(containers)
}

/// The store and everything that is needed to change it.
pub struct Workshop {
    pub store: Store,
    /// How layers are made here; found out when the first is to be made.
    means: OnceLock<Means>,
    wish: Option<Form>,
    pub cancel: Cancel,
    /// Why layers have a single owner here, for an ordinary user without ids of its own.
    pub single_owner: Option<String>,
    pub is_rootless: bool,
    pub settings: image::settings::Settings,
    headers: Vec<(String, String)>,
    watch: Watch,
}

/// What a command needs that speaks with a registry and leaves the store alone.
pub struct Line {
    cancel: Cancel,
    headers: Vec<(String, String)>,
    _watch: Watch,
}

impl Line {
    /// What ends it.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Who speaks with registries.
    ///
    /// # Errors
    /// A file of configuration is malformed.
    pub fn client(&self, credentials: Credentials) -> Result<Client, Failure> {
        client(credentials, &self.headers, &self.cancel)
    }
}

/// Ctrl-C becomes the end of everything that has the handle.
struct Watch(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Watch {
    fn start(cancel: &Cancel) -> Result<Watch, Failure> {
        signals::catch()?;
        let done = Arc::new(AtomicBool::new(false));
        let watch = thread::spawn({
            let (cancel, done) = (cancel.clone(), done.clone());
            move || {
                while !done.load(Ordering::Relaxed) {
                    if signals::cancelled() {
                        cancel.call();
                        return;
                    }
                    thread::park_timeout(GLANCE);
                }
            }
        });
        Ok(Watch(Some((done, watch))))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((done, watch)) = self.0.take() {
            done.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            // It has nothing to say.
            let _ = watch.join();
        }
    }
}

/// What the user's config.json adds to requests.
fn headers(session: &Session) -> Vec<(String, String)> {
    let config = session.config();
    config.http_headers.clone().into_iter().collect()
}

/// Whoever hears what a registry has to say.
pub type Hearing = Arc<dyn Fn(&str) + Send + Sync>;

fn client(
    credentials: Credentials,
    headers: &[(String, String)],
    cancel: &Cancel,
) -> Result<Client, Failure> {
    let hearing: Hearing = Arc::new(|line| {
        use std::io::Write as _;
        // Nobody reads it, then.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    });
    client_heard(credentials, headers, cancel, hearing)
}

fn client_heard(
    credentials: Credentials,
    headers: &[(String, String)],
    cancel: &Cancel,
    hearing: Hearing,
) -> Result<Client, Failure> {
    let notify = Arc::new(move |notice| {
        if let Some(line) = words_of(&notice) {
            hearing(&line);
        }
    });
    Ok(Client::new(
        Settings {
            headers: headers.to_vec(),
            ..Settings::of_host()
        },
        credentials,
        cancel.clone(),
        notify,
    )?)
}

impl Workshop {
    /// For a command that needs no store.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn for_registry(session: &Session) -> Result<Line, Failure> {
        let cancel = Cancel::new();
        let watch = Watch::start(&cancel)?;
        Ok(Line {
            headers: headers(session),
            cancel,
            _watch: watch,
        })
    }

    /// Opens it. An ordinary user enters a user namespace, so this has to come before any thread.
    ///
    /// # Errors
    /// The store cannot be opened, or namespaces are forbidden.
    pub fn open(session: &Session) -> Result<Workshop, Failure> {
        let roots = roots(session)?;
        let settings = image::settings::Settings::of_user()?;
        let is_rootless = rootless::is_needed();
        let single_owner = match is_rootless {
            true => ground::enter(&roots)?,
            false => None,
        };
        let store = Store::open(&roots)?;
        let wish = wished_form()?.or(settings.form()?);
        let cancel = Cancel::new();
        let watch = Watch::start(&cancel)?;
        Ok(Workshop {
            store,
            means: OnceLock::new(),
            wish,
            cancel,
            single_owner,
            is_rootless,
            settings,
            headers: headers(session),
            watch,
        })
    }

    /// Leaves signals to somebody else: a thread of ours that waits for them would take them away from him.
    pub fn release_signals(&mut self) {
        self.watch = Watch(None);
    }

    /// The containers of this store.
    ///
    /// # Errors
    /// The kernel does not tell its boot id.
    pub fn containers(&self) -> Result<Containers, Failure> {
        let containers = Containers::of(self.store.roots())?;
        tidy(&containers);
        Ok(containers)
    }

    /// Who makes layers.
    ///
    /// # Errors
    /// They cannot be made here as they were wished for.
    pub fn maker<'w>(&'w self, listener: &'w Listener<'w>) -> image::Result<Maker<'w>> {
        let means = match self.means.get() {
            Some(means) => *means,
            None => {
                let means = Means::of_host(&self.store, self.wish)?;
                *self.means.get_or_init(|| means)
            }
        };
        Ok(Maker {
            store: &self.store,
            means,
            cancel: &self.cancel,
            listener,
        })
    }

    /// The layers of an image, made again from their blobs where they are not there.
    ///
    /// # Errors
    /// A blob is away or damaged.
    pub fn layers(&self, image: &Image) -> image::Result<Vec<image::mount::Layer>> {
        let lease = self.store.lease()?;
        standing::layers(&self.maker(&progress::silent)?, &lease, image)
    }

    /// Who speaks with registries.
    ///
    /// # Errors
    /// A file of configuration is malformed.
    pub fn client(&self, credentials: Credentials) -> Result<Client, Failure> {
        client(credentials, &self.headers, &self.cancel)
    }

    /// The same, where stderr shows something else meanwhile.
    ///
    /// # Errors
    /// A file of configuration is malformed.
    pub fn client_heard(&self, credentials: Credentials, hearing: Hearing) -> Result<Client, Failure> {
        client_heard(credentials, &self.headers, &self.cancel, hearing)
    }
}

/// `$BRIG_LAYERS`: `tree` or `erofs`.
///
/// # Errors
/// It says something else.
pub fn wished_form() -> Result<Option<Form>, Failure> {
    match std::env::var("BRIG_LAYERS").ok().as_deref() {
        None | Some("" | "auto") => Ok(None),
        Some("tree") => Ok(Some(Form::Tree)),
        Some("erofs") => Ok(Some(Form::Erofs)),
        Some(other) => Err(Failure::new(
            125,
            format!("BRIG_LAYERS is {other:?}; it may be auto, tree or erofs"),
        )),
    }
}

fn words_of(notice: &Notice) -> Option<String> {
    match notice {
        Notice::Warning { host, text } => Some(format!("Warning: {host}: {text}")),
        Notice::Retrying { host, reason, wait } => Some(format!(
            "{host}: {reason}; trying again in {:.1} s",
            wait.as_secs_f64()
        )),
        Notice::MirrorFailed { host, reason } => Some(format!("Warning: mirror {host}: {reason}")),
        Notice::Waiting { .. } => None,
    }
}

/// A platform that was asked for.
///
/// # Errors
/// It is none.
pub fn platform(text: Option<String>) -> Result<Option<Platform>, Failure> {
    let text = text.or_else(|| {
        std::env::var("DOCKER_DEFAULT_PLATFORM")
            .ok()
            .filter(|p| !p.is_empty())
    });
    match text {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|e: image::Error| Failure::plain(e.to_string())),
    }
}

/// Shows what is told of layers, in Docker's words.
pub fn show<W: std::io::Write>(display: &Display<W>, event: &Event<'_>) {
    let (id, step) = match event {
        Event::Layer { id, step } => (id, step),
        Event::Note(text) | Event::Warning(text) => return display.note(text),
    };
    match step {
        Step::Announced => display.layer(id, "Pulling fs layer", None),
        Step::Waiting => display.layer(id, "Waiting", None),
        Step::Downloading { done, total } => display.layer(id, "Downloading", Some((*done, *total))),
        Step::Retrying { seconds } => display.layer(id, &format!("Retrying in {seconds} seconds"), None),
        Step::Downloaded => display.layer(id, "Download complete", None),
        Step::Extracting { done, total } => display.layer(id, "Extracting", Some((*done, *total))),
        Step::Pulled => display.layer(id, "Pull complete", None),
        Step::Exists => display.layer(id, "Already exists", None),
        Step::Preparing => display.layer(id, "Preparing", None),
        Step::Pushing { done, total } => display.layer(id, "Pushing", Some((*done, *total))),
        Step::Pushed => display.layer(id, "Pushed", None),
        Step::ExistsThere => display.layer(id, "Layer already exists", None),
        Step::Mounted { from } => display.layer(id, &format!("Mounted from {from}"), None),
    }
}
