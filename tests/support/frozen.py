"""Imported last by a server that forks: the garbage collector of what is forked leaves alone what
the server has imported, which costs time and copies memory."""

import gc

gc.collect()
gc.freeze()
