"""Certificates, verdicts and circuits in plain language."""
