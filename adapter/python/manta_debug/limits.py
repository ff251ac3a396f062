"""Every limit of the engine, in one place.

What is cut by one of these says in its own text that it was cut.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
HEADER_BYTES_MAX: Final = 8 * 1024

BREAKPOINTS_MAX: Final = 10_000
SOURCE_BYTES_MAX: Final = 8 * 1024 * 1024
FILE_CACHE_MAX: Final = 50_000
CODE_CACHE_MAX: Final = 200_000

FRAMES_COUNTED_MAX: Final = 100_000
FRAMES_PAGE_MAX: Final = 1_000

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

EVALUATE_CHARS_MAX: Final = 64 * 1024
INTEGER_BITS_MAX: Final = 4_096
ARRAY_ITEMS_SHOWN_MAX: Final = 6
TRACEBACK_CHARS_MAX: Final = 32 * 1024
OUTPUT_CHARS_MAX: Final = 64 * 1024

REPR_SECONDS_MAX: Final = 0.25
WATCH_SECONDS_MAX: Final = 3.0
RELEASE_SECONDS_MAX: Final = 4.0
