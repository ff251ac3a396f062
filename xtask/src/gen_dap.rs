//! Generates `adapter/dap/src/generated.rs` from the official JSON schema of the Debug Adapter Protocol.
//!
//! The schema is given by path and is not part of this repository. What comes out is the protocol's names and
//! shapes without the schema's prose, in the schema's order, formatted, and the same on every run.

mod names;
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use names::{camel_case, enum_name, field_name, last_part, rust_name, type_doc, variant_name};
use schema::{Additional, Definition, Kind, Schema};

/// The largest integer that every JSON reader keeps exact; the schema marks lines and columns with it.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Definitions that are written by hand in the crate, or have no shape of their own.
const BY_HAND: &[&str] = &["ProtocolMessage", "Request", "Event", "Response"];

/// Arguments that belong to the adapter, which gets them as they were sent.
const RAW_ARGUMENTS: &[&str] = &["LaunchRequestArguments", "AttachRequestArguments"];

/// Reads the schema at `schema` and writes the generated module to `out`.
pub fn run(schema: &Path, out: &Path) -> Result<()> {
    let text = std::fs::read_to_string(schema).with_context(|| {
        format!("cannot read the schema {}; give its path with --schema", schema.display())
    })?;
    let schema: Schema =
        serde_json::from_str(&text).context("the schema is not a JSON schema as expected")?;
    let code = format_rust(&Generator::new(schema).generate()?)?;
    std::fs::write(out, code).with_context(|| format!("cannot write {}", out.display()))
}

/// Formats with the repository's own settings, so that what is generated passes the format check.
fn format_rust(code: &str) -> Result<String> {
    let config = "max_width=110,use_small_heuristics=Max";
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", config])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt; install it with `rustup component add rustfmt`")?;
    let mut stdin = child.stdin.take().context("rustfmt has no standard input")?;
    let code = code.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(code.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the thread that feeds rustfmt panicked"))??;
    ensure!(output.status.success(), "rustfmt refused the generated code");
    Ok(String::from_utf8(output.stdout)?)
}

struct Generator {
    definitions: BTreeMap<String, Definition>,
    order: Vec<String>,
    /// Enumerations found in properties: name, open or closed, values; in the order of their discovery.
    enums: Vec<Enumeration>,
    structs: String,
}

struct Enumeration {
    name: String,
    is_open: bool,
    values: Vec<String>,
}

/// One request of the protocol.
struct RequestRow {
    name: String,
    command: String,
    arguments: String,
    body: String,
    needs_arguments: bool,
    needs_body: bool,
}

/// One event of the protocol.
struct EventRow {
    name: String,
    event: String,
    body: String,
    needs_body: bool,
}

/// A property's type in Rust, and how its value is checked beyond its shape.
struct Shape {
    rust: String,
    check: Check,
}

enum Check {
    Nothing,
    /// The type has a `Validate` of its own.
    Own,
    Range(Option<f64>, Option<f64>),
}

impl Shape {
    fn plain(rust: &str) -> Self {
        Self { rust: rust.to_owned(), check: Check::Nothing }
    }

    fn checked(rust: &str) -> Self {
        Self { rust: rust.to_owned(), check: Check::Own }
    }
}

impl Generator {
    fn new(schema: Schema) -> Self {
        let order = schema.definitions.0.iter().map(|(name, _)| name.clone()).collect();
        let definitions = schema.definitions.0.into_iter().collect();
        Self { definitions, order, enums: Vec::new(), structs: String::new() }
    }

