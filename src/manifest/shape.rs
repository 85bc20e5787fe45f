//! Whether the file has the form that [`file`](super::file) describes: known keys, each once, and values of the right type.
//!
//! The description is the JSON Schema derived from those types, so that there is one list of fields.
//! What does not fit is reported and left out, so that the rules still see everything else.

use std::ops::Range;

use saphyr_parser::ScalarStyle;
use serde_json::Value as Schema;
use serde_yaml::Value;

use super::file;
use super::foreign;
use super::problems::Problem;
use super::schema::SCHEMA;
use super::tree::{Kind, Node};
use super::values::DURATION;

/// More values than any manifest has, also after every alias has been followed.
const MOST_VALUES: usize = 10_000;

/// The file as far as it has the right form, and what has not.
pub(crate) fn check(root: &Node) -> (file::Manifest, Vec<Problem>) {
    let mut form = Form { problems: Vec::new(), seen: 0, shown_at: None };
    let value = form.fit(root, &SCHEMA, "the manifest").unwrap_or(Value::Null);
    if form.seen > MOST_VALUES {
        let problem = Problem::new("the aliases of this file expand to too many values").at(root.span.clone());
        return (file::Manifest::default(), vec![problem]);
    }
    let manifest = match serde_yaml::from_value::<Option<file::Manifest>>(value) {
        Ok(manifest) => manifest.unwrap_or_default(),
        Err(error) => {
            form.problems.push(Problem::new(error.to_string()).at(root.span.clone()));
            file::Manifest::default()
        }
    };
    (manifest, form.problems)
}

struct Form {
    problems: Vec<Problem>,
    seen: usize,
    /// Where the outermost alias being followed stands: what is wrong behind it is shown at the anchor.
    shown_at: Option<Range<usize>>,
}

impl Form {
    /// The part of `node` that fits; `None` when nothing does.
    fn fit(&mut self, node: &Node, schema: &Schema, name: &str) -> Option<Value> {
        self.seen += 1;
        if self.seen > MOST_VALUES {
            return None;
        }
        if node.tagged {
            return self.reject(
                Problem::new("YAML tags have no meaning here")
                    .at(node.span.clone())
                    .hint("remove the '!' and the word after it"),
            );
        }
        match &node.kind {
            Kind::Alias(target) => {
                let outer = self.shown_at.clone();
                self.shown_at = outer.clone().or_else(|| Some(node.span.clone()));
                let value = self.fit(target, schema, name);
                self.shown_at = outer;
                value
            }
            Kind::Mapping { entries, .. } => self.fit_mapping(node, entries, schema, name),
            Kind::Sequence { items, .. } => self.fit_sequence(node, items, schema, name),
            Kind::Scalar { text, style } => self.fit_scalar(node, text, *style, schema, name),
        }
    }

