//! Values as a client wants them written: in hexadecimal, whole for its clipboard, and with the expressions that name them.

use crate::support::{Agent, Build, Program, line_of};
use serde_json::{Value, json};

fn stopped(build: Build) -> (Program, Agent, Value) {
    let mut program = Program::start("formats", build);
    let mut agent = Agent::attach(&program);
    agent.configure("formats", &[("look", json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

fn evaluate(agent: &mut Agent, stop: &Value, expression: &str, extra: &Value) -> String {
    let mut arguments = json!({"expression": expression, "frameId": stop["topFrame"]["id"]});
    for (key, value) in extra.as_object().unwrap() {
        arguments[key] = value.clone();
    }
    agent.request("evaluate", &arguments)["result"].as_str().unwrap().to_owned()
}

#[test]
fn whole_numbers_are_written_in_hexadecimal_where_that_is_wanted() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    let reference = agent.locals_reference(&stop);
    let hex = json!({"hex": true});
    let body = agent.request("variables", &json!({"variablesReference": reference, "format": hex}));
    let variables = body["variables"].as_array().unwrap();
    let shown = |name: &str| variables.iter().find(|own| own["name"] == name).unwrap()["value"].clone();
    assert_eq!((shown("byte"), shown("minus")), (json!("0xff"), json!("0xffffffff")));
    assert_eq!((shown("pair"), shown("boxed")), (json!("(0x10, 'a')"), json!("0xff")));
    assert!(shown("list").as_str().unwrap().starts_with("[0xa, 0xa"), "{}", shown("list"));
    let format = json!({"format": hex});
    assert_eq!(evaluate(&mut agent, &stop, "pair.0", &format), "0x10");
    assert_eq!(evaluate(&mut agent, &stop, "byte + 1", &format), "0x100");
    assert_eq!(evaluate(&mut agent, &stop, "byte + 1", &json!({})), "256");
    let set = json!({"variablesReference": reference, "name": "byte", "value": "18", "format": hex});
    assert_eq!(agent.request("setVariable", &set)["value"], "0x12");
    let frame = &stop["topFrame"]["id"];
    let set = json!({"frameId": frame, "expression": "byte", "value": "0x20", "format": hex});
    assert_eq!(agent.request("setExpression", &set)["value"], "0x20");
    assert_eq!(agent.evaluate(&stop, "byte"), "32");
}

#[test]
fn a_text_behind_a_reference_is_shown_as_far_as_any_text() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    let text = evaluate(&mut agent, &stop, "text", &json!({}));
    assert!(text.starts_with("\"xxx") && text.ends_with("\"…") && text.len() > 4096, "{}", text.len());
    assert_eq!(evaluate(&mut agent, &stop, "borrowed", &json!({})), format!("&{text}"));
}

#[test]
fn what_is_borrowed_is_shown_as_what_it_is() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    assert_eq!(evaluate(&mut agent, &stop, "held", &json!({})), "&[7]");
    assert_eq!(evaluate(&mut agent, &stop, "held[0] + 1", &json!({})), "8");
    assert_eq!(evaluate(&mut agent, &stop, "read", &json!({})), "&'r'");
}

#[test]
fn what_cannot_be_computed_is_no_number() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    assert_eq!(evaluate(&mut agent, &stop, "wide", &json!({})), u128::MAX.to_string());
    let refused = |agent: &mut Agent, expression: &str| {
        let asked = json!({"expression": expression, "frameId": stop["topFrame"]["id"]});
        agent.try_request("evaluate", &asked)["message"].as_str().expect("a sentence").to_owned()
    };
    for expression in ["wide - 1", "wide > 1"] {
        let said = refused(&mut agent, expression);
        assert!(said.contains("larger than what is computed with"), "{said}");
    }
    let said = refused(&mut agent, "LIMIT");
    assert!(said.contains("no variable \"LIMIT\""), "{said}");
}

#[test]
fn frames_show_what_is_wanted_beside_their_names() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    let mut name = |format: Value| {
        let asked = json!({"threadId": stop["threadId"], "levels": 1, "format": format});
        agent.request("stackTrace", &asked)["stackFrames"][0]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name(json!({})), "formats::look");
    assert_eq!(name(json!({"parameters": true})), "formats::look(byte, minus)");
    let all = json!({"parameters": true, "parameterTypes": true, "parameterValues": true, "hex": true});
    assert_eq!(name(all), "formats::look(byte: u8 = 0xff, minus: i32 = 0xffffffff)");
    let line = line_of("formats", "look");
    assert_eq!(name(json!({"module": true, "line": true})), format!("formats!formats::look line {line}"));
}

#[test]
fn a_value_is_copied_whole() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    let clipboard = json!({"context": "clipboard"});
    let text = evaluate(&mut agent, &stop, "text", &clipboard);
    assert_eq!(text, format!("\"{}\"", "x".repeat(10_000)));
    assert!(agent.evaluate(&stop, "text").len() < 5000);
    let list = evaluate(&mut agent, &stop, "list", &clipboard);
    assert_eq!(list, format!("[{}]", vec!["10"; 20].join(", ")));
    assert_eq!(evaluate(&mut agent, &stop, "deep", &clipboard), "[[[[[1, 2]]]]]");
}

#[test]
fn what_has_no_end_is_copied_in_part() {
    let mut program = Program::start("large", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("large", &[("large", json!({}))]);
    program.go();
    let stop = agent.stopped();
    for name in ["million", "table", "first", "chain"] {
        let copied = evaluate(&mut agent, &stop, name, &json!({"context": "clipboard"}));
        assert!(copied.len() <= (1 << 20) + 10, "{name}: {}", copied.len());
        assert!(copied.contains('…') || copied.contains("more"), "{name} says that it was cut");
    }
}

#[test]
fn variables_say_how_to_name_them() {
    let (_program, mut agent, stop) = stopped(Build::Plain);
    let reference = agent.locals_reference(&stop);
    let open = |agent: &mut Agent, reference: &Value, name: &str| {
        let body = agent.request("variables", &json!({"variablesReference": reference}));
        let found = body["variables"].as_array().unwrap().iter().find(|own| own["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {body}"))
    };
    let deep = open(&mut agent, &json!(reference), "deep");
    assert_eq!(deep["evaluateName"], "deep");
    let inner = open(&mut agent, &deep["variablesReference"], "[0]");
    let inner = open(&mut agent, &inner["variablesReference"], "[0]");
    let path = inner["evaluateName"].as_str().unwrap();
    assert_eq!(path, "deep[0][0]");
    assert_eq!(agent.evaluate(&stop, path), inner["value"].as_str().unwrap());
}

#[test]
fn an_error_that_was_made_from_a_string_is_its_text() {
    for build in [Build::Plain, Build::Dwarf5, Build::Optimized] {
        let (_program, mut agent, stop) = stopped(build);
        for (name, text) in [("failure", "\"it failed\""), ("sent", "\"gone\""), ("nothing", "\"\"")] {
            let shown = agent.evaluate(&stop, name);
            assert!(
                shown == text || (build == Build::Optimized && shown == "<optimized out>"),
                "{name}: {shown}"
            );
        }
        assert!(!agent.evaluate(&stop, "number").starts_with('"'));
    }
}
