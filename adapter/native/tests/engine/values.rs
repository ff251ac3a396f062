//! Values of living programs.

use crate::support::{Agent, Build, Program, at};
use serde_json::json;

/// Stops a fresh program at a mark.
fn stopped_at(mark: &str, build: Build) -> (Program, Agent, serde_json::Value) {
    let mut program = Program::start("values", build);
    let mut agent = Agent::attach(&program);
    agent.configure("values", &[(mark, json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

#[test]
fn numbers() {
    numbers_of(Build::Plain);
}

#[test]
fn numbers_with_version_5_of_the_debug_information() {
    numbers_of(Build::Dwarf5);
}

fn numbers_of(build: Build) {
    let (_program, mut agent, stop) = stopped_at("numbers", build);
    assert_eq!(
        agent.locals(&stop),
        [
            "small: i8 = -3",
            "large: u128 = 340282366920938463463374607431768211455",
            "truth: bool = true",
            "letter: char = 'ß'",
            "half: f32 = 0.5",
            "negative: i64 = -5000000000",
            "pointer: &i64 = &-5000000000",
            "unit: () = ()",
        ]
    );
    assert_eq!(
        stop["task"],
        json!({"taskId": "07".repeat(16), "attempt": 2, "name": "values", "jobId": "09".repeat(16)})
    );
}

#[test]
fn texts() {
    let (_program, mut agent, stop) = stopped_at("texts", Build::Plain);
    let locals = agent.locals(&stop);
    let long = locals.iter().find(|line| line.starts_with("long")).unwrap();
    assert!(long.ends_with("xxx\"…") && long.len() < 4200, "{long}");
    let others: Vec<_> = locals.iter().filter(|line| !line.starts_with("long")).collect();
    assert_eq!(
        others,
        [
            "borrowed: &str = \"héllo\"",
            "owned: String = \"owned\"",
            "empty: String = \"\"",
            "boxed: Box<str> = \"boxed\"",
            "shared: Arc<str> = \"shared\"",
        ]
    );
    assert_eq!(agent.evaluate(&stop, "long.len() == 10_000 && borrowed == \"héllo\""), "true");
}

#[test]
fn lists() {
    let (_program, mut agent, stop) = stopped_at("lists", Build::Plain);
    assert_eq!(
        agent.locals(&stop),
        [
            "vector: Vec<i32> = [0, 1, 2, 3, 4, 5, … 994 more]",
            "array: [u8; 3] = [1, 2, 3]",
            "slice: &[i32] = [10, 11, 12]",
            "strings: Vec<String> = [\"a\", \"b\"]",
            "nothing: Vec<Point> = []",
            "ring: VecDeque<u16> = [3, 4, 5]",
        ]
    );
    assert_eq!(agent.evaluate(&stop, "vector[999] + slice[1] * 2"), "1021");
    assert!(agent.evaluate(&stop, "vector[1000]").contains("outside"));
    let reference = agent.locals_reference(&stop);
    let body = agent.request("variables", &json!({"variablesReference": reference}));
    assert_eq!(body["variables"][0]["indexedVariables"], 1000);
    let vector = body["variables"][0]["variablesReference"].clone();
    let page = agent.request(
        "variables",
        &json!({"variablesReference": vector, "filter": "indexed", "start": 100, "count": 2}),
    );
    let names: Vec<_> = page["variables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["name"].clone(), v["value"].clone()))
        .collect();
    assert_eq!(names, [(json!("[100]"), json!("100")), (json!("[101]"), json!("101"))]);
}

#[test]
fn enums() {
    enums_of(Build::Plain);
}

#[test]
fn enums_with_version_5_of_the_debug_information() {
    enums_of(Build::Dwarf5);
}

fn enums_of(build: Build) {
    let (_program, mut agent, stop) = stopped_at("enums", build);
    assert_eq!(
        agent.stack(&stop)[0],
        format!("values::enums:{}", crate::support::line_of("values", "enums"))
    );
    assert_eq!(
        agent.locals(&stop),
        [
            "some: Option<u32> = Some(7)",
            "none: Option<u32> = None",
            "niche_some: Option<Box<u32>> = Some(8)",
            "niche_none: Option<Box<u32>> = None",
            "nested: Option<Option<bool>> = Some(None)",
            "text: Option<String> = Some(\"inside\")",
            "no_text: Option<String> = None",
            "good: Result<u8, String> = Ok(1)",
            "bad: Result<u8, String> = Err(\"broken\")",
            "circle: Shape = Circle(1.5)",
            "rect: Shape = Rect { w: 3, h: 4 }",
            "empty: Shape = Empty",
            "color: Color = Red",
        ]
    );
    assert_eq!(agent.evaluate(&stop, "some.is_some() && no_text.is_none() && color == Color::Red"), "true");
    assert_eq!(agent.evaluate(&stop, "rect.h"), "4");
}

#[test]
fn structs() {
    let (_program, mut agent, stop) = stopped_at("structs", Build::Plain);
    let locals = agent.locals(&stop);
    let map = locals.iter().find(|line| line.starts_with("map")).unwrap();
    assert!(
        map == "map: HashMap<String, u32> = {\"one\": 1, \"two\": 2}"
            || map == "map: HashMap<String, u32> = {\"two\": 2, \"one\": 1}",
        "{map}"
    );
    let others: Vec<_> =
        locals.iter().filter(|line| !line.starts_with("map") && !line.starts_with("closure")).collect();
    assert_eq!(
        others,
        [
            "point: Point = Point { x: 1, y: -2 }",
            "tuple: (u8, &str, f64) = (1, \"two\", 3.0)",
            "reference: &Point = &Point { x: 1, y: -2 }",
            "boxed: Box<Point> = Point { x: 1, y: -2 }",
            "counted: Rc<Point> = Point { x: 1, y: -2 }",
            "shared: Arc<u32> = 5",
            "cell: Cell<u8> = 9",
            "guarded: RefCell<u8> = 10",
            "list: Node = Node { value: 1, next: Some(Node { value: 2, next: None }) }",
            "set: HashSet<u8> = {4}",
            "ordered: BTreeMap<u32, String> = {0: \"v0\", 1: \"v1\", 2: \"v2\", 3: \"v3\", 4: \"v4\", 5: \"v5\", … 94 more}",
            "ordered_set: BTreeSet<u8> = {1, 2, 3}",
        ]
    );
    assert_eq!(agent.evaluate(&stop, "map[\"two\"] + boxed.x"), "3");
    assert_eq!(agent.evaluate(&stop, "ordered[77]"), "\"v77\"");
    assert_eq!(agent.evaluate(&stop, "reference.y == -2 && tuple.1 == \"two\""), "true");
    assert!(agent.evaluate(&stop, "point.z").contains("no field \"z\""));
}

#[test]
fn trait_objects_are_shown_as_what_they_are() {
    let (_program, mut agent, stop) = stopped_at("objects", Build::Plain);
    assert_eq!(
        agent.locals(&stop),
        [
            "speakers: Vec<Box<dyn Speak>> = [Point { x: 1, y: 2 }, \"loud\"]",
            "borrowed: &dyn Speak = &Point { x: 3, y: 4 }",
        ]
    );
    assert_eq!(agent.evaluate(&stop, "speakers[0].y + borrowed.x"), "5");
}

#[test]
fn a_task_has_the_name_that_people_wrote() {
    let (_program, mut agent, stop) = stopped_at("staged", Build::Plain);
    assert_eq!(
        agent.stack(&stop)[0],
        format!("values::staged:{}", crate::support::line_of("values", "staged"))
    );
}

#[test]
fn scalars_are_set() {
    let (program, mut agent, stop) = stopped_at("numbers", Build::Plain);
    let reference = agent.locals_reference(&stop);
    let body = agent
        .request("setVariable", &json!({"variablesReference": reference, "name": "small", "value": "-128"}));
    assert_eq!(body["value"], "-128");
    assert_eq!(agent.evaluate(&stop, "small"), "-128");
    let refused = agent.try_request(
        "setVariable",
        &json!({"variablesReference": reference, "name": "small", "value": "128"}),
    );
    assert!(refused["message"].as_str().unwrap().contains("does not fit"), "{refused}");
    agent.go_on(&stop);
    assert_eq!(program.line(), "sum 5 origin 0 caught true");
}

#[test]
fn library_types_have_their_own_notation() {
    let mut program = Program::start("library", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.configure("library", &[("library", json!({}))]);
    program.go();
    let stop = agent.stopped();
    let locals = agent.locals(&stop);
    let shown: Vec<_> = locals.iter().filter(|line| !line.starts_with("function")).collect();
    assert_eq!(
        shown,
        [
            "range: Range<u8> = 1..5",
            "closed: RangeInclusive<char> = 'a'..='c'",
            "open: RangeFrom<usize> = 3..",
            "four: IpAddr = V4(127.0.0.1)",
            "six: Ipv6Addr = ::1",
            "time: SystemTime = 2000-02-29 00:00:00.000000007 UTC",
            "span: Duration = 1.5s",
            "holder: Rc<u16> = 5",
            "weak: Weak<u16> = (Weak) 5",
            "nothing: Weak<u16> = (Weak) of nothing",
            "gone: Weak<u16> = (Weak) of what is gone",
            "borrowed: Cow<str> = Borrowed(\"text\")",
            "count: Option<NonZero<u32>> = Some(9)",
            "once: OnceCell<u8> = Some(4)",
        ]
    );
    let function = locals.iter().find(|line| line.starts_with("function")).unwrap();
    assert!(function.ends_with(" library::library"), "{function}");
    assert_eq!(agent.evaluate(&stop, "range.end - range.start"), "4");
}

#[test]
fn places_that_an_expression_names_are_set() {
    let (program, mut agent, stop) = stopped_at("structs", Build::Plain);
    let frame = stop["topFrame"]["id"].clone();
    let set = |agent: &mut Agent, expression: &str, value: &str| {
        agent.try_request(
            "setExpression",
            &json!({"frameId": frame, "expression": expression, "value": value}),
        )
    };
    assert_eq!(set(&mut agent, "list.value", "point.x + 6")["body"]["value"], "7");
    assert_eq!(set(&mut agent, "boxed.y", "-0x10")["body"]["value"], "-16");
    assert_eq!(agent.evaluate(&stop, "list.value as i32 + boxed.y"), "-9");
    for (expression, value, part) in [
        ("list.value", "256", "does not fit"),
        ("list.value", "\"text\"", "is not a value of the type"),
        ("1 + 1", "3", "is no place"),
        ("nobody", "3", "no variable"),
    ] {
        let refused = set(&mut agent, expression, value);
        assert!(refused["message"].as_str().unwrap().contains(part), "{refused}");
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), "sum 5 origin 0 caught true");
}

#[test]
fn names_are_completed() {
    let (_program, mut agent, stop) = stopped_at("structs", Build::Plain);
    let mut labels = |text: &str| {
        let typed = json!({"frameId": stop["topFrame"]["id"], "text": text, "column": text.len() + 1});
        let body = agent.request("completions", &typed);
        let labels =
            body["targets"].as_array().unwrap().iter().map(|own| own["label"].as_str().unwrap().to_owned());
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labels("1 + or"), ["ordered", "ordered_set"]);
    assert_eq!(labels("list.next."), ["0"]);
    assert_eq!(labels("point.x > reference."), ["x", "y"]);
    assert_eq!(labels("map.le"), ["len()"]);
    assert!(labels("nobody.").is_empty());
}

#[test]
fn a_recursion_of_any_depth_is_shown_page_by_page() {
    for build in [Build::Plain, Build::Optimized] {
        let mut program = Program::start("deep", build);
        let mut agent = Agent::attach(&program);
        agent.configure("deep", &[("bottom", json!({}))]);
        program.go();
        let stop = agent.stopped();
        let mut page = |start: u64, levels: u64| {
            agent.request(
                "stackTrace",
                &json!({"threadId": stop["threadId"], "startFrame": start, "levels": levels}),
            )
        };
        let first = page(0, 20);
        assert!(first["totalFrames"].as_u64().unwrap() > 1000, "there is more: {}", first["totalFrames"]);
        let last = page(4990, 1000);
        let frames = last["stackFrames"].as_array().unwrap();
        let count =
            |frames: &[serde_json::Value]| frames.iter().filter(|own| own["name"] == "deep::down").count();
        // One more frame is at the bottom.
        assert_eq!(count(frames), 5001 + 1 - 4990);
        assert!(frames.iter().any(|own| own["name"] == "deep::main"), "{last}");
        assert_eq!(last["totalFrames"], 4990 + frames.len() as u64);
        assert_eq!(page(0, 20)["stackFrames"], first["stackFrames"], "ids stay");
        agent.go_on(&stop);
        assert_eq!(program.line(), "depth 5000");
    }
}

#[test]
fn a_panic_stops_before_it_unwinds() {
    let mut program = Program::start("values", Build::Plain);
    let mut agent = Agent::attach(&program);
    agent.request(
        "mantaConfigure",
        &json!({"generation": 1, "sources": [], "exceptionFilters": ["uncaught"]}),
    );
    program.go();
    let stop = agent.stopped();
    let line = crate::support::line_of("values", "panics");
    assert_eq!((&stop["reason"], at(&stop)), (&json!("exception"), format!("values::risky:{line}")));
    assert_eq!(agent.locals(&stop), ["count: usize = 5", "items: Vec<usize> = [1, 2, 3]"]);
    let info = agent.request("exceptionInfo", &json!({"threadId": stop["threadId"]}));
    assert!(info["description"].as_str().unwrap().contains("values::risky"), "{info}");
    let stack = info["details"]["stackTrace"].as_str().unwrap();
    assert!(stack.starts_with("values::risky at ") && stack.contains("\nvalues::main at "), "{stack}");
    agent.go_on(&stop);
    assert_eq!(program.line(), "sum 5 origin 0 caught true");
}

#[test]
fn optimized_code_has_its_inlined_calls_as_frames() {
    let (program, mut agent, stop) = stopped_at("twice", Build::Optimized);
    let line = |mark| crate::support::line_of("values", mark);
    assert_eq!(at(&stop), format!("values::twice:{}", line("twice")));
    let stack = agent.stack(&stop);
    assert_eq!(stack[1], format!("values::optimized:{}", line("call")));
    assert!(stack[2].starts_with("values::main:"), "{stack:?}");
    let frames =
        agent.request("stackTrace", &json!({"threadId": stop["threadId"], "startFrame": 1, "levels": 1}));
    let outer = json!({"topFrame": frames["stackFrames"][0]});
    let locals = agent.locals(&outer);
    let input = locals.iter().find(|line| line.starts_with("input")).unwrap();
    // What the optimiser left nothing of is a value too.
    assert!(input == "input: &[u32] = [3, 4]" || input.contains("<optimized out>"), "{locals:?}");
    agent.configure("values", &[]);
    agent.go_on(&stop);
    assert_eq!(program.line(), "sum 5 origin 0 caught true");
}

#[test]
fn steps_in_optimized_code_stay_in_the_users_lines() {
    let (program, mut agent, stop) = stopped_at("twice", Build::Optimized);
    agent.configure("values", &[]);
    let line = |mark| crate::support::line_of("values", mark);
    let out = agent.step("stepOut", &stop);
    assert!(at(&out).starts_with("values::optimized:"), "{}", at(&out));
    let mut stop = out;
    for _ in 0..20 {
        stop = agent.step("next", &stop);
        let shown = at(&stop);
        if shown == format!("values::optimized:{}", line("end")) || shown.starts_with("values::main:") {
            agent.go_on(&stop);
            assert_eq!(program.line(), "sum 5 origin 0 caught true");
            return;
        }
        assert!(shown.starts_with("values::optimized:") || shown.starts_with("values::twice:"), "{shown}");
    }
    panic!("twenty steps did not leave a loop of two rounds; last at {}", at(&stop));
}
