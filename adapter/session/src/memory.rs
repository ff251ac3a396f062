//! Memory references of many processes: each says whose memory it is, as the same address means another thing in each.

use std::collections::HashMap;

use crate::{ids::TargetId, requests::Refusal, session::Session};

/// The processes whose memory the client has been shown.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    numbers: HashMap<TargetId, usize>,
    targets: Vec<TargetId>,
}

impl Memories {
    fn number(&mut self, target: &TargetId) -> usize {
        if let Some(number) = self.numbers.get(target) {
            return *number;
        }
        self.targets.push(target.clone());
        self.numbers.insert(target.clone(), self.targets.len());
        self.targets.len()
    }

    /// Whose memory it is, and that target's own reference.
    fn resolve<'a>(&self, reference: &'a str) -> Option<(&TargetId, &'a str)> {
        let (number, own) = reference.split_once(':')?;
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        Some((self.targets.get(index)?, own))
    }
}

impl Session {
    /// A target's memory reference, as the client can use it.
    pub(crate) fn shown_memory(&mut self, reference: Option<String>, target: &TargetId) -> Option<String> {
        let reference = reference?;
        Some(format!("{}:{reference}", self.memories.number(target)))
    }

    /// The target behind the client's memory reference, and the target's own reference.
    pub(crate) fn memory_of(&self, reference: &str) -> Result<(TargetId, String), Refusal> {
        let (target, own) = self.memories.resolve(reference).ok_or_else(|| {
            Refusal::from(format!(
                "there is no memory '{reference}' in this session; take a reference of a variable or a frame"
            ))
        })?;
        Ok((target.clone(), own.to_owned()))
    }
}
