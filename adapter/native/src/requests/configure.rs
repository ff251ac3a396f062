//! `mantaConfigure`: the whole set of a session's breakpoints.

use dap::RequestMessage;

use super::Server;
use crate::engine::Engine;
use crate::engine::breakpoints::{On, Specification};
use crate::engine::configuration::Configuration;
use crate::protocol::{ConfigureArguments, ConfigureBreakpoint, ConfigureResponseBody, MantaConfigure};

/// Names of filters that mean panics. A session has one set of names for all its engines.
pub(super) const PANIC_FILTERS: [&str; 3] = ["panic", "uncaught", "raised"];
/// Names of filters that mean signals that end the program.
pub(super) const SIGNAL_FILTERS: [&str; 3] = ["signal", "uncaught", "raised"];

impl Server {
    /// Puts a set into force, and answers when it holds for every thread; and before that, when its code is in a file whose debug
    /// information may come in a moment.
    pub(super) fn configure_request(&mut self, request: &RequestMessage) {
        // The set before is still in force, and its answer is due.
        self.answer_configured();
        let taken = match request.arguments() {
            Ok(arguments) => self.configure(arguments),
            Err(malformed) => Err(malformed.reason),
        };
        if let Err(reason) = taken {
            return self.engine.outbox.respond(request.err(reason));
        }
        self.engine.ask_for_debug_information(true);
        self.configured = Some(request.clone());
        if !self.engine.awaits_debug_information() {
            self.answer_configured();
        }
    }

    /// Answers for the set in force, if that was not done.
    pub(super) fn answer_configured(&mut self) {
        let Some(request) = self.configured.take() else { return };
        let configuration = &self.engine.configuration;
        let breakpoints = configuration.breakpoints.iter().map(Engine::breakpoint_body).collect();
        let level = self.engine.level().name().to_owned();
        let body = ConfigureResponseBody { generation: configuration.generation, level, breakpoints };
        self.engine.answer_when_synced(request.ok::<MantaConfigure>(&body));
    }

    fn configure(&mut self, arguments: ConfigureArguments) -> Result<(), String> {
        let generation = arguments.generation;
        // Each session counts for itself.
        let in_force = &self.engine.configuration;
        if arguments.session_id == in_force.session_id && generation < in_force.generation {
            return Err(format!(
                "The breakpoints of generation {generation} are older than those in force ({}).",
                self.engine.configuration.generation
            ));
        }
        let options = arguments.exception_options.iter().map(|option| option.filter_id.as_str());
        let filters: Vec<&str> =
            arguments.exception_filters.iter().map(String::as_str).chain(options).collect();
        let stop_at_panics = filters.iter().any(|name| PANIC_FILTERS.contains(name));
        let stop_at_signals = filters.iter().any(|name| SIGNAL_FILTERS.contains(name));
        let into_framework = arguments.step_into_framework;
        let session_id = arguments.session_id.clone();
        let mut data = Vec::new();
        for place in &arguments.data_breakpoints {
            data.push(Specification {
                id: place.id,
                on: self.data_place(&place.data_id, place.access_type.as_ref())?,
                condition: place.condition.clone(),
                hit_condition: place.hit_condition.clone(),
                log_message: None,
            });
        }
        let specifications = specifications(arguments).into_iter().chain(data).collect();
        let breakpoints = self.engine.breakpoints_of(specifications);
        self.engine.configure(Configuration {
            session_id,
            generation,
            breakpoints,
            stop_at_panics,
            stop_at_signals,
            into_framework,
        });
        Ok(())
    }
}

fn specifications(arguments: ConfigureArguments) -> Vec<Specification> {
    let make = |breakpoint: ConfigureBreakpoint, on: On| Specification {
        id: breakpoint.id,
        on,
        condition: breakpoint.condition,
        hit_condition: breakpoint.hit_condition,
        log_message: breakpoint.log_message,
    };
    let mut specifications = Vec::new();
    for file in arguments.sources {
        let mut paths = file.paths;
        if paths.is_empty() {
            paths.extend(file.source.path);
        }
        for breakpoint in file.breakpoints {
            let on = On::Line { paths: paths.clone(), line: breakpoint.line, sha256: file.sha256.clone() };
            specifications.push(make(breakpoint, on));
        }
    }
    for breakpoint in arguments.function_breakpoints {
        let on = On::Function(breakpoint.name.clone());
        specifications.push(make(breakpoint, on));
    }
    specifications
}
