"""An estimate against exact patching: verdicts, causes, and bounds on what was missed.

Other rooms use `check` (the checker), `verdict_of` and `causes` (what a verdict can show besides its numbers),
`own_path` (one node's exact effect along its own path), `gate_crossings` (where gates flip between the two runs),
`gates_at_threshold`, `sae_quality`, `dictionary_quality` and `agreement`. `verification`, `gates_at_risk`, `audit` and
`own_path_walk` are parts of the checker, `text_batch` and `reconstruction_numbers` of both qualities.
"""
