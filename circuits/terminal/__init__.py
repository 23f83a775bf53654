"""What every command of the command line needs: progress, interruption and exit codes, amounts, safe output.

Every room of `circuits` may use `amounts.time_in_words`, `amounts.flops_in_words` and `printable.printable_token`. The
rest is for `circuits.commands`: `exits.clean_exit`, `progress.progress_bar`, `printable.printable`,
`cautions.caution_texts`, `shown_prompt.shown_prompt`, `whole_run.write_whole` for files that belong together, and in
`resumable` the context manager of that name.
"""
