"""A warning on the terminal is a sentence; what is not meant for users goes where it went before."""

import warnings

import pytest

from circuits.terminal.plain_warnings import plain_warnings


def test_a_warning_for_users_is_printed_as_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    passed: list[type[Warning]] = []
    monkeypatch.setattr(warnings, "showwarning", lambda _message, category, *_: passed.append(category))
    before = warnings.showwarning
    with plain_warnings():
        warnings.warn("Patched runs execute whole blocks [1].", stacklevel=1)
        warnings.warn("not for users", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning Patched runs execute whole blocks [1].\n"
    assert passed == [RuntimeWarning]
    assert warnings.showwarning is before
