//! A thread as people see it: stack, scopes, values, an expression. It knows only the trait.

use manta_native::address::Tid;
use manta_native::dwarf::modules::Modules;
use manta_native::dwarf::unwind::Unwinder;
use manta_native::engine::stops::{FrameVariables, Stack};
use manta_native::expression::{Evaluated, evaluate, parse};
use manta_native::limits::FRAMES_MAX;
use manta_native::target::Target;
use manta_native::values::Value;
use manta_native::values::render::{children, summary};

/// How deep values are opened.
const DEPTH: usize = 3;
/// Parts of a value that are looked at.
const PARTS: u64 = 20;

pub fn picture(target: &dyn Target, tid: Tid) -> Vec<String> {
    let modules = Modules::of(target).unwrap();
    let registers = target.registers(tid).unwrap();
    let stack = Stack::walk(&modules, target, &Unwinder::default(), &registers, 0, FRAMES_MAX);
    let mut lines = Vec::new();
    for frame in &stack.frames {
        let physical = &stack.physical[frame.physical];
        lines.push(format!("{} at {:?}:{}", frame.code.name, frame.code.file, frame.code.line));
        for number in 0..17 {
            let value = physical.registers.get(gimli::Register(number));
            lines.push(format!("  register {number} {value:x?}"));
        }
        let Some(variables) = FrameVariables::of(frame, physical, target) else { continue };
        for variable in variables.all() {
            if let Some(value) = variables.value(&variable) {
                show(variable.name, &value, target, 1, &mut lines);
            }
            let expression = parse(&format!("{} == {}", variable.name, variable.name)).unwrap();
            let result = evaluate(&expression, &variables, target).map(|result| shown(&result, target));
            lines.push(format!("  {} == itself: {result:?}", variable.name));
        }
    }
    lines.push(format!("{:?}", stack.end));
    lines
}

fn shown(result: &Evaluated, target: &dyn Target) -> String {
    result.text(target)
}

fn show(name: &str, value: &Value, target: &dyn Target, depth: usize, lines: &mut Vec<String>) {
    lines.push(format!("{}{name} = {}", "  ".repeat(depth), summary(value, target)));
    if depth < DEPTH {
        for child in children(value, target, 0, Some(PARTS)) {
            show(&child.name, &child.value, target, depth + 1, lines);
        }
    }
}
