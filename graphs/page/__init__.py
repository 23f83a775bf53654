"""Self-contained HTML pages that make no network request: `circuit_page` of a circuit, `verdict_page` of a verdict.

A circuit's page is interactive: `payload` collects what it needs, `script/` draws it. A verdict's page is made of
figures.
"""
