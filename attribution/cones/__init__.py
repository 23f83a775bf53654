"""The exact engine: patched runs that execute only what a patch can change."""
