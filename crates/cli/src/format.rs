//! `--format`: Go templates over what the daemon answered, with Docker's functions.
//!
//! Templates see a typed document: Docker's own types tell a nil list (`[]`) from a nil map (`map[]`) from nothing
//! (`<nil>`), where JSON has `null` for all three. `json` gives back the daemon's own order and nulls.

use crate::json::Json;
use gotmpl::{FuncMap, MissingKey, Template, TemplateError, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Members whose `null` is a nil pointer; of others it is an empty list, or an empty map.
const POINTERS: &[&str] = &[
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "Init",
    "IPAMConfig",
    "Health",
    "Healthcheck",
    "ExitCode",
    "StopTimeout",
    "Config",
    "Descriptor",
    "UsageData",
    "Platform",
];
const MAPS: &[&str] =
    &["Labels", "Volumes", "DriverOpts", "Data", "Options", "Ports", "Networks", "Sysctls", "Status"];

/// Members that Docker's types have although its JSON leaves them out when they are empty: of the object of this
/// name ("" is the document), a member, and what it is then.
const OPTIONAL: &[(&str, &str, Absent)] = &[
    ("", "SizeRw", Absent::Nothing),
    ("", "SizeRootFs", Absent::Nothing),
    ("State", "Health", Absent::Nothing),
    ("Config", "ExposedPorts", Absent::Map),
    ("Config", "Healthcheck", Absent::Nothing),
    ("Config", "MacAddress", Absent::Text),
    ("Config", "Shell", Absent::List),
    ("Config", "StopSignal", Absent::Text),
    ("Config", "StopTimeout", Absent::Nothing),
    ("Config", "Env", Absent::List),
    ("Config", "Cmd", Absent::List),
    ("Config", "Entrypoint", Absent::List),
    ("Config", "Labels", Absent::Map),
    ("Config", "User", Absent::Text),
    ("Config", "Volumes", Absent::Map),
    ("Config", "WorkingDir", Absent::Text),
    ("Config", "OnBuild", Absent::List),
    ("HostConfig", "Annotations", Absent::Map),
    ("HostConfig", "Init", Absent::Nothing),
    ("HostConfig", "Mounts", Absent::List),
    ("HostConfig", "StorageOpt", Absent::Map),
    ("HostConfig", "Sysctls", Absent::Map),
    ("HostConfig", "Tmpfs", Absent::Map),
];

/// What an absent member is in Go.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Nothing,
    Text,
    List,
    Map,
}

impl Absent {
    fn value(self) -> Value {
        match self {
            Absent::Nothing => Value::Nil,
            Absent::Text => Value::String("".into()),
            Absent::List => Value::List(Vec::new().into()),
            Absent::Map => Value::Map(Arc::new(BTreeMap::new())),
        }
    }
}

/// The key under which a row keeps its labels for `.Label "key"`.
pub(crate) const LABELS: &str = "\u{0}labels";

/// A document for templates, and the JSON that each of its lists and maps was made of.
pub(crate) struct Document {
    root: Value,
    sources: Arc<Sources>,
}

/// By the address of a list or a map, which lives as long as its document.
type Sources = HashMap<usize, String>;

impl Document {
    /// Makes a document of JSON.
    pub(crate) fn new(json: &Json) -> Self {
        let mut sources = Sources::new();
        let root = convert("", json, &mut sources);
        Document { root, sources: Arc::new(sources) }
    }

    /// Makes a document that as a whole is shown as this text.
    pub(crate) fn shown_as(json: &Json, shown: String) -> Self {
        let mut sources = Sources::new();
        let root = convert("", json, &mut sources);
        sources.extend(address(&root).map(|address| (address, shown)));
        Document { root, sources: Arc::new(sources) }
    }
}

fn convert(name: &str, json: &Json, sources: &mut Sources) -> Value {
    let value = match json {
        Json::Null if POINTERS.contains(&name) || name.is_empty() => Absent::Nothing.value(),
        Json::Null if MAPS.contains(&name) => Absent::Map.value(),
        Json::Null => Absent::List.value(),
        Json::Bool(value) => Value::Bool(*value),
        Json::Int(value) => Value::Int(*value),
        Json::Uint(value) => Value::Uint(*value),
        Json::Float(value) => Value::Float(*value),
        Json::String(value) => Value::String(value.as_str().into()),
        Json::List(items) => {
            Value::List(items.iter().map(|item| convert("", item, sources)).collect::<Vec<_>>().into())
        }
        Json::Object(members) => {
            let given =
                members.iter().map(|(key, value)| (key.as_str().into(), convert(key, value, sources)));
            let mut object: BTreeMap<Arc<str>, Value> = given.collect();
            // Of all documents, only a container's has sizes.
            let is_known = !name.is_empty() || object.contains_key("HostConfig");
            for (_, key, absent) in OPTIONAL.iter().filter(|(of, ..)| is_known && *of == name) {
                object.entry((*key).into()).or_insert_with(|| absent.value());
            }
            Value::Map(Arc::new(object))
        }
    };
    if let Some(address) = address(&value) {
        sources.insert(address, json.compact());
    }
    value
}

