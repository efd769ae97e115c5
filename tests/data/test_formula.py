"""Cells of our CSV files that a spreadsheet would run."""

import pytest

from tidemill.data.formula import guarded, harmless, unguarded


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-1+1", "@SUM(A1)", "\t=1", " =1", "-", "\r=1"])
def test_what_would_be_run_gets_an_apostrophe(text: str) -> None:
    assert harmless(text) == "'" + text


@pytest.mark.parametrize("text", ["", "x", "-5", "+1.5e-3", "-1.234,5", "a=b", "'=1"])
def test_numbers_and_other_text_stay(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "''-x", "' @x", "'x", "-5", "", "'", "-", "x"])
def test_a_guarded_cell_comes_back_as_it_was(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert harmless(guarded(text)) == guarded(text)