    fn generate(mut self) -> Result<String> {
        let mut requests = Vec::new();
        let mut events = Vec::new();
        for name in self.order.clone() {
            let definition = self.definitions[&name].clone();
            if BY_HAND.contains(&name.as_str()) || name.ends_with("Response") && name != "ErrorResponse" {
                continue;
            }
            if let Some(request) = name.strip_suffix("Request") {
                requests.push(self.request(request, &definition)?);
            } else if let Some(event) = name.strip_suffix("Event") {
                events.push(self.event(event, &definition)?);
            } else if RAW_ARGUMENTS.contains(&name.as_str()) {
                let doc = type_doc(&name);
                writeln!(self.structs, "{doc}pub type {name} = Map<String, Value>;\n")?;
            } else if name == "ErrorResponse" {
                self.body("ErrorResponse", &definition)?;
            } else if let Some((is_open, values)) = values_of(&definition) {
                self.enums.push(Enumeration { name: rust_name(&name), is_open, values });
            } else if definition.is_kind("object") || !definition.all_of.is_empty() {
                let mut whole = definition.own_part().clone();
                if let Some(base) = definition.all_of.iter().find_map(|part| part.reference.as_deref()) {
                    let base = self.definition(base)?.clone();
                    whole.properties.0.splice(0..0, base.properties.0);
                    whole.required.extend(base.required);
                }
                self.structure(&rust_name(&name), &type_doc(&name), &whole)?;
            } else {
                bail!("the definition {name} is of a kind that the generator does not know");
            }
        }
        self.assemble(&requests, &events)
    }

    fn definition(&self, reference: &str) -> Result<&Definition> {
        let name = last_part(reference);
        self.definitions
            .get(name)
            .with_context(|| format!("the schema refers to {name}, which it does not define"))
    }

    fn request(&mut self, name: &str, definition: &Definition) -> Result<RequestRow> {
        let part = definition.own_part();
        let command = constant_of(part, "command")?;
        let arguments = match part.property("arguments") {
            Some(Definition { reference: Some(reference), .. }) => rust_name(last_part(reference)),
            Some(_) => bail!("the arguments of {name} are not a reference"),
            None => "Empty".to_owned(),
        };
        let response = format!("{name}Response");
        let response_definition = self.definition(&response)?.clone();
        let body = self.body(&response, &response_definition)?;
        let needs_arguments = part.required.iter().any(|key| key == "arguments");
        let needs_body = needs_body(&response_definition);
        Ok(RequestRow { name: name.to_owned(), command, arguments, body, needs_arguments, needs_body })
    }

    fn event(&mut self, name: &str, definition: &Definition) -> Result<EventRow> {
        let event = constant_of(definition.own_part(), "event")?;
        let body = self.body(&format!("{name}Event"), definition)?;
        Ok(EventRow { name: name.to_owned(), event, body, needs_body: needs_body(definition) })
    }

    /// The type of a response's or an event's body, which is a structure of its own where it is written in place.
    fn body(&mut self, name: &str, definition: &Definition) -> Result<String> {
        let part = definition.own_part();
        let Some(body) = part.property("body").cloned() else { return Ok("Empty".to_owned()) };
        if let Some(reference) = &body.reference {
            return Ok(rust_name(last_part(reference)));
        }
        let body_name = format!("{name}Body");
        self.structure(&body_name, &type_doc(name), &body)?;
        let may_lack = !needs_body(definition) && !body.required.is_empty();
        Ok(if may_lack { format!("Option<{body_name}>") } else { body_name })
    }

