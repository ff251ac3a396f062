"""The engine as a stand-alone debug adapter: runs a script under itself and listens for one client at a time."""
