"""Tests of the engine: each runs a small program under the stand-alone adapter and talks ordinary DAP to it."""
