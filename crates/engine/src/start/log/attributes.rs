//! What a log tells of its container: labels, environment, and a tag.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, Template, TemplateError, Value, ValueFunc};
use regex_lite::Regex;

use crate::model::Container;
use crate::{Error, Result};

/// The tag of drivers that need one.
pub(super) const DEFAULT_TAG: &str = "{{.ID}}";

/// The labels and variables that the options name, under names that `rename` makes of theirs.
pub(super) fn of_container(
    container: &Container,
    rename: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>> {
    let options = &container.host.log_config.options;
    let variables: BTreeMap<_, _> =
        container.config.env.iter().filter_map(|variable| variable.split_once('=')).collect();
    let labels: BTreeMap<_, _> =
        container.config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut attributes = BTreeMap::new();
    for (option, source) in [("labels", &labels), ("env", &variables)] {
        let listed = options.get(option).map(String::as_str).unwrap_or_default();
        let pattern = options.get(&format!("{option}-regex")).filter(|text| !text.is_empty());
        let pattern = pattern.map(|text| regex(text)).transpose()?;
        let matches = |name: &str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
        for (name, value) in source {
            if listed.split(',').any(|wanted| wanted == *name) || matches(name) {
                attributes.insert(rename(name), (*value).to_owned());
            }
        }
    }
    Ok(attributes)
}

fn regex(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|why| Error::invalid(format!("error parsing regexp: {why}: `{text}`")))
}

/// The option `tag`, a template of Go over what Docker's drivers know of a container; `default` without it.
pub(super) fn tag(container: &Container, default: &str) -> Result<String> {
    let wanted = container.host.log_config.options.get("tag").filter(|text| !text.is_empty());
    let template = wanted.map_or(default, String::as_str);
    // The usual ones need no template's machinery.
    match template {
        "" => return Ok(String::new()),
        DEFAULT_TAG => return Ok(container.short_id().to_owned()),
        plain if !plain.contains("{{") => return Ok(plain.to_owned()),
        _ => {}
    }
    Template::new("log-tag")
        .missing_key(gotmpl::MissingKey::Error)
        .funcs(functions())
        .parse(template)
        .and_then(|parsed| parsed.execute_to_string(&facts(container)))
        .map_err(|error| failed(template, &error))
}

fn failed(template: &str, error: &TemplateError) -> Error {
    Error::invalid(match error {
        TemplateError::MissingKey { key } => {
            let column = template.find(&format!(".{key}")).unwrap_or(0);
            format!(
                "template: log-tag:1:{column}: executing \"log-tag\" at <.{key}>: can't evaluate field {key} in \
                 type *logger.Info"
            )
        }
        other => {
            let text = other.to_string();
            format!(
                "template: log-tag:{}",
                text.trim_start_matches("template: ").trim_start_matches("log-tag:")
            )
        }
    })
}

/// The fields and methods of Docker's `logger.Info`.
fn facts(container: &Container) -> Value {
    let text = |text: &str| Value::String(text.into());
    let list = |items: &[String]| Value::List(items.iter().map(|item| text(item)).collect::<Vec<_>>().into());
    let map = |map: &BTreeMap<String, String>| {
        let pairs = map.iter().map(|(name, value)| (Arc::from(name.as_str()), text(value)));
        Value::Map(Arc::new(pairs.collect()))
    };
    let id = container.short_id();
    let image = &container.image_id;
    let config = &container.host.log_config.options;
    let labels = container.config.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let all: BTreeMap<Arc<str>, Value> = [
        ("ID", text(id)),
        ("FullID", text(&container.id)),
        ("Name", text(&container.name)),
        // Docker's twelve letters begin with the algorithm.
        ("ImageID", text(image.get(..12).unwrap_or(image))),
        ("ImageFullID", text(image)),
        ("ImageName", text(&container.config.image)),
        ("DaemonName", text("docker")),
        ("Command", text(&command(container))),
        ("Hostname", text(&rustix::system::uname().nodename().to_string_lossy())),
        ("Config", map(config)),
        ("ContainerID", text(&container.id)),
        ("ContainerName", text(&format!("/{}", container.name))),
        ("ContainerEntrypoint", text(&container.path)),
        ("ContainerArgs", list(&container.args)),
        ("ContainerImageID", text(image)),
        ("ContainerImageName", text(&container.config.image)),
        ("ContainerCreated", text(&container.created.to_string())),
        ("ContainerEnv", list(&container.config.env)),
        ("ContainerLabels", map(&labels)),
        ("LogPath", text(&container.log_path.to_string_lossy())),
    ]
    .into_iter()
    .map(|(name, value)| (Arc::from(name), value))
    .collect();
    Value::Map(Arc::new(all))
}

/// The program and its arguments.
pub(super) fn command(container: &Container) -> String {
    let words = std::iter::once(container.path.as_str()).chain(container.args.iter().map(String::as_str));
    words.collect::<Vec<_>>().join(" ")
}

/// Docker's functions beside Go's own.
fn functions() -> FuncMap {
    let mut functions = FuncMap::new();
    let mut add = |name: &'static str, act: fn(&[Value]) -> Option<Value>| {
        let function: ValueFunc = Arc::new(move |args: &[Value]| {
            act(args).ok_or_else(|| TemplateError::Exec(format!("error calling {name}: wrong arguments")))
        });
        functions.insert(name.into(), function);
    };
    add("lower", |args| Some(string(args.first()?.to_string().to_lowercase())));
    add("upper", |args| Some(string(args.first()?.to_string().to_uppercase())));
    add("title", |args| Some(string(title(&args.first()?.to_string()))));
    add("json", |args| Some(string(json(args.first()?))));
    add("split", |args| {
        let [whole, separator] = args else { return None };
        let (whole, separator) = (whole.to_string(), separator.to_string());
        let pieces = whole.split(separator.as_str()).map(|piece| string(piece.to_owned()));
        Some(Value::List(pieces.collect::<Vec<_>>().into()))
    });
    add("join", |args| {
        let [Value::List(items), separator] = args else { return None };
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        Some(string(items.join(&separator.to_string())))
    });
    add("pad", |args| {
        let [whole, left, right] = args else { return None };
        let spaces = |count: &Value| " ".repeat(length(count));
        let whole = whole.to_string();
        Some(string(if whole.is_empty() { whole } else { spaces(left) + &whole + &spaces(right) }))
    });
    add("truncate", |args| {
        let [whole, count] = args else { return None };
        Some(string(whole.to_string().chars().take(length(count)).collect()))
    });
    functions
}

fn string(text: String) -> Value {
    Value::String(text.as_str().into())
}

fn length(value: &Value) -> usize {
    value.as_int().unwrap_or(0).clamp(0, 4096) as usize
}

fn title(text: &str) -> String {
    let mut begins = true;
    let raise = |letter: char| {
        let raised = if begins { letter.to_uppercase().next().unwrap_or(letter) } else { letter };
        begins = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        raised
    };
    text.chars().map(raise).collect()
}

fn json(value: &Value) -> String {
    match value {
        Value::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Map(map) => {
            let pair = |(name, value): (&Arc<str>, &Value)| format!("{}:{}", quoted(name), json(value));
            format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
