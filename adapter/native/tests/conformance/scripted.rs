//! Unwinder, values and expressions over memory that a test has written, without any process.

use manta_native::address::{Address, FileAddress, Tid};
use manta_native::dwarf::evaluate::Place;
use manta_native::dwarf::image::Image;
use manta_native::dwarf::modules::Modules;
use manta_native::dwarf::unwind::{StackEnd, Unwinder};
use manta_native::engine::stops::{FrameVariables, Stack};
use manta_native::expression::{evaluate, parse};
use manta_native::limits::FRAMES_MAX;
use manta_native::registers::Registers;
use manta_native::simulated::Simulated;
use manta_native::target::{MappedModule, Target};
use manta_native::values::render::summary;

use crate::support::{Build, program_file};

const BASE: u64 = 0x5555_0000_0000;
const STACK: u64 = 0x7fff_0000_0000;
const TID: Tid = Tid(7);

struct Script {
    image: Image,
    module: MappedModule,
}

impl Script {
    fn new() -> Self {
        let path = program_file("tasks", Build::Plain);
        let image = Image::open(&path, "tasks").unwrap();
        let module = MappedModule {
            open_path: path.clone(),
            path,
            start: Address(BASE),
            end: Address(BASE + (64 << 20)),
            base: Address(BASE),
            is_program: true,
        };
        Self { image, module }
    }

    /// The first instruction of a function, by the last part of its name.
    fn function(&self, name: &str) -> u64 {
        let wanted = |symbol: &str| {
            let shown = format!("{:#}", rustc_demangle::demangle(symbol));
            shown == format!("tasks::{name}")
        };
        let symbols = self.image.symbols();
        let found = symbols.iter().find(|symbol| wanted(symbol.name)).unwrap_or_else(|| panic!("{name}"));
        live(found.address)
    }
}

fn live(address: FileAddress) -> u64 {
    BASE + address.0
}

fn at(pc: u64, sp: u64) -> Registers {
    let mut registers = Registers::default();
    registers.set_pc(pc);
    registers.set_sp(sp);
    registers
}

fn walk(target: &Simulated) -> Stack {
    let modules = Modules::of(target).unwrap();
    Stack::walk(&modules, target, &Unwinder::default(), &target.registers(TID).unwrap(), 0, FRAMES_MAX)
}

/// At a function's first instruction its return address is on top of the stack, which is all that a script has to have.
#[test]
fn a_scripted_stack_is_walked() {
    let script = Script::new();
    let [add, work, run] = ["add", "work", "run_task"].map(|name| script.function(name));
    // One behind the first byte, as a call would return there.
    let target = Simulated::default()
        .with_module(script.module)
        .with_words(Address(STACK), &[work + 1, run + 1, 0, 0])
        .with_thread(TID, at(add, STACK));
    let stack = walk(&target);
    let names: Vec<_> = stack.frames.iter().map(|frame| frame.code.name.as_str()).collect();
    assert_eq!(names, ["tasks::add", "tasks::work", "tasks::run_task"]);
    assert_eq!(stack.end, StackEnd::Complete);
    let pointers: Vec<_> = stack.physical.iter().map(|frame| frame.registers.sp()).collect();
    assert_eq!(pointers, [STACK, STACK + 8, STACK + 16]);
}

#[test]
fn a_stack_that_is_cut_off_gives_the_frames_that_are_there() {
    let script = Script::new();
    let [add, work] = ["add", "work"].map(|name| script.function(name));
    let target = Simulated::default()
        .with_module(script.module.clone())
        .with_words(Address(STACK), &[work + 1])
        .with_thread(TID, at(add, STACK));
    let stack = walk(&target);
    let names: Vec<_> = stack.frames.iter().map(|frame| frame.code.name.as_str()).collect();
    assert_eq!((names, stack.end), (vec!["tasks::add", "tasks::work"], StackEnd::Damaged));
    // Where there is no code at all the stack has one frame, with its address.
    let nowhere = Simulated::default().with_module(script.module).with_thread(TID, at(0x1000, STACK));
    let stack = walk(&nowhere);
    assert_eq!((stack.frames[0].code.name.as_str(), stack.end), ("0x1000", StackEnd::NoTables));
}

#[test]
fn scripted_values_are_shown_and_compared() {
    let script = Script::new();
    let add = script.function("add");
    let unscripted = Simulated::default()
        .with_module(script.module.clone())
        .with_memory(Address(STACK), vec![0; 64])
        .with_thread(TID, at(add, STACK));
    let arguments = ["a", "b"].map(|name| {
        let stack = walk(&unscripted);
        let frame = &stack.frames[0];
        let physical = &stack.physical[0];
        let variables = FrameVariables::of(frame, physical, &unscripted).unwrap();
        let found = variables.all().into_iter().find(|variable| variable.name == name).unwrap();
        match found.place {
            Place::Memory(address) => address,
            other => panic!("{name} is not in memory: {other:?}"),
        }
    });
    let [a, b] = arguments;
    assert!(a != b);
    let mut target = Simulated::default().with_module(script.module).with_thread(TID, at(add, STACK));
    for (place, value) in [(a, 40u64), (b, u64::MAX)] {
        target = target.with_words(place, &[value]);
    }
    let stack = walk(&target);
    let variables = FrameVariables::of(&stack.frames[0], &stack.physical[0], &target).unwrap();
    let shown: Vec<_> = variables
        .all()
        .iter()
        .filter(|variable| variable.is_argument)
        .map(|variable| summary(&variables.value(variable).unwrap(), &target))
        .collect();
    assert_eq!(shown, ["40", "18446744073709551615"]);
    for (expression, result) in [("a + 2", "42"), ("b > a && a == 40", "true"), ("a as u8 as char", "'('")] {
        let evaluated = evaluate(&parse(expression).unwrap(), &variables, &target).unwrap();
        assert_eq!(evaluated.text(&target), result, "{expression}");
    }
    // The stack below them has nothing: bad memory is a sentence in the place of the value.
    let sum = variables.all().into_iter().find(|variable| !variable.is_argument);
    if let Some(sum) = sum.and_then(|sum| variables.value(&sum)) {
        assert!(summary(&sum, &target).contains("cannot be read"), "{}", summary(&sum, &target));
    }
}
