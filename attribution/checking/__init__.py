"""An estimate against exact patching: verdicts, causes, and bounds on what was missed."""
