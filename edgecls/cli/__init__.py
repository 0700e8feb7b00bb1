"""The `edgecls` command: options declared once (options.py) and one file per command."""