    fn structure(&mut self, name: &str, doc: &str, definition: &Definition) -> Result<()> {
        if definition.properties.0.is_empty() {
            writeln!(self.structs, "{doc}pub type {name} = Empty;\n")?;
            return Ok(());
        }
        let mut fields = String::new();
        let mut checks = String::new();
        for (wire, property) in &definition.properties.0 {
            let shape = self.shape(name, wire, property)?;
            let is_required = definition.required.contains(wire);
            let field = field_name(wire);
            let mut attributes = Vec::new();
            if camel_case(&field) != *wire {
                attributes.push(format!("rename = \"{wire}\""));
            }
            let rust = if is_required {
                shape.rust
            } else {
                attributes.push("skip_serializing_if = \"Option::is_none\"".to_owned());
                format!("Option<{}>", shape.rust)
            };
            if !attributes.is_empty() {
                writeln!(fields, "#[serde({})]", attributes.join(", "))?;
            }
            writeln!(fields, "pub {field}: {rust},")?;
            match shape.check {
                Check::Nothing => {}
                Check::Own => writeln!(checks, "at.field(\"{wire}\", &self.{field});")?,
                Check::Range(minimum, maximum) => {
                    let value =
                        if is_required { format!("Some(self.{field})") } else { format!("self.{field}") };
                    let (minimum, maximum) = (bound(minimum), bound(maximum));
                    writeln!(checks, "at.within(\"{wire}\", {value}, {minimum}, {maximum});")?;
                }
            }
        }
        let derives = "#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]";
        let camel = "#[serde(rename_all = \"camelCase\")]";
        writeln!(self.structs, "{doc}{derives}\n{camel}\npub struct {name} {{\n{fields}}}\n")?;
        let at = if checks.is_empty() { "_" } else { "at" };
        writeln!(
            self.structs,
            "impl Validate for {name} {{ fn validate(&self, {at}: &mut At) {{ {checks} }} }}\n"
        )?;
        Ok(())
    }

    /// The Rust type of the property `wire` of the structure `owner`.
    fn shape(&mut self, owner: &str, wire: &str, property: &Definition) -> Result<Shape> {
        if let Some(reference) = &property.reference {
            return Ok(Shape::checked(&rust_name(last_part(reference))));
        }
        if let Some((is_open, values)) = values_of(property) {
            let name = enum_name(owner, wire);
            self.enums.push(Enumeration { name: name.clone(), is_open, values });
            return Ok(Shape::checked(&name));
        }
        // The one property without a type is a launch or an attach configuration.
        let Some(kind) = &property.kind else { return Ok(Shape::plain("Map<String, Value>")) };
        let kind = match kind {
            Kind::One(kind) => kind.as_str(),
            Kind::Many(kinds) if kinds == &["integer", "string"] => return Ok(Shape::plain("ModuleId")),
            Kind::Many(kinds) if kinds == &["string", "null"] => return Ok(Shape::plain("Option<String>")),
            Kind::Many(_) => return Ok(Shape::plain("Value")),
        };
        Ok(match kind {
            "string" => Shape::plain("String"),
            "boolean" => Shape::plain("bool"),
            "number" => {
                Shape { rust: "f64".to_owned(), check: Check::Range(property.minimum, property.maximum) }
            }
            "integer" => integer_shape(owner, wire, property),
            "array" => {
                let items =
                    property.items.as_deref().with_context(|| format!("{owner}.{wire} has no items"))?;
                let item = self.shape(owner, wire.strip_suffix('s').unwrap_or(wire), items)?;
                let check = if matches!(item.check, Check::Own) { Check::Own } else { Check::Nothing };
                Shape { rust: format!("Vec<{}>", item.rust), check }
            }
            "object" => match &property.additional {
                Some(Additional::Any(true)) => Shape::plain("BTreeMap<String, Value>"),
                Some(Additional::Of(values)) => {
                    let value = self.shape(owner, wire, values)?;
                    Shape::plain(&format!("BTreeMap<String, {}>", value.rust))
                }
                _ if property.reference.is_none() && property.properties.0.is_empty() => {
                    Shape::plain("Value")
                }
                _ => bail!("{owner}.{wire} is an object in place, which the generator does not know here"),
            },
            other => bail!("{owner}.{wire} has the type {other}, which the generator does not know"),
        })
    }

    fn assemble(self, requests: &[RequestRow], events: &[EventRow]) -> Result<String> {
        let mut out = String::from(HEADER);
        for enumeration in &self.enums {
            let how = if enumeration.is_open { "open" } else { "closed" };
            let doc = format!("/// The values of `{}`.\n", enumeration.name);
            writeln!(out, "string_enum! {{\n    {doc}    {how} {} {{", enumeration.name)?;
            for value in &enumeration.values {
                writeln!(out, "        {} = \"{value}\",", variant_name(value))?;
            }
            writeln!(out, "    }}\n}}\n")?;
        }
        out.push_str(&self.structs);
        write_requests(&mut out, requests)?;
        write_events(&mut out, events)?;
        Ok(out)
    }
}

