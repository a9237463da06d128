//! Blobs in: only what is missing, over several connections where one is slow.
//!
//! A blob is first asked for on one connection. If it is large, only its begin is, and the time that takes decides: behind a fast
//! connection more of them only cost work on both sides, behind a slow one they share what each of them cannot have alone (a
//! connection has one congestion window, and stores of objects limit each).
//!
//! May not: compute the digest of a whole blob. Whoever reads it does.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::client::{Client, denied_or, pull_scope};
use super::errors;
use super::hosts::{Endpoint, Plain, Purpose};
use super::http::{Answer, Cause, Failure, Tls};
use super::partial::{Partial, Run};
use super::retry::Attempts;
use super::session::{Ask, Target};
use super::url::Url;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::{Error, Kind, Result};

/// Written per system call; more than a connection reads at once.
const BUFFER: usize = 128 << 10;
/// So much between two failures is progress, and the attempts are counted anew.
const PROGRESS: u64 = 64 << 10;

/// How blobs are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// At most so many connections for one blob.
    pub connections: usize,
    /// Blobs of which no more is missing are fetched on one.
    pub parallel_above: u64,
    /// What is asked for first, and timed.
    pub first: u64,
    /// What is asked for at once after that.
    pub span: u64,
    /// Bytes in a second above which one connection is enough.
    pub fast: u64,
}

impl Default for Transfer {
    fn default() -> Transfer {
        Transfer {
            connections: 4,
            parallel_above: 32 << 20,
            first: 4 << 20,
            span: 8 << 20,
            fast: 120 << 20,
        }
    }
}

/// Where a blob may come from.
enum Source {
    Registry(Endpoint),
    /// An entry of the descriptor's `urls`. No registry of ours: it gets no credentials.
    Elsewhere(Endpoint, Url),
}

impl Client {
    /// Fetches what is missing of a blob. `progress` hears how many bytes are there, from several threads.
    ///
    /// # Errors
    /// As [`Client::manifest`]; of the file system. What came stays for the next time.
    pub fn download(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        partial: &Partial,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        partial.begin();
        progress(partial.have());
        let outcome = self
            .download_from_all(repository, blob, partial, progress)
            .map_err(|f| denied_or(f, repository).context(format!("failed to get blob {}", blob.digest)));
        partial.end(&outcome);
        outcome
    }

    fn download_from_all(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        partial: &Partial,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Failure> {
        if partial.missing().is_empty() {
            return Ok(());
        }
        let endpoints = self
            .inner()
            .hosts
            .endpoints(repository, Purpose::Pull)
            .map_err(Failure::fatal)?;
        let elsewhere = blob.urls.iter().filter_map(|url| elsewhere(url));
        let mut sources: VecDeque<Source> = endpoints
            .into_iter()
            .map(Source::Registry)
            .chain(elsewhere)
            .collect();
        let mut first_failure: Option<Failure> = None;
        while let Some(source) = sources.pop_front() {
            let endpoint = source.endpoint();
            let session = &self.inner().session;
            if endpoint.is_mirror && session.has_given_up_on(endpoint) {
                continue;
            }
            let download = Download {
                client: self,
                source: &source,
                blob,
                partial,
                progress,
                queue: Mutex::new(partial.missing().into()),
                direct: Mutex::default(),
                has_no_ranges: Mutex::new(false),
            };
            let failure = match download.all() {
                Ok(()) => return Ok(()),
                Err(failure) if failure.error.kind() == Kind::Cancelled => return Err(failure),
                Err(failure) => failure,
            };
            if endpoint.is_mirror {
                self.passed_over(endpoint, &failure);
            }
            // What the registry said weighs more than what a stranger says.
            if first_failure.is_none() || (!sources.is_empty() && endpoint.is_mirror) {
                first_failure = Some(failure);
            } else if matches!(source, Source::Registry(_)) {
                first_failure = Some(failure);
            }
        }
        Err(first_failure.unwrap_or_else(|| Failure::fatal(Error::not_found("nobody serves it"))))
    }
}

fn elsewhere(text: &str) -> Option<Source> {
    let url = Url::parse(text).ok()?;
    let endpoint = Endpoint {
        base: url.at(""),
        repository: String::new(),
        tls: Tls::default(),
        plain: Plain::Never,
        headers: Vec::new(),
        namespace: None,
        is_mirror: false,
        dial_timeout: None,
        is_stranger: true,
    };
    Some(Source::Elsewhere(endpoint, url))
}

impl Source {
    fn endpoint(&self) -> &Endpoint {
        match self {
            Source::Registry(endpoint) | Source::Elsewhere(endpoint, _) => endpoint,
        }
    }
}

/// One blob from one source.
struct Download<'a> {
    client: &'a Client,
    source: &'a Source,
    blob: &'a Descriptor,
    partial: &'a Partial,
    progress: &'a (dyn Fn(u64) + Sync),
    /// What nobody fetches yet.
    queue: Mutex<VecDeque<Range<u64>>>,
    /// Where the registry sent us: asked directly while it works.
    direct: Mutex<Option<Url>>,
    /// The source answers with everything, whatever part is asked for.
    has_no_ranges: Mutex<bool>,
}