    fn fit_mapping(&mut self, node: &Node, entries: &[(Node, Node)], schema: &Schema, name: &str) -> Option<Value> {
        let properties = schema.get("properties").and_then(Schema::as_object);
        if properties.is_none() && !accepts_any(schema) && schema.get("additionalProperties").is_none() {
            return self.reject(wrong_type(node, schema, name, "a mapping"));
        }
        let mut fitting = serde_yaml::Mapping::new();
        let mut known: Vec<(&str, &Node)> = Vec::new();
        let mut merges = false;
        for (key, value) in entries {
            let Some(text) = key.text() else {
                self.problems.push(Problem::new("a key is a word, not a list or a mapping").at(key.span.clone()));
                continue;
            };
            if let Some((_, first)) = known.iter().find(|(seen, _)| *seen == text) {
                let problem = Problem::new(format!("'{text}' is here twice")).at(key.span.clone());
                self.problems.push(problem.label("remove one of the two").related(first.span.clone(), "first here"));
                continue;
            }
            known.push((text, key));
            if properties.is_some() && is_extension(text) {
                continue;
            }
            if text == "<<" && matches!(key.kind, Kind::Scalar { style: ScalarStyle::Plain, .. }) {
                let problem = Problem::new("the merge key '<<' is not supported").at(key.span.clone());
                self.problems
                    .push(problem.hint("write the fields out, or use an alias for a whole value: 'credentials: *hub'"));
                merges = true;
                continue;
            }
            let schema = match properties.map(|properties| properties.get(text)) {
                None => schema.get("additionalProperties").unwrap_or(&Schema::Bool(true)),
                Some(Some(schema)) => schema,
                Some(None) => {
                    let known = properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str);
                    self.problems.push(unknown_field(key, text, &known.collect::<Vec<_>>(), name));
                    continue;
                }
            };
            if let Some(value) = self.fit(value, schema, text) {
                fitting.insert(Value::String(text.to_owned()), value);
            }
        }
        // Without what was to be merged in, whatever else is said about this mapping would mislead.
        (!merges).then_some(Value::Mapping(fitting))
    }

    fn fit_sequence(&mut self, node: &Node, items: &[Node], schema: &Schema, name: &str) -> Option<Value> {
        let item = match schema.get("items") {
            Some(item) => item,
            None if accepts_any(schema) => &Schema::Bool(true),
            None if name == "registries" => return self.reject(foreign::list(node, "registries")),
            None => return self.reject(wrong_type(node, schema, name, "a list")),
        };
        let in_list = format!("an item of '{name}'");
        // What does not fit becomes an empty entry, so that the rules count items as the file does.
        let fitting = items
            .iter()
            .map(|node| self.fit(node, item, &in_list).unwrap_or(Value::Mapping(serde_yaml::Mapping::new())));
        Some(Value::Sequence(fitting.collect()))
    }

    fn fit_scalar(
        &mut self,
        node: &Node,
        text: &str,
        style: ScalarStyle,
        schema: &Schema,
        name: &str,
    ) -> Option<Value> {
        let value = match style {
            ScalarStyle::Plain if text.is_empty() => Value::Null,
            ScalarStyle::Plain if text.starts_with(is_no_start_of_number_or_word) => Value::String(text.to_owned()),
            ScalarStyle::Plain => serde_yaml::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
            _ => Value::String(text.to_owned()),
        };
        let choices = choices(schema);
        let fits = match &value {
            // A required text that is nothing is a missing one, which its own rule explains better.
            Value::Null => {
                accepts_any(schema)
                    || ["null", "string"].iter().any(|kind| accepts(schema, kind))
                    || schema.get("anyOf").is_some()
            }
            Value::String(text) if !choices.is_empty() => choices.contains(&text.as_str()),
            Value::String(_) => accepts_any(schema) || accepts(schema, "string"),
            Value::Bool(_) => accepts_any(schema) || accepts(schema, "boolean"),
            Value::Number(number) => accepts_any(schema) || accepts(schema, "integer") && number.is_i64(),
            _ => true,
        };
        if fits {
            return Some(value);
        }
        if !choices.is_empty() {
            return self.reject(wrong_choice(node, text, &choices, name));
        }
        self.reject(wrong_type(node, schema, name, kind_of(&value)))
    }

    fn reject(&mut self, problem: Problem) -> Option<Value> {
        let problem = match &self.shown_at {
            Some(alias) if problem.related.is_none() => problem.related(alias.clone(), "used here"),
            _ => problem,
        };
        self.problems.push(problem);
        None
    }
}

/// Whether a key is for its author alone, as those that begin with `x-` are in Compose files.
fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

/// What a parser has read without what is for its author alone, as [`check`] leaves it out.
pub(crate) fn without_extensions(value: Value) -> Value {
    let mut value = value;
    leave_out_extensions(&mut value, &SCHEMA);
    value
}

fn leave_out_extensions(value: &mut Value, schema: &Schema) {
    match value {
        Value::Mapping(fields) => {
            let Some(properties) = schema.get("properties") else { return };
            fields.retain(|key, _| !key.as_str().is_some_and(is_extension));
            for (key, value) in fields.iter_mut() {
                if let Some(schema) = key.as_str().and_then(|key| properties.get(key)) {
                    leave_out_extensions(value, schema);
                }
            }
        }
        Value::Sequence(items) => {
            let schema = schema.get("items").unwrap_or(&Schema::Null);
            for item in items {
                leave_out_extensions(item, schema);
            }
        }
        _ => {}
    }
}

/// Saves asking the parser whether a text such as `docker.io` is a number, a truth value or null.
fn is_no_start_of_number_or_word(first: char) -> bool {
    first.is_ascii_alphabetic() && !matches!(first, 't' | 'T' | 'f' | 'F' | 'n' | 'N')
}

