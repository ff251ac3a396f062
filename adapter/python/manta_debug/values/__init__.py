"""Values as a client sees them: one line each, and a tree that is opened lazily. Runs no code of a value's class unasked."""
