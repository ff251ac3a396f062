"""`python -m manta.debug`: the Python debug engine on its own, for one script."""