/// Where a list or a map lives.
fn address(value: &Value) -> Option<usize> {
    match value {
        // Even an empty one has an allocation of its own.
        Value::List(items) => Some(items.as_ptr() as usize),
        Value::Map(members) => Some(Arc::as_ptr(members) as usize),
        _ => None,
    }
}

/// A template that is understood.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    source: String,
}

impl Format {
    /// Reads a template, with `\t` and `\n` as in a table's format.
    pub(crate) fn new(source: &str) -> Result<Self, String> {
        let source = source.trim().replace("\\t", "\t").replace("\\n", "\n");
        let source = with_labels(if source == "json" { "{{json .}}" } else { &source });
        let format = Format { source };
        match format.template(functions(Arc::default()), MissingKey::Error) {
            Ok(_) => Ok(format),
            Err(reason) => Err(format.told(&reason)),
        }
    }

    /// What the template makes of a document.
    pub(crate) fn render(&self, document: &Document) -> Result<String, String> {
        let render = |missing| {
            let template = self.template(functions(Arc::clone(&document.sources)), missing)?;
            template.execute_to_string(&document.root)
        };
        render(MissingKey::Error)
            // No key is missing here, so what has no value is a nil pointer.
            .map(|text| text.replace("<no value>", "<nil>"))
            .or_else(|reason| match &reason {
                // A map of strings may lack a key, a struct may not lack a field.
                TemplateError::MissingKey { key } if self.asks_map(key) => render(MissingKey::Invalid),
                _ => Err(reason),
            })
            .map_err(|reason| self.told(&reason))
    }

    fn asks_map(&self, key: &str) -> bool {
        ["Labels", "Attributes"].iter().chain(MAPS).any(|map| self.source.contains(&format!(".{map}.{key}")))
    }

    /// A failure with its place, as Go tells it.
    fn told(&self, reason: &TemplateError) -> String {
        match reason {
            TemplateError::MissingKey { key } => {
                let column = self.source.find(&format!(".{key}")).unwrap_or(0);
                format!("template: :1:{column}: executing \"\" at <.{key}>: map has no entry for key {key:?}")
            }
            other => {
                // Go's parser tells the line, and not the column.
                let text = other.to_string();
                let text = text.trim_start_matches("template: ");
                match text.splitn(3, ':').collect::<Vec<_>>()[..] {
                    [line, _, what] if line.parse::<u32>().is_ok() => format!("template: :{line}:{what}"),
                    _ => format!("template: :1: {text}"),
                }
            }
        }
    }

    /// The line of headers: the template over the columns' titles, where no function changes anything.
    pub(crate) fn header(&self, titles: &[(&str, &str)]) -> Result<String, String> {
        let root: BTreeMap<Arc<str>, Value> =
            titles.iter().map(|(name, title)| ((*name).into(), Value::String((*title).into()))).collect();
        self.template(unchanged(), MissingKey::Error)
            .and_then(|template| template.execute_to_string(&Value::Map(Arc::new(root))))
            .map_err(|reason| self.told(&reason))
    }

    fn template(&self, functions: FuncMap, missing: MissingKey) -> Result<Template, TemplateError> {
        Template::new("").missing_key(missing).funcs(functions).parse(&self.source)
    }
}

/// Turns the method call `.Label "key"` into a call of the function `label`.
fn with_labels(source: &str) -> String {
    let mut rest = source;
    let mut result = String::with_capacity(source.len());
    while let Some(at) = rest.find(".Label") {
        let after = &rest[at + ".Label".len()..];
        result.push_str(&rest[..at]);
        result.push_str(if after.trim_start().starts_with(['"', '`']) { "label ." } else { ".Label" });
        rest = after;
    }
    result + rest
}

type Answer = Result<Value, TemplateError>;

fn function(act: impl Fn(&[Value]) -> Answer + Send + Sync + 'static) -> gotmpl::ValueFunc {
    Arc::new(act)
}

fn string(text: impl AsRef<str>) -> Answer {
    Ok(Value::String(text.as_ref().into()))
}