/// The types of the requests, and the way from a command to its type.
fn write_requests(out: &mut String, requests: &[RequestRow]) -> Result<()> {
    writeln!(
        out,
        "/// One type for each request.\npub mod requests {{\nuse super::*;\nuse crate::Request;\n"
    )?;
    for RequestRow { name, command, arguments, body, needs_arguments, needs_body } in requests {
        writeln!(out, "/// [`{command}`]({SPECIFICATION}#Requests_{name}).")?;
        writeln!(out, "#[derive(Debug)]\npub enum {name} {{}}\nimpl Request for {name} {{")?;
        writeln!(out, "const COMMAND: &'static str = \"{command}\";")?;
        if *needs_arguments {
            writeln!(out, "const NEEDS_ARGUMENTS: bool = true;")?;
        }
        if *needs_body {
            writeln!(out, "const NEEDS_BODY: bool = true;")?;
        }
        writeln!(out, "type Arguments = {arguments};\ntype Response = {body};\n}}\n")?;
    }
    writeln!(out, "}}\n")?;
    writeln!(out, "/// Calls `visitor` with the type of the request whose command this is.")?;
    writeln!(out, "/// `None` for a command that the protocol does not know.")?;
    writeln!(
        out,
        "pub fn visit_request<V: RequestVisitor>(command: &str, visitor: V) -> Option<V::Output> {{"
    )?;
    writeln!(out, "Some(match command {{")?;
    for RequestRow { name, command, .. } in requests {
        writeln!(out, "\"{command}\" => visitor.visit::<requests::{name}>(),")?;
    }
    writeln!(out, "_ => return None,\n}})\n}}\n")?;
    Ok(())
}

/// The types of the events, and the way from a name to its type.
fn write_events(out: &mut String, events: &[EventRow]) -> Result<()> {
    writeln!(out, "/// One type for each event.\npub mod events {{\nuse super::*;\nuse crate::Event;\n")?;
    for EventRow { name, event, body, needs_body } in events {
        writeln!(out, "/// [`{event}`]({SPECIFICATION}#Events_{name}).")?;
        writeln!(out, "#[derive(Debug)]\npub enum {name} {{}}\nimpl Event for {name} {{")?;
        writeln!(out, "const EVENT: &'static str = \"{event}\";")?;
        if *needs_body {
            writeln!(out, "const NEEDS_BODY: bool = true;")?;
        }
        writeln!(out, "type Body = {body};\n}}\n")?;
    }
    writeln!(out, "}}\n")?;
    writeln!(out, "/// Calls `visitor` with the type of the event of this name.")?;
    writeln!(out, "/// `None` for an event that the protocol does not know.")?;
    writeln!(out, "pub fn visit_event<V: EventVisitor>(event: &str, visitor: V) -> Option<V::Output> {{")?;
    writeln!(out, "Some(match event {{")?;
    for EventRow { name, event, .. } in events {
        writeln!(out, "\"{event}\" => visitor.visit::<events::{name}>(),")?;
    }
    writeln!(out, "_ => return None,\n}})\n}}")?;
    Ok(())
}

fn needs_body(definition: &Definition) -> bool {
    definition.own_part().required.iter().any(|key| key == "body")
}

const SPECIFICATION: &str = "https://microsoft.github.io/debug-adapter-protocol/specification";

const HEADER: &str = "\
//! The protocol's types. Generated by `cargo xtask gen-dap --schema PATH` from the official schema; not to be edited.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    BreakpointId, Empty, EventVisitor, FrameId, GotoTargetId, LocationReference, ModuleId, RequestVisitor, Seq,
    SourceReference, StepInTargetId, ThreadId, VariablesReference,
};
use crate::validate::{At, Validate};
use crate::values::string_enum;

";

