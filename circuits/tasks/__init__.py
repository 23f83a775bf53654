"""Tasks: prompt pairs from templates, in a training, a held-out and an out-of-distribution split.

For other rooms: `prompt_pairs` (pairs of a task, a file or rows), `task_pairs`, and the names in `TASKS` and `SPLITS`.
A task is one file, with its templates and `draw`.
"""