fn wrong(function: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {function}: wrong number or type of arguments"))
}

/// Docker's functions beside Go's own.
fn functions(sources: Arc<Sources>) -> FuncMap {
    let mut functions = FuncMap::new();
    let mut add = |name: &str, function| functions.insert(name.into(), function);
    add(
        "json",
        function(move |args| match args {
            [value] => string(json_of(value, &sources)),
            _ => Err(wrong("json")),
        }),
    );
    for (name, change) in TEXT {
        add(
            name,
            function(move |args| match args {
                [value] => string(change(&value.to_string())),
                _ => Err(wrong(name)),
            }),
        );
    }
    add(
        "split",
        function(|args| match args {
            [text, separator] => {
                let (text, separator) = (text.to_string(), separator.to_string());
                let pieces = text.split(separator.as_str()).map(|piece| Value::String(piece.into()));
                Ok(Value::List(pieces.collect::<Vec<_>>().into()))
            }
            _ => Err(wrong("split")),
        }),
    );
    add(
        "join",
        function(|args| match args {
            [Value::List(items), separator] => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                string(items.join(&separator.to_string()))
            }
            _ => Err(wrong("join")),
        }),
    );
    add(
        "pad",
        function(|args| match args {
            [text, left, right] => {
                let spaces = |count: &Value| " ".repeat(count.as_int().unwrap_or(0).clamp(0, 4096) as usize);
                match text.to_string() {
                    text if text.is_empty() => string(text),
                    text => string(spaces(left) + &text + &spaces(right)),
                }
            }
            _ => Err(wrong("pad")),
        }),
    );
    add(
        "truncate",
        function(|args| match args {
            [text, length] => {
                let length = length.as_int().unwrap_or(0).max(0) as usize;
                string(text.to_string().chars().take(length).collect::<String>())
            }
            _ => Err(wrong("truncate")),
        }),
    );
    add(
        "label",
        function(|args| match args {
            [row, key] => Ok(row
                .field(LABELS)
                .and_then(|labels| labels.field(&key.to_string()).cloned())
                .unwrap_or_else(|| Value::String("".into()))),
            _ => Err(wrong("Label")),
        }),
    );
    add("index", function(index));
    functions
}

/// A function from text to text.
type Change = fn(&str) -> String;

const TEXT: [(&str, Change); 3] = [
    ("lower", |text| text.to_lowercase()),
    ("upper", |text| text.to_uppercase()),
    ("title", |text| {
        let mut at_start = true;
        text.chars()
            .flat_map(|c| {
                let upper = at_start;
                at_start = c.is_whitespace();
                if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
            })
            .collect()
    }),
];

/// Go's `index`: what a map of strings does not have is "".
fn index(args: &[Value]) -> Answer {
    let Some((value, keys)) = args.split_first() else { return Err(wrong("index")) };
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(members), Value::String(key)) if !members.contains_key(&**key) => {
                match members.values().next() {
                    None | Some(Value::String(_)) => Value::String("".into()),
                    Some(Value::List(_)) => Value::List(Vec::new().into()),
                    _ => Value::Nil,
                }
            }
            _ => value.index(key)?,
        };
    }
    Ok(value)
}

/// The functions for a line of headers: the value stays as it is.
fn unchanged() -> FuncMap {
    let mut functions = FuncMap::new();
    for name in ["json", "lower", "upper", "title", "split", "join", "pad", "truncate"] {
        functions.insert(name.into(), function(|args| Ok(args.first().cloned().unwrap_or(Value::Nil))));
    }
    functions.insert(
        "label".into(),
        function(|args| match args {
            [_, key] => string(label_title(&key.to_string())),
            _ => Err(wrong("Label")),
        }),
    );
    functions
}

/// A label's column: the last part of its key.
fn label_title(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ")
}

/// The JSON a value was made of, or that it makes.
fn json_of(value: &Value, sources: &Sources) -> String {
    if let Some(source) = address(value).and_then(|address| sources.get(&address)) {
        return source.clone();
    }
    match value {
        Value::Nil | Value::Function(_) => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Float(value) => Json::Float(*value).compact(),
        Value::String(text) => Json::from(&**text).compact(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| json_of(item, sources)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(members) => {
            let members: Vec<String> = members
                .iter()
                .filter(|(key, _)| &***key != LABELS)
                .map(|(key, value)| format!("{}:{}", Json::from(&**key).compact(), json_of(value, sources)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        // The feature with further kinds is off.
        #[allow(
            unreachable_patterns,
            reason = "gotmpl's Value grows a variant if another crate asks for html"
        )]
        _ => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests;
