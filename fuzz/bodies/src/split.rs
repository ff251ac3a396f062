//! Debug information that was split off a program, in a `.dwp` or a `.dwo` file. The program itself is as the compiler has made it.

use crate::dwarf::read_all;
use crate::loan::as_split_of;

/// The programs that the seeds belong to. A file is tried with each: its units have the number that one of them asks for.
const PROGRAMS: [&[u8]; 4] = [
    include_bytes!("../../programs/split-packed"),
    include_bytes!("../../programs/split-unpacked"),
    include_bytes!("../../programs/split-dwarf5-packed"),
    include_bytes!("../../programs/split-dwarf5-unpacked"),
];

/// Reads a file of split debug information.
pub fn run(data: &[u8]) {
    for program in PROGRAMS {
        as_split_of(program, data, |modules| read_all(modules, data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_read_with_one_of_the_programs() {
        for entry in std::fs::read_dir(crate::corpus().join("split")).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let mut functions = Vec::new();
            for program in PROGRAMS {
                as_split_of(program, &data, |modules| {
                    let image = &modules.program().unwrap().image;
                    let counts = image.unit_indices().map(|unit| image.scopes(unit).function_count());
                    functions.push(counts.sum::<usize>());
                });
            }
            assert!(functions.iter().any(|count| *count > 3), "{}: {functions:?}", path.display());
        }
    }
}
