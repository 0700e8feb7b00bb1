"""libedgecls, the library that runs a bundle on a device, and the host's side of it.

c/, cpp/: the library (edgecls.h is its documentation) and ec_run. binding.py: Python on the device, one file.
build.py compiles the C for an architecture; serve.py is a Session whose process runs on a Device; wire.py speaks to it.
"""
