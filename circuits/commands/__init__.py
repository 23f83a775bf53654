"""The command line: a file a command, its options declared in that file, what it prints in `<command>_output.py`.

`shared` has what commands share, `app.py` the program. The top of the house: nothing imports from here
but notebooks and tests; `main` is the entry point of `jumpwire`.
"""

import sys

from circuits.terminal.early_stop import handle_ctrl_c, stop_at_once


def main() -> None:
    """Run the command line. A bug ends with its traceback and exit code 70: 1 is for flags."""
    handle_ctrl_c(stop_at_once)
    try:
        from circuits.commands.app import app

        app()
    except Exception:
        import traceback

        traceback.print_exc()
        sys.exit(70)
    finally:
        handle_ctrl_c(stop_at_once)
