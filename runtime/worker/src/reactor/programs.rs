//! What workers run: a job has one program of its own, and may have others, of other languages.

use manta_proto::v1::{JobConfig, WorkerProgram};

use crate::{Language, Program};

impl Program {
    pub(crate) fn to_wire(&self) -> WorkerProgram {
        WorkerProgram {
            language: self.language.as_str().to_owned(),
            executable: self.executable.clone(),
            sys_path: self.sys_path.clone(),
        }
    }

    fn from_wire(wire: &WorkerProgram) -> Option<Self> {
        let language =
            [Language::Python, Language::Rust].into_iter().find(|known| known.as_str() == wire.language)?;
        Some(Self { language, executable: wire.executable.clone(), sys_path: wire.sys_path.clone() })
    }
}

/// The job's own program.
fn own(job: &JobConfig) -> WorkerProgram {
    WorkerProgram {
        language: job.language.clone(),
        executable: job.executable.clone(),
        sys_path: job.sys_path.clone(),
    }
}

/// All programs of a job, its own first. Those of a newer release's languages are left out.
pub(crate) fn programs_of(job: &JobConfig) -> Vec<Program> {
    std::iter::once(&own(job)).chain(&job.programs).filter_map(Program::from_wire).collect()
}

/// The job as a worker of this program sees it: the program is its own, and the one that was is among the others.
pub(crate) fn job_of(job: &JobConfig, program: Option<&Program>) -> JobConfig {
    let mut made = job.clone();
    let Some(program) = program.map(Program::to_wire).filter(|program| *program != own(job)) else {
        return made;
    };
    made.programs.retain(|other| *other != program);
    made.programs.insert(0, own(job));
    WorkerProgram { language: made.language, executable: made.executable, sys_path: made.sys_path } = program;
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_the_jobs_own_change_places() {
        let binary =
            Program { language: Language::Rust, executable: "/bin/tool".into(), sys_path: Vec::new() };
        let job = JobConfig {
            language: "python".into(),
            executable: "/bin/python".into(),
            sys_path: vec!["/lib".into()],
            ..JobConfig::default()
        };
        let there = job_of(&job, Some(&binary));
        assert_eq!((&*there.language, &*there.executable), ("rust", "/bin/tool"));
        assert!(there.sys_path.is_empty());
        let [python] = &programs_of(&there)[1..] else { panic!("one other program") };
        assert_eq!(job_of(&there, Some(python)).executable, "/bin/python");
        assert_eq!(job_of(&there, Some(python)).programs, [binary.to_wire()]);
        assert_eq!(job_of(&job, None), job);
    }
}
