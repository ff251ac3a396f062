"""The debug adapter for editors: its client names a program, which it launches under the engine or attaches to."""
