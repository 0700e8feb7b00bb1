"""edgecls: put a trained image classifier on an edge device, and prove what it does there."""

__version__ = "0.1.0"
