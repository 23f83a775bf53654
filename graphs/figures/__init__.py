"""Plotly figures of circuits and verdicts."""
