"""Runs a script under the Python debug engine, which any DAP client can talk to."""

import runpy

if __name__ == "__main__":
    runpy.run_module("manta_debug", run_name="__main__", alter_sys=True)
