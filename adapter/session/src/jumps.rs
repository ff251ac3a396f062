//! Lines that the client may let a paused task go on from.

use std::collections::BTreeMap;

use crate::{
    ids::{Counter, IdsExhausted},
    limits::JUMPS_MAX,
};

/// A line that the client has asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The file, as the client knows it.
    pub path: String,
    /// The line, from 1 on.
    pub line: i64,
    /// The column, from 1 on.
    pub column: Option<i64>,
}

/// The newest of them, by their ids.
#[derive(Debug, Default)]
pub struct Jumps {
    by_id: BTreeMap<i32, Jump>,
    ids: Counter,
}

impl Jumps {
    /// A new one. The oldest goes when there are too many.
    ///
    /// # Errors
    /// When no ids are left.
    pub fn add(&mut self, jump: Jump) -> Result<i32, IdsExhausted> {
        let id = self.ids.next()?;
        self.by_id.insert(id, jump);
        if self.by_id.len() > JUMPS_MAX {
            self.by_id.pop_first();
        }
        Ok(id)
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: i32) -> Option<&Jump> {
        self.by_id.get(&id)
    }
}
