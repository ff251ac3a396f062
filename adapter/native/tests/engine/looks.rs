//! What is told of a stop ahead of being asked.

use crate::support::{Agent, Build, Program};
use serde_json::json;

#[test]
fn a_look_says_what_the_requests_say() {
    let mut program = Program::start("tasks", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("format", json!({}))]);
    program.go();
    let (first, second) = (agent.stopped(), agent.stopped());
    assert!(first.get("look").is_none());
    let thread = &first["threadId"];
    agent.request("next", &json!({"threadId": thread, "mantaLook": {"levels": 3, "variables": true}}));
    let stop = agent.stopped();
    assert_eq!((&stop["look"], &stop["threadId"]), (&json!(true), thread));
    let first_look = agent.event("mantaLook");
    assert_eq!((&first_look["more"], first_look.get("scopes")), (&json!(true), None));
    let look = agent.event("mantaLook");
    assert_eq!(
        (&look["threadId"], &look["stop"], &look["frame"]),
        (thread, &stop["stop"], &stop["topFrame"]["id"])
    );
    assert_eq!((look.get("more"), look.get("stackTrace")), (None, None));
    assert_eq!(
        first_look["stackTrace"],
        agent.request("stackTrace", &json!({"threadId": thread, "levels": 3}))
    );
    let scope = &look["scopes"]["scopes"][0];
    assert_eq!((&scope["name"], &scope["variablesReference"]), (&json!("Locals"), &look["scope"]));
    let names = |body: &serde_json::Value| {
        let variables = body["variables"].as_array().unwrap().clone();
        variables.into_iter().map(|one| (one["name"].clone(), one["value"].clone())).collect::<Vec<_>>()
    };
    let asked = agent.request("variables", &json!({"variablesReference": look["scope"]}));
    assert_eq!(names(&look["variables"]), names(&asked));
    // What is not wanted is not told.
    agent.request("next", &json!({"threadId": thread, "mantaLook": {"levels": 1}}));
    agent.stopped();
    let look = agent.event("mantaLook");
    assert_eq!(look["stackTrace"]["stackFrames"].as_array().unwrap().len(), 1);
    assert!(look.get("more").is_none() && look.get("scopes").is_none());
    agent.request("next", &json!({"threadId": thread}));
    assert!(agent.stopped().get("look").is_none());
    agent.go_on(&first);
    agent.go_on(&second);
    program.line();
    program.ends_well();
}
