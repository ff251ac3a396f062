//! A driver under its own private cluster: `launch`, from the start to `terminated`.

use dap::{
    ExitedEventBody, OutputEventBody, OutputEventCategory, ProcessEventBody, ProcessEventStartMethod, events,
};

use crate::{
    effect::Effect,
    options::LaunchOptions,
    output,
    session::{Phase, Session},
};

/// The driver of a session that launched one.
#[derive(Debug)]
pub(crate) struct Launch {
    pub options: LaunchOptions,
    /// Whether its start was asked for.
    pub is_started: bool,
}

impl Session {
    /// Starts the driver once the client has said all that it wants to stop at, and all of it is in force.
    pub(crate) fn start_driver_if_ready(&mut self) {
        if self.phase != Phase::Attached || !self.is_configured || !self.publisher.is_idle() {
            return;
        }
        let Some(launch) = self.launch.as_mut().filter(|launch| !launch.is_started) else { return };
        launch.is_started = true;
        let options = launch.options.clone();
        self.effects.push(Effect::StartDriver(options));
    }

    pub(crate) fn on_driver_started(&mut self, pid: u32) {
        let Some(launch) = &self.launch else { return };
        let body = ProcessEventBody {
            name: launch.options.program.clone(),
            system_process_id: i32::try_from(pid).ok(),
            is_local_process: Some(true),
            start_method: Some(ProcessEventStartMethod::Launch),
            ..Default::default()
        };
        self.emit::<events::Process>(&body);
    }

    pub(crate) fn on_driver_failed(&mut self, cause: &str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.important(cause);
        self.finish(1);
    }

    pub(crate) fn on_driver_output(&mut self, stderr: bool, text: &str) {
        if self.phase == Phase::Ended {
            return;
        }
        let category = if stderr { OutputEventCategory::Stderr } else { OutputEventCategory::Stdout };
        let output = output::cut(text).into_owned();
        self.emit::<events::Output>(&OutputEventBody {
            category: Some(category),
            output,
            ..Default::default()
        });
    }

    pub(crate) fn on_driver_exited(&mut self, code: i32, cause: Option<&str>) {
        if self.phase == Phase::Ended {
            return;
        }
        if let Some(cause) = cause {
            self.console(cause);
        }
        self.finish(code);
    }

    /// The driver is gone, and with it what there was to debug.
    fn finish(&mut self, code: i32) {
        self.end("the program has ended");
        self.effects.push(Effect::Release);
        self.emit::<events::Exited>(&ExitedEventBody { exit_code: code });
        self.emit::<events::Terminated>(&dap::TerminatedEventBody::default());
    }
}
