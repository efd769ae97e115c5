"""Plots are PNG files, whatever the task and the names of its classes."""

import dataclasses

import pytest

from tidemill.learn.plots import evaluation_plots, plot_candidates, plot_evaluation, plot_folds

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "plots"),
    [
        ("binary", {"confusion", "roc", "pr", "calibration"}),
        ("multiclass", {"confusion", "roc", "pr", "calibration"}),
        ("regression", {"residuals"}),
    ],
)
def test_each_task_has_its_plots(name, plots, request):
    trained = request.getfixturevalue(name)
    drawn = evaluation_plots(trained.evaluation)
    assert set(drawn) == plots
    more = [
        plot_evaluation(trained.evaluation),
        plot_candidates(trained.training),
        plot_folds(trained.training.best),
    ]
    assert all(picture.startswith(PNG) for picture in [*drawn.values(), *more])


def test_class_names_are_shown_literally(binary):
    odd = {"classes": ["$x_1$ \\frac", "_hidden" * 9], "counts": [[0, 0], [0, 0]]}
    evaluation = dataclasses.replace(binary.evaluation, confusion=odd, roc={"$a_$": [[0.0, 0.0], [1.0, 1.0]]})
    assert plot_evaluation(evaluation).startswith(PNG)


def test_importance_is_drawn_where_it_was_studied(binary):
    columns = [{"column": f"c{n}", "drop": 0.1 * n, "std": 0.01, "correlated": []} for n in range(20)]
    studied = {"metric": "roc_auc", "rows": 100, "repeats": 5, "columns": columns, "columns_left_out": []}
    drawn = evaluation_plots(dataclasses.replace(binary.evaluation, importance=studied))
    assert drawn["importance"].startswith(PNG)
    assert "importance" not in evaluation_plots(binary.evaluation)
