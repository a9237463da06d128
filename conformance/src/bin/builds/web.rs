//! A server of the web on loopback: the files of one directory.
//!
//! May not: do more than GET and HEAD. Its thread ends with the program.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub const ADDRESS: &str = "127.0.0.1:8000";
/// When every file of it was last changed, as HTTP says it and in seconds.
const CHANGED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
pub const CHANGED_SECONDS: i64 = 1_700_000_000;

pub struct Web {
    root: PathBuf,
    sent: Arc<AtomicUsize>,
}

impl Web {
    pub fn start(root: &Path) -> Result<Web, String> {
        std::fs::create_dir_all(root).map_err(|e| format!("{}: {e}", root.display()))?;
        let listener = TcpListener::bind(ADDRESS).map_err(|e| format!("{ADDRESS}: {e}"))?;
        let web = Web {
            root: root.to_owned(),
            sent: Arc::default(),
        };
        let (root, sent) = (web.root.clone(), web.sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, sent) = (root.clone(), sent.clone());
                // Whoever went away in the middle knows that.
                std::thread::spawn(move || drop(answer(stream, &root, &sent)));
            }
        });
        Ok(web)
    }

    /// Puts a file there; the answer is its address.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<String, String> {
        let path = self.root.join(name);
        std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(format!("http://{ADDRESS}/{name}"))
    }

    /// How many files it has sent whole.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, root: &Path, sent: &AtomicUsize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = String::new();
    while reader.read_line(&mut headers)? > 2 {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let mut stream = stream;
    let Ok(content) = std::fs::read(root.join(path)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let tag = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let tag = format!("\"{tag:016x}\"");
    if headers
        .lines()
        .any(|line| line.to_lowercase().starts_with("if-none-match") && line.contains(&tag))
    {
        return stream.write_all(
            format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n").as_bytes(),
        );
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {tag}\r\nLast-Modified: {CHANGED}\r\n\
         Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes())?;
    if method == "GET" {
        sent.fetch_add(1, Ordering::SeqCst);
        stream.write_all(&content)?;
    }
    Ok(())
}
