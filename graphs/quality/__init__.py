"""The quality of dictionaries as data: the numbers, comparisons at equal L0, words, figures and the file.

For other rooms: `DictionaryQuality` (`dictionary_quality.py`), `compare_at_equal_l0` (`equal_l0.py`), the tables of
`quality_words.py`, the figures of `quality_figures.py` and `save_qualities` (`quality_json.py`); `ThresholdRounding`
(`threshold_rounding.py`), its sentences (`bet_words.py`) and its figure (`rounding_figure.py`).
"""
