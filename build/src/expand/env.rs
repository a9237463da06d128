//! Variables in the order in which they were first set, as a configuration lists them.

use std::collections::HashMap;

use super::Vars;

/// Names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    entries: Vec<(String, String)>,
    places: HashMap<String, usize>,
    /// Bytes of all names and values.
    size: usize,
}

impl Env {
    /// Of `NAME=value`, as a configuration has them.
    pub fn of_list<S: AsRef<str>>(list: &[S]) -> Env {
        let mut env = Env::default();
        for entry in list {
            let (name, value) = entry.as_ref().split_once('=').unwrap_or((entry.as_ref(), ""));
            env.set(name, value);
        }
        env
    }

    /// A variable keeps the place that it had.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some((_, old)) = self.places.get(name).and_then(|n| self.entries.get_mut(*n)) {
            self.size = self.size - old.len() + value.len();
            *old = value;
            return;
        }
        self.size += name.len() + value.len();
        self.places.insert(name.to_owned(), self.entries.len());
        self.entries.push((name.to_owned(), value));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self.places.get(name)?;
        self.entries.get(*place).map(|(_, value)| value.as_str())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Bytes of all names and values.
    pub fn size(&self) -> usize {
        self.size
    }

    /// As a configuration has them.
    pub fn to_list(&self) -> Vec<String> {
        self.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl Vars for Env {
    fn get(&self, name: &str) -> Option<&str> {
        Env::get(self, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place() {
        let mut env = Env::of_list(&["A=1", "B=2=3", "C"]);
        env.set("A", "22");
        assert_eq!(env.to_list(), ["A=22", "B=2=3", "C="]);
        assert_eq!(env.size(), 8);
        assert_eq!(env.get("D"), None);
    }
}