fn unknown_field(key: &Node, text: &str, known: &[&str], parent: &str) -> Problem {
    let problem = Problem::new(format!("unknown field '{text}'")).at(key.span.clone());
    if let Some(near) = nearest(text, known) {
        return problem.label(format!("did you mean '{near}'?"));
    }
    let known: Vec<_> = known.iter().copied().filter(|key| !foreign::is_accepted(key)).collect();
    let place = if parent.contains(' ') { parent.to_owned() } else { format!("'{parent}'") };
    problem.hint(format!("known in {place}: {}", known.join(", ")))
}

fn wrong_choice(node: &Node, text: &str, choices: &[&str], name: &str) -> Problem {
    let problem = Problem::new(format!("'{text}' is not a value of '{name}'")).at(node.span.clone());
    let problem = match nearest(text, choices) {
        Some(near) => problem.label(format!("did you mean '{near}'?")),
        None => problem,
    };
    problem.hint(format!("write {}", choices.join(" or ")))
}

fn wrong_type(node: &Node, schema: &Schema, name: &str, found: &str) -> Problem {
    let wanted = wanted(schema);
    let name = if name.contains(' ') { name.to_owned() } else { format!("'{name}'") };
    let problem = Problem::new(format!("{name} must be {wanted}, not {found}")).at(node.span.clone());
    let text = node.text().unwrap_or_default();
    if wanted == "text" && !text.is_empty() && (found == "a number" || found == "true or false") {
        let duration = schema.get("pattern").and_then(Schema::as_str) == Some(DURATION);
        return if duration {
            problem.hint("write a number and a unit (h, m or s), such as 0s, 5m, 1h30m or 168h")
        } else {
            problem.hint(format!("put it in quotes: \"{text}\""))
        };
    }
    let unquoted = wanted == "a whole number" && text.parse::<i64>().is_ok();
    let unquoted = unquoted || wanted == "true or false" && matches!(text, "true" | "false");
    match text.to_ascii_lowercase().as_str() {
        _ if unquoted => problem.hint(format!("write it without quotes: {text}")),
        "yes" | "on" if wanted == "true or false" => problem.hint("write true"),
        "no" | "off" if wanted == "true or false" => problem.hint("write false"),
        _ => problem,
    }
}

fn wanted(schema: &Schema) -> &'static str {
    if schema.get("properties").is_some() || schema.get("additionalProperties").is_some() {
        "a mapping"
    } else if schema.get("items").is_some() {
        "a list"
    } else if accepts(schema, "integer") {
        "a whole number"
    } else if accepts(schema, "boolean") {
        "true or false"
    } else {
        "text"
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) | Value::Tagged(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
    }
}

fn accepts(schema: &Schema, kind: &str) -> bool {
    match schema.get("type") {
        Some(Schema::String(only)) => only == kind,
        Some(Schema::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

fn accepts_any(schema: &Schema) -> bool {
    ["type", "properties", "items", "enum", "oneOf", "anyOf", "const"].iter().all(|key| schema.get(key).is_none())
}

/// The values of an enumeration, however deep the schema wraps them.
fn choices(schema: &Schema) -> Vec<&str> {
    let parts = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    // A `const` of its own, as `kind` has it, is a field with one value, which its own rule explains better.
    let nested = parts.flat_map(|part| part.get("const").and_then(Schema::as_str).into_iter().chain(choices(part)));
    let listed = schema.get("enum").and_then(Schema::as_array).into_iter().flatten().filter_map(Schema::as_str);
    nested.chain(listed).collect()
}

/// Whether a field that is not there was written, with a slip, under another name: that is told, and it is not missing.
pub(super) fn is_misspelt(mapping: &Node, field: &str) -> bool {
    let names = mapping.target().entries().iter().filter_map(|(key, _)| key.text());
    mapping.get(field).is_none() && names.into_iter().any(|name| nearest(name, &[field]).is_some())
}

fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&text.to_lowercase(), &word.to_lowercase());
    let nearest = known.iter().min_by_key(|word| distance(word))?;
    (distance(nearest) <= (nearest.len() / 3).max(1)).then_some(*nearest)
}
