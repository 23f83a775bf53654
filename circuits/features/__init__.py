"""Features that act: everything about one feature, and features found by what they do.

For other rooms: `feature_report`, `ReportOptions`, `find_features`, and `spans_of`, a pattern or a named context.
"""
