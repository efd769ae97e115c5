from tidemill.home import Home
from tidemill.monitor.drift import ColumnDrift, DriftReport, Verdict
from tidemill.monitor.report import as_markdown, latest_report, list_reports, read_report, write_report


def report(created: str, verdict: Verdict = "drift") -> DriftReport:
    column = ColumnDrift("a|b", "category", 0.5, 0.1, 0.02, True, 0.2, None, 9.0, 0.3, 0.0, 0.25, ["new"], None,
                         ["x", "other", "missing"], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25])  # fmt: skip
    columns = [] if verdict == "too few rows" else [column]
    window = ("2026-03-01T00:00:00.000+00:00", "2026-03-02T00:00:00.000+00:00")
    return DriftReport("ward", created, verdict, 200, 50, 426, *window, 2, 0.01, 2000, columns)


def test_the_newest_report_is_found_and_all_stay(home: Home) -> None:
    assert latest_report(home, "ward") is None
    newest = report("2026-03-02T10:00:00.001+00:00")
    write_report(home, "ward", newest)
    older = write_report(home, "ward", report("2026-03-02T10:00:00.000+00:00", "stable"))
    assert latest_report(home, "ward") == newest
    assert len(list_reports(home, "ward")) == 2
    assert list_reports(home, "ward")[1] == older
    assert read_report(older).verdict == "stable"


def test_a_reader_sees_the_verdict_and_the_columns() -> None:
    text = as_markdown(report("2026-03-02T10:00:00.000+00:00"))
    assert "**drift**: 200 predictions of model 2" in text
    assert "a\\|b | 0.500 | 0.100" in text
    assert "needs 50" in as_markdown(report("2026-03-02T10:00:00.000+00:00", "too few rows"))
