"""One folder per way of compiling and running; registry.py names them. edgecls.interfaces.Backend is their protocol."""
