"""Every limit of the engine, in one place.

What is cut by one of these says in its own text that it was cut.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
HEADER_BYTES_MAX: Final = 8 * 1024
UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
SEND_BYTES_MAX: Final = 64 * 1024
CLIENTS_WAITING_MAX: Final = 8

BREAKPOINTS_MAX: Final = 10_000
SOURCE_BYTES_MAX: Final = 8 * 1024 * 1024
TEXTS_COMPILED_MAX: Final = 32
FILE_CACHE_MAX: Final = 50_000
CODE_CACHE_MAX: Final = 200_000

FRAMES_COUNTED_MAX: Final = 100_000
FRAMES_PAGE_MAX: Final = 1_000
LOOK_FRAMES_MAX: Final = 50
# What is told of a stop ahead of being asked leaves the processor so long to those that carry the stop.
GIVE_WAY_SECONDS: Final = 100e-6
# A thread that has given way for a shorter time has found nobody that waits for its processor.
NOBODY_RAN_SECONDS: Final = 5e-6
LOOK_VARIABLES_MAX: Final = 100
AWAITS_MAX: Final = 1_000
AWAITERS_MAX: Final = 50

CHILDREN_PAGE_MAX: Final = 2_000
HANDLES_PER_STOP_MAX: Final = 200_000

VALUE_CHARS_MAX: Final = 1_000
VALUE_DEPTH_MAX: Final = 3
VALUE_ITEMS_MAX: Final = 20
STRING_CHARS_MAX: Final = 500
COMPLETIONS_MAX: Final = 500
MODULES_PAGE_MAX: Final = 2_000
SOURCES_LISTED_MAX: Final = 10_000
LOCATIONS_MAX: Final = 10_000
RULES_MAX: Final = 1_000
SOURCE_PIECES_MAX: Final = 10_000
CHILDREN_MAX: Final = 1_000
RETURNS_MAX: Final = 20
RETURNS_PASSED_MAX: Final = 10_000
CALL_TARGETS_MAX: Final = 100
GOTO_TARGETS_MAX: Final = 1_000

EVALUATE_CHARS_MAX: Final = 64 * 1024
INTEGER_BITS_MAX: Final = 4_096
ARRAY_ITEMS_SHOWN_MAX: Final = 6
CAUSES_MAX: Final = 4
GROUP_MEMBERS_MAX: Final = 10
TRACEBACK_CHARS_MAX: Final = 32 * 1024
OUTPUT_CHARS_MAX: Final = 64 * 1024

OBJECT_SECONDS_MAX: Final = 2.0
REPR_SECONDS_MAX: Final = 0.25
REPRS_SECONDS_MAX: Final = 1.0
HELPERS_MAX: Final = 8
WATCH_SECONDS_MAX: Final = 3.0
RELEASE_SECONDS_MAX: Final = 4.0
