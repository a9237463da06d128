//! What a template works on: Go's values as far as `text/template` and `%v` can tell them apart.
//!
//! May not: print itself; see `printing.rs` and `json.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// One value. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    /// What Go's reflection calls the zero Value: an absent key. Prints `<no value>`.
    Missing,
    /// A nil interface: JSON's null.
    Nil,
    /// A nil pointer to a type. Prints `<nil>`.
    NilPointer(&'static str),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A time.Duration, in nanoseconds: a number that prints as `1m30s`.
    Duration(i64),
    Text(Rc<str>),
    /// A json.Number: text of its own type.
    Number(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    Struct(Rc<Struct>),
    /// A method that wants arguments.
    Method(Rc<Method>),
}

/// A slice.
#[derive(Debug)]
pub struct List {
    /// Go's name of the type, `[]string` for example.
    pub kind: &'static str,
    pub items: Vec<Value>,
    /// A nil slice is `null` in JSON and `[]` in `%v`.
    pub is_nil: bool,
}

/// A map with text as keys, which is the only kind there is here.
#[derive(Debug)]
pub struct Map {
    /// Go's name of the type.
    pub kind: &'static str,
    pub entries: BTreeMap<String, Value>,
    pub is_nil: bool,
    /// Methods of the map's type.
    pub methods: BTreeMap<&'static str, Value>,
}

impl Map {
    /// A map[string]string.
    pub fn of_text(entries: BTreeMap<String, String>) -> Map {
        Map {
            kind: "map[string]string",
            entries: entries.into_iter().map(|(k, v)| (k, v.into())).collect(),
            is_nil: false,
            methods: BTreeMap::new(),
        }
    }
}

/// How a struct appears in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Fields in their order.
    Struct,
    /// Docker's rows: an object of all methods without arguments, sorted, with `<`, `>` and `&` escaped.
    Row,
}

/// A struct with its fields in order.
#[derive(Debug)]
pub struct Struct {
    /// Go's name of the type, `image.InspectResponse` for example.
    pub kind: &'static str,
    pub fields: Vec<Field>,
    pub shape: Shape,
}

/// A field, or a method without arguments of a row.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// The key in JSON, where it is another one; `-` keeps it out.
    pub key: &'static str,
    pub omit_empty: bool,
    /// A struct whose fields are reached, and written to JSON, as if they were the outer one's.
    pub embedded: bool,
    pub value: Value,
}

impl Struct {
    /// Without fields yet.
    pub fn new(kind: &'static str) -> Struct {
        Struct {
            kind,
            fields: Vec::new(),
            shape: Shape::Struct,
        }
    }

    /// A row of a list.
    pub fn row(kind: &'static str) -> Struct {
        Struct {
            shape: Shape::Row,
            ..Struct::new(kind)
        }
    }

    /// Adds a field that JSON knows by the same name.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl Into<Value>) -> Struct {
        self.with_key(name, name, value)
    }

    /// Adds a field that JSON knows by another name.
    #[must_use]
    pub fn with_key(mut self, name: &'static str, key: &'static str, value: impl Into<Value>) -> Struct {
        self.fields.push(Field {
            name,
            key,
            omit_empty: false,
            embedded: false,
            value: value.into(),
        });
        self
    }

    /// Adds a field that JSON leaves out when it is empty.
    #[must_use]
    pub fn with_optional(mut self, name: &'static str, value: impl Into<Value>) -> Struct {
        self.fields.push(Field {
            name,
            key: name,
            omit_empty: true,
            embedded: false,
            value: value.into(),
        });
        self
    }

    /// The same with another key.
    #[must_use]
    pub fn with_key_optional(
        mut self,
        name: &'static str,
        key: &'static str,
        value: impl Into<Value>,
    ) -> Struct {
        self.fields.push(Field {
            name,
            key,
            omit_empty: true,
            embedded: false,
            value: value.into(),
        });
        self
    }

    /// Adds a pointer, which JSON leaves out when it is nil and only then.
    #[must_use]
    pub fn with_pointer(
        self,
        name: &'static str,
        kind: &'static str,
        value: Option<impl Into<Value>>,
    ) -> Struct {
        match value {
            Some(value) => self.with(name, value),
            None => self.with_optional(name, Value::NilPointer(kind)),
        }
    }

    /// Adds a struct whose fields count as ours.
    #[must_use]
    pub fn embedding(mut self, name: &'static str, inner: Struct) -> Struct {
        self.fields.push(Field {
            name,
            key: name,
            omit_empty: false,
            embedded: true,
            value: inner.into(),
        });
        self
    }

    /// A field by its name; our own before those of embedded structs.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let own = self.fields.iter().find(|f| f.name == name).map(|f| &f.value);
        own.or_else(|| {
            self.fields
                .iter()
                .filter(|f| f.embedded)
                .find_map(|f| match &f.value {
                    Value::Struct(inner) => inner.field(name),
                    _ => None,
                })
        })
    }

    /// What JSON shows: embedded structs taken apart, empty fields left out where they may be.
    pub fn members(&self) -> Vec<(&'static str, &Value)> {
        let mut members = Vec::new();
        for field in &self.fields {
            match &field.value {
                Value::Struct(inner) if field.embedded => members.extend(inner.members()),
                _ if field.key == "-" || (field.omit_empty && field.value.is_empty()) => {}
                value => members.push((field.key, value)),
            }
        }
        members
    }
}

