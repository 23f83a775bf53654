"""What commands share: options, the inputs that they name, and the files of a run.

An option that two commands have is declared in `options.py`, once.
"""
