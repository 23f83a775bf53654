"""Certificates, verdicts and circuits in plain words: what people read, without a figure or a file format.

`certificate_words` decides the value, the reading and the colour of every line of a certificate; `verdict_words` gives
a verdict's grade, key numbers, flags and causes; `circuit_words` a circuit's headline; `method_names` the display names
of methods; `number_formats` how numbers are written; `notebook_view` what a notebook displays.
"""