/// What a method does.
type Call = dyn Fn(&[Value]) -> Result<Value, String>;

/// A method with arguments, all of them text.
pub struct Method {
    /// How many it takes.
    pub arguments: usize,
    pub call: Box<Call>,
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method/{}", self.arguments)
    }
}

impl Value {
    /// A method with arguments.
    pub fn method(arguments: usize, call: impl Fn(&[Value]) -> Result<Value, String> + 'static) -> Value {
        Value::Method(Rc::new(Method {
            arguments,
            call: Box::new(call),
        }))
    }

    /// A nil slice of text.
    pub fn nil_list() -> Value {
        Value::List(Rc::new(List {
            kind: "[]string",
            items: Vec::new(),
            is_nil: true,
        }))
    }

    /// A slice of some type.
    pub fn list(kind: &'static str, items: Vec<Value>) -> Value {
        Value::List(Rc::new(List {
            kind,
            items,
            is_nil: false,
        }))
    }

    /// Go's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Missing | Value::Nil => "<nil>",
            Value::NilPointer(kind) => kind,
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Float(_) => "float64",
            Value::Duration(_) => "time.Duration",
            Value::Text(_) => "string",
            Value::Number(_) => "json.Number",
            Value::List(list) => list.kind,
            Value::Map(map) => map.kind,
            Value::Struct(s) => s.kind,
            Value::Method(_) => "func(string) string",
        }
    }

    /// Whether `if` takes it for true.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing | Value::Nil | Value::NilPointer(_) => false,
            Value::Bool(b) => *b,
            Value::Int(n) | Value::Duration(n) => *n != 0,
            Value::Uint(n) => *n != 0,
            Value::Float(f) => *f != 0.0,
            Value::Text(t) | Value::Number(t) => !t.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Struct(_) | Value::Method(_) => true,
        }
    }

    /// What `encoding/json` takes for empty; a struct never is.
    pub fn is_empty(&self) -> bool {
        !self.is_true()
    }

    /// The text, of text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Value {
        i64::try_from(n).map_or(Value::Uint(n), Value::Int)
    }
}

impl From<Vec<String>> for Value {
    fn from(items: Vec<String>) -> Value {
        Value::list("[]string", items.into_iter().map(Value::from).collect())
    }
}

impl From<BTreeMap<String, String>> for Value {
    fn from(entries: BTreeMap<String, String>) -> Value {
        Value::Map(Rc::new(Map::of_text(entries)))
    }
}

impl From<Struct> for Value {
    fn from(s: Struct) -> Value {
        Value::Struct(Rc::new(s))
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        Value::Map(Rc::new(map))
    }
}

/// As Go decodes JSON without a type to go by: `map[string]interface {}`, `[]interface {}`, json.Number.
impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(n) => Value::Number(n.to_string().into()),
            serde_json::Value::String(s) => s.as_str().into(),
            serde_json::Value::Array(items) => {
                Value::list("[]interface {}", items.iter().map(Value::from).collect())
            }
            serde_json::Value::Object(entries) => Value::Map(Rc::new(Map {
                kind: "map[string]interface {}",
                entries: entries.iter().map(|(k, v)| (k.clone(), Value::from(v))).collect(),
                is_nil: false,
                methods: BTreeMap::new(),
            })),
        }
    }
}
