//! `source`: the text of a file that the client does not have.

use dap::{SourceArguments, SourceResponseBody};

use super::{Answer, Answered, Server};
use crate::limits::SOURCE_BYTES_MAX;

impl Server {
    /// Only files that the program was built from are given out: this is no way to read others.
    pub(super) fn source(&mut self, arguments: SourceArguments) -> Answered<SourceResponseBody> {
        let path =
            arguments.source.and_then(|source| source.path).ok_or("The path of the file is missing.")?;
        let program = self.engine.program()?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        let mut modules = self.engine.modules.searched();
        let has_it =
            modules.any(|module| module.image.sources_named(name).iter().any(|source| source.path == path));
        if !has_it {
            return Err(format!("The program {} was not built from {path}.", program.image.path()));
        }
        let size =
            std::fs::metadata(&path).map_err(|error| format!("{path} cannot be read here: {error}."))?.len();
        if size > SOURCE_BYTES_MAX {
            return Err(format!(
                "{path} has {size} bytes; files of more than {SOURCE_BYTES_MAX} are not given out."
            ));
        }
        let content = std::fs::read_to_string(&path)
            .map_err(|error| format!("{path} cannot be read here: {error}."))?;
        Ok(Answer::Now(SourceResponseBody { content, mime_type: Some("text/x-rust".to_owned()) }))
    }
}
