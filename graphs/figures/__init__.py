"""Figures of circuits and verdicts, as plotly figures whose title states the finding in words.

Of a circuit: `circuit_figure`, `position_figure`, `circuit_estimates_figure`, `faithfulness_figures`. Of a verdict:
`verdict_figure`, `cause_figure`, `residual_figure`, `path_trace_figure`. Other rooms may also use `colours` (no plotly)
and `figure_frame`, the template and title of every figure.
"""
