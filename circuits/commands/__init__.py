"""The command line: a file a command, its options declared in that file, what it prints in `<command>_output.py`.

`options.py` has the options that commands share, `app.py` the program. The top of the house: nothing imports from here
but notebooks and tests; `app.main` is the entry point of `jumpwire`.
"""
