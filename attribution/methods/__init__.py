"""The methods that give every node an effect, one file each, and their registry.

Other rooms use the methods, each a function named like its file, and `registry`: `METHODS` holds them by name. Chord IG
has a room of its own, `attribution/chord`. `input_path`, the path between two prompts, also serves the checker. The
rest is internal: `query_key_fix` and `grad_drop` are the two halves of AtP*.
"""