impl Download<'_> {
    fn all(&self) -> Result<(), Failure> {
        let transfer = self.client.inner().settings.transfer;
        let missing: u64 = self.partial.missing().iter().map(|r| r.end - r.start).sum();
        if transfer.connections <= 1 || missing <= transfer.parallel_above {
            return self.rest(u64::MAX);
        }
        let began = Instant::now();
        if let Some(range) = self.claim(transfer.first) {
            self.range(range)?;
        }
        let rate = transfer.first as f64 / began.elapsed().as_secs_f64().max(1e-6);
        if *locked(&self.has_no_ranges) || rate >= transfer.fast as f64 {
            return self.rest(u64::MAX);
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..transfer.connections)
                .map(|_| scope.spawn(|| self.rest(transfer.span)))
                .collect();
            let outcomes = workers.into_iter().map(|w| {
                w.join()
                    .unwrap_or_else(|_| Err(Failure::fatal(Error::new("a thread that fetched has failed"))))
            });
            // The others go on to their ends when one fails; what they get is kept.
            outcomes.fold(Ok(()), |first, next| if first.is_err() { first } else { next })
        })
    }

    /// Fetches until nothing is left, so much at once.
    fn rest(&self, span: u64) -> Result<(), Failure> {
        while let Some(range) = self.claim(span) {
            if let Err(failure) = self.range(range) {
                // Nobody else need begin what cannot be completed.
                locked(&self.queue).clear();
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The next part of what is missing. It ends where a piece ends, so that no two threads write to one.
    fn claim(&self, most: u64) -> Option<Range<u64>> {
        let mut queue = locked(&self.queue);
        let first = queue.front_mut()?;
        let end = first.start.saturating_add(most).min(first.end);
        let end = if end == first.end {
            end
        } else {
            (end & !((1 << 20) - 1)).max(first.start + 1)
        };
        let claimed = first.start..end;
        first.start = end;
        if first.is_empty() {
            queue.pop_front();
        }
        Some(claimed)
    }

    /// Fetches a range, however often its transfer breaks.
    fn range(&self, mut range: Range<u64>) -> Result<(), Failure> {
        let session = &self.client.inner().session;
        let mut attempts = Attempts::new(session.patience);
        let mut run = self.partial.run(range.start);
        while run.at() < range.end {
            let before = run.at();
            let failure = match self.once(&mut run, &mut range.end) {
                Ok(()) => continue,
                Err(failure) => failure,
            };
            if run.at() - before >= PROGRESS {
                attempts.reset();
            }
            session.pause(&mut attempts, failure, &self.source.endpoint().base)?;
        }
        Ok(())
    }

    /// One request. `end` grows if the answer has more than was asked for, and nobody else has begun on that.
    fn once(&self, run: &mut Run<'_>, end: &mut u64) -> Result<(), Failure> {
        let size = self.partial.size();
        let is_all = run.at() == 0 && *end == size;
        if !is_all && !*locked(&self.has_no_ranges) {
            let range = format!("bytes={}-{}", run.at(), *end - 1);
            let answer = self.answer(&[("range", range.as_str())])?;
            match answer.status {
                206 if self.is_range(&answer, run.at(), *end) => {
                    self.check_length(&answer, *end - run.at())?;
                    return self.body(answer, run.at(), run, *end);
                }
                200 => {
                    *locked(&self.has_no_ranges) = true;
                    *end = self.absorbed(*end);
                    self.check_length(&answer, size)?;
                    return self.body(answer, 0, run, *end);
                }
                // An answer to a range that makes no sense: ask for all of it.
                206 | 416 => *locked(&self.has_no_ranges) = true,
                _ => return Err(odd(&answer)),
            }
        }
        let answer = self.answer(&[])?;
        if answer.status != 200 {
            return Err(odd(&answer));
        }
        if !is_all {
            *end = self.absorbed(*end);
        }
        self.check_length(&answer, size)?;
        self.body(answer, 0, run, *end)
    }

    /// Takes on what follows and nobody has begun.
    fn absorbed(&self, mut end: u64) -> u64 {
        let mut queue = locked(&self.queue);
        while queue.front().is_some_and(|next| next.start == end) {
            end = queue.pop_front().map_or(end, |next| next.end);
        }
        end
    }

    fn check_length(&self, answer: &Answer, expected: u64) -> Result<(), Failure> {
        match answer.length() {
            Some(length) if length != expected => {
                let host = answer.url.authority();
                let text = format!("{host} has {length} bytes where {expected} were expected");
                Err(Failure::fatal(Error::corrupt(text)))
            }
            _ => Ok(()),
        }
    }

    fn answer(&self, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        let session = &self.client.inner().session;
        let endpoint = self.source.endpoint();
        let path = format!("/{}/blobs/{}", endpoint.repository, self.blob.digest);
        let scopes = [pull_scope(endpoint)];
        let (target, scopes): (Target<'_>, &[String]) = match self.source {
            Source::Registry(_) => (Target::Path(&path), &scopes),
            Source::Elsewhere(_, url) => (Target::Given(url), &[]),
        };
        let direct = locked(&self.direct).clone();
        if let Some(url) = direct {
            let ask = Ask {
                headers,
                target: Target::Given(&url),
                ..Ask::bare("GET", "", &[])
            };
            match session.good(endpoint, &ask) {
                Ok(answer) => return Ok(answer),
                // Such addresses are signed for minutes; the registry gives a new one.
                Err(f) if matches!(f.cause, Cause::Status(_)) => *locked(&self.direct) = None,
                Err(f) => return Err(f),
            }
        }
        let ask = Ask {
            headers,
            target,
            ..Ask::bare("GET", "", scopes)
        };
        let answer = session.ask(endpoint, &ask)?;
        if answer.status >= 400 && answer.status != 416 {
            return Err(errors::failure(answer));
        }
        if matches!(self.source, Source::Registry(_)) && answer.url.host != endpoint.base.host {
            *locked(&self.direct) = Some(answer.url.clone());
        }
        Ok(answer)
    }

    fn is_range(&self, answer: &Answer, begin: u64, end: u64) -> bool {
        let value = answer.header("content-range").unwrap_or_default();
        parse_content_range(value).is_some_and(|(range, total)| {
            range == (begin..end) && total.is_none_or(|total| total == self.partial.size())
        })
    }

    /// Takes the body, which begins at `begin`, from where we are up to `end`.
    fn body(&self, answer: Answer, begin: u64, run: &mut Run<'_>, end: u64) -> Result<(), Failure> {
        let url = answer.url;
        let is_whole = answer.status == 200;
        let has_length = answer.headers.contains_key("content-length");
        let mut body = answer.body.into_reader();
        let mut at = begin;
        let mut buffer = vec![0; BUFFER];
        while at < end {
            let room = BUFFER.min(usize::try_from(end - at).unwrap_or(usize::MAX));
            // Handed on as it comes: what waits here for more would be lost if none came.
            match body.read(&mut buffer[..room]) {
                Ok(0) => return Err(Failure::broken(&url, std::io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => self.hand_on(run, &mut at, &buffer[..n])?,
                Err(e) => return Err(Failure::broken(&url, e)),
            }
        }
        // Reading to the end gives the connection back, and finds the body that does not end where it should.
        if !is_whole || end == self.partial.size() {
            match body.read(&mut buffer[..1]) {
                Ok(0) => {}
                Ok(_) => {
                    let text = format!(
                        "{} sends more than the {} bytes of the blob",
                        url.authority(),
                        self.partial.size()
                    );
                    return Err(Failure::fatal(Error::corrupt(text)));
                }
                Err(e) if !has_length => return Err(Failure::broken(&url, e)),
                // All bytes are there.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Writes what is new of `bytes`, which stand at `at`: a source without ranges sends what we have again.
    fn hand_on(&self, run: &mut Run<'_>, at: &mut u64, bytes: &[u8]) -> Result<(), Failure> {
        let end = *at + bytes.len() as u64;
        let known = run.at().saturating_sub(*at).min(bytes.len() as u64) as usize;
        if known < bytes.len() {
            let have = run.put(&bytes[known..]).map_err(Failure::fatal)?;
            (self.progress)(have);
        }
        *at = end;
        Ok(())
    }
}

fn odd(answer: &Answer) -> Failure {
    let text = format!(
        "{} answered {} to a request for a blob",
        answer.url.authority(),
        answer.status
    );
    Failure::fatal(Error::of(Kind::Unavailable, text))
}

/// `bytes 0-99/200` or `bytes 0-99/*`.
pub(super) fn parse_content_range(value: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    if last < first || total.is_some_and(|t| last >= t) {
        return None;
    }
    Some((first..last.checked_add(1)?, total))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (value, expected) in [
            ("bytes 0-99/200", Some((0..100, Some(200)))),
            ("bytes 5-5/*", Some((5..6, None))),
            ("bytes 0-200/200", None),
            ("bytes 9-8/200", None),
            ("bytes */200", None),
            ("bytes +0-1/2", None),
            ("bytes 0-18446744073709551615/*", None),
            ("0-1/2", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(value), expected, "{value:?}");
        }
    }
}
