//! Kernel modules: which a module needs, in the order in which they have to be loaded.
//!
//! May not: ask kmod. The files are a foreign kernel's, and what they need stands in themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every module file below a directory, by the name that the kernel uses.
pub fn find_all(dir: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "ko") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                found.insert(name.replace('-', "_"), path);
            }
        }
    }
    found
}

/// The files of `wanted` and of all that they need, what is needed first. A name without file is part of the kernel.
pub fn in_order(all: &BTreeMap<String, PathBuf>, wanted: &[&str]) -> Vec<PathBuf> {
    let mut order = Vec::new();
    for name in wanted {
        visit(all, &name.replace('-', "_"), &mut order);
    }
    order
}

fn visit(all: &BTreeMap<String, PathBuf>, name: &str, order: &mut Vec<PathBuf>) {
    let Some(path) = all.get(name) else { return };
    if order.contains(path) {
        return;
    }
    for needed in needs(&std::fs::read(path).unwrap_or_default()) {
        visit(all, &needed.replace('-', "_"), order);
    }
    order.push(path.clone());
}

/// The `depends=` of a module's own information.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else {
        return Vec::new();
    };
    let value = module.get(at + KEY.len()..).unwrap_or_default();
    let end = value.iter().position(|b| *b == 0).unwrap_or(0);
    String::from_utf8_lossy(&value[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_stands_in_it() {
        assert_eq!(
            needs(b"\x7fELF\0license=GPL\0depends=a,b-c\0name=x\0"),
            ["a", "b-c"]
        );
        assert!(needs(b"\0depends=\0").is_empty());
        assert!(needs(b"nothing").is_empty());
    }
}
