"""`initialize`, `attach`, `launch`, `configurationDone`, `disconnect`, `terminate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import FILTERS
from .base import Arguments, OnClient, Reply

if TYPE_CHECKING:
    from ..engine import Engine

CAPABILITIES: dict[str, Any] = {
    "supportsConfigurationDoneRequest": True,
    "supportsFunctionBreakpoints": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsLogPoints": True,
    "supportsEvaluateForHovers": True,
    "supportsSetVariable": True,
    "supportsSetExpression": True,
    "supportsStepInTargetsRequest": True,
    "supportsGotoTargetsRequest": True,
    "supportsRestartFrame": True,
    "supportsCompletionsRequest": True,
    "completionTriggerCharacters": ["."],
    "supportsModulesRequest": True,
    "supportsLoadedSourcesRequest": True,
    "supportsBreakpointLocationsRequest": True,
    "supportedChecksumAlgorithms": ["SHA256"],
    "supportsValueFormattingOptions": True,
    "supportsCancelRequest": True,
    "supportsExceptionInfoRequest": True,
    "supportsExceptionFilterOptions": True,
    "supportsDelayedStackTraceLoading": True,
    "supportsSingleThreadExecutionRequests": True,
    "supportsClipboardContext": True,
    "supportTerminateDebuggee": True,
    "supportsTerminateRequest": True,
    "exceptionBreakpointFilters": FILTERS,
}


def _initialize(engine: Engine, arguments: Arguments) -> Reply:
    engine.client = arguments
    engine.lines_start_at_1 = bool(arguments.get("linesStartAt1", True))
    engine.columns_start_at_1 = bool(arguments.get("columnsStartAt1", True))
    return Reply(CAPABILITIES, then=lambda: engine.host.initialized(engine))


def _attach(engine: Engine, arguments: Arguments) -> Reply:
    engine.host.begin(engine, arguments, launched=False)
    return Reply()


def _launch(engine: Engine, arguments: Arguments) -> Reply:
    engine.host.begin(engine, arguments, launched=True)
    return Reply()


def _configuration_done(engine: Engine, arguments: Arguments) -> Reply:
    return Reply(then=lambda: engine.host.configuration_done(engine))


def _disconnect(engine: Engine, arguments: Arguments) -> Reply:
    if not engine.host.ends_program(arguments.get("terminateDebuggee")):
        engine.close()
        return Reply(then=lambda: engine.host.disconnect(engine))
    return Reply(then=lambda: _end(engine, at_once=True))


def _terminate(engine: Engine, arguments: Arguments) -> Reply:
    if not engine.host.ends_program(True):
        engine.close()
        return Reply(then=lambda: engine.host.disconnect(engine))
    return Reply(then=lambda: _end(engine, at_once=False))


def _end(engine: Engine, *, at_once: bool) -> None:
    # Before its threads run on, for a paused program must not run a line more.
    engine.host.end_program(engine, at_once=at_once)
    engine.close()


REQUESTS = {
    "initialize": OnClient(_initialize),
    "attach": OnClient(_attach),
    "launch": OnClient(_launch),
    "configurationDone": OnClient(_configuration_done),
    "disconnect": OnClient(_disconnect),
    "terminate": OnClient(_terminate),
}