fn integer_shape(owner: &str, wire: &str, property: &Definition) -> Shape {
    // A list's property reaches this function by its items, with a name that has lost the plural.
    let named = match (owner, wire) {
        ("Thread", "id") | (_, "threadId") => Some("ThreadId"),
        ("StackFrame", "id") | (_, "frameId" | "stackFrameId") => Some("FrameId"),
        ("Breakpoint", "id") | (_, "hitBreakpointId") => Some("BreakpointId"),
        ("StepInTarget", "id") | ("StepInArguments", "targetId") => Some("StepInTargetId"),
        ("GotoTarget", "id") | ("GotoArguments", "targetId") => Some("GotoTargetId"),
        (_, "variablesReference") => Some("VariablesReference"),
        (_, "sourceReference") => Some("SourceReference"),
        (_, "locationReference" | "declarationLocationReference" | "valueLocationReference") => {
            Some("LocationReference")
        }
        (_, "requestId") => Some("Seq"),
        _ => None,
    };
    match (named, property.maximum) {
        (Some(name), _) => Shape::checked(name),
        (None, Some(maximum)) if maximum >= EXACT_INTEGER_MAX => Shape::checked("i64"),
        (None, None) if property.minimum.is_none() => Shape::plain("i32"),
        (None, maximum) => Shape { rust: "i32".to_owned(), check: Check::Range(property.minimum, maximum) },
    }
}

/// Whether the enumeration is open, and its values.
fn values_of(definition: &Definition) -> Option<(bool, Vec<String>)> {
    match (&definition.open, &definition.closed) {
        (Some(values), _) => Some((true, values.clone())),
        (None, Some(values)) => Some((false, values.clone())),
        (None, None) => None,
    }
}

fn constant_of(definition: &Definition, key: &str) -> Result<String> {
    match definition.property(key).and_then(|property| property.closed.as_deref()) {
        Some([value]) => Ok(value.clone()),
        _ => bail!("a request or an event without exactly one value for {key}"),
    }
}

fn bound(value: Option<f64>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{"definitions": {
        "ProtocolMessage": {"type": "object"}, "Request": {"type": "object"}, "Response": {"type": "object"},
        "NextRequest": {"allOf": [{"$ref": "#/definitions/Request"}, {"type": "object", "properties": {
            "command": {"type": "string", "enum": ["next"]},
            "arguments": {"$ref": "#/definitions/NextArguments"}}, "required": ["command", "arguments"]}]},
        "NextArguments": {"type": "object", "properties": {
            "threadId": {"type": "integer"}, "supportsANSIStyling": {"type": "boolean"},
            "type": {"type": "string", "_enum": ["function breakpoint", "MD5"]}}, "required": ["threadId"]},
        "NextResponse": {"allOf": [{"$ref": "#/definitions/Response"}, {"type": "object"}]}}}"##;

    fn generated() -> String {
        let schema: Schema = serde_json::from_str(SCHEMA).unwrap();
        Generator::new(schema).generate().unwrap()
    }

    #[test]
    fn a_small_schema_gives_its_types() {
        let code = generated();
        for part in [
            "pub thread_id: ThreadId,",
            "rename = \"supportsANSIStyling\"",
            "pub type_: Option<NextType>",
            "FunctionBreakpoint = \"function breakpoint\"",
            "Md5 = \"MD5\"",
            "const NEEDS_ARGUMENTS: bool = true;\ntype Arguments = NextArguments;\ntype Response = Empty;",
        ] {
            assert!(code.contains(part), "{part} is not in\n{code}");
        }
    }

    #[test]
    fn the_same_schema_gives_the_same_text() {
        assert_eq!(generated(), generated());
    }

    #[test]
    fn an_unknown_kind_is_refused_by_name() {
        let text = r#"{"definitions": {"Odd": {"type": "number"}}}"#;
        let schema: Schema = serde_json::from_str(text).unwrap();
        let error = Generator::new(schema).generate().unwrap_err().to_string();
        assert!(error.contains("Odd"), "{error}");
    }
}
