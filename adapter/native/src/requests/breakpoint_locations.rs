//! `breakpointLocations`: the lines of a range that have code.

use std::collections::BTreeSet;

use dap::{BreakpointLocation, BreakpointLocationsArguments, BreakpointLocationsResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::resolve::lines_with_code;
use crate::limits::BREAKPOINT_LOCATIONS_MAX;

impl Server {
    pub(super) fn breakpoint_locations(
        &mut self,
        arguments: BreakpointLocationsArguments,
    ) -> Answered<BreakpointLocationsResponseBody> {
        let path = arguments.source.path.ok_or("The path of the file is missing.")?;
        let line = |line: i64| u32::try_from(line).map_err(|_| format!("There is no line {line}."));
        let first = line(arguments.line)?;
        let last = arguments.end_line.map_or(Ok(first), line)?;
        let paths = [path];
        let modules = self.engine.modules.searched();
        let lines: BTreeSet<u32> =
            modules.flat_map(|module| lines_with_code(module, &paths, first..=last)).collect();
        let breakpoints = lines
            .into_iter()
            .take(BREAKPOINT_LOCATIONS_MAX)
            .map(|line| BreakpointLocation { line: i64::from(line), ..Default::default() })
            .collect();
        Ok(Answer::Now(BreakpointLocationsResponseBody { breakpoints }))
    }
}
