from typing import Any

from gateway.console.chart import Chart, plan_chart, step_s


def point(
    at_ms: int, value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {"at_ms": at_ms, "value": value, "low": low, "high": high}


def line(version: str, *points: dict[str, Any], metric: str = "accuracy") -> dict[str, Any]:
    return {"version": version, "metric": metric, "points": list(points)}


def drawn(*lines: dict[str, Any]) -> Chart:
    chart = plan_chart(lines, ["1", "2"])
    assert chart is not None
    return chart


def test_without_labels_there_is_no_chart() -> None:
    assert plan_chart([line("1", point(0, None))], ["1"]) is None
    assert plan_chart([line("9", point(0, 0.5, 0.4, 0.6))], ["1", "2"]) is None


def test_every_coordinate_is_within_the_picture() -> None:
    chart = drawn(
        line("1", point(0, 0.5, 0.0, 1.0), point(60_000, 0.8, 0.7, 0.9)),
        line("2", point(60_000, 0.9, None, None)),
    )
    assert 0 <= chart.low < 0.5 < 0.9 < chart.high <= 1
    for curve in chart.curves:
        numbers = [float(part) for pair in f"{curve.band} {curve.line}".split() for part in pair.split(",")]
        assert all(0 <= number <= 100 for number in numbers)


def test_one_point_is_a_line_across() -> None:
    (curve,) = drawn(line("1", point(60_000, 0.5, 0.4, 0.6))).curves
    assert curve.line == "0.00,50.00 100.00,50.00"


def test_errors_and_shares_are_not_drawn_on_one_scale() -> None:
    chart = drawn(line("1", point(0, 0.5, 0.4, 0.6)), line("2", point(0, 44.0, 40.0, 48.0), metric="mae"))
    assert [curve.version for curve in chart.curves] == ["1"]


def test_a_chart_asks_for_whole_minutes_and_not_for_thousands_of_points() -> None:
    assert step_s(900) == 60
    assert step_s(7 * 86_400) % 60 == 0
    assert 7 * 86_400 / step_s(7 * 86_400) <= 121
