//! Paths as text, as Go's `path` treats them: nothing is looked up.

/// The shortest path that means the same. Nothing is above `/`.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The last component.
pub fn last(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// A path from a directory; one that is absolute stays. Whether it ends with a slash is kept, because COPY asks for it.
pub fn join(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("/{directory}/{path}"))
    };
    let is_directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    if is_directory && !joined.ends_with('/') {
        return joined + "/";
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_cleans_them() {
        for (path, short) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/", "a/b/c"),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("./a", "a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), short, "{path}");
        }
        assert_eq!((last("/a/b/"), last("a"), last("")), ("b", "a", ""));
        for (directory, path, whole) in [
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("/app", ".", "/app/"),
            ("/app", "../y", "/y"),
            ("/app", "/z/", "/z/"),
            ("", "", "/"),
            ("/app", "", "/app/"),
            ("/", ".", "/"),
        ] {
            assert_eq!(join(directory, path), whole, "{directory} {path}");
        }
    }
}
