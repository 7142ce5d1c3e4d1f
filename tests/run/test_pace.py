"""Pace: steps decide where they are given, the clock where it is alone, and steps are cut to fit the clock."""

from nasforge.run.pace import MEASURED_STEPS, Pace


def test_steps_are_divided_by_shares() -> None:
    pace = Pace([1, 3], steps=40, seconds=None)
    assert pace.progress(0, 9, 1e9) < 1 <= pace.progress(0, 10, 0.0)
    assert pace.progress(1, 29, 1e9) < 1 <= pace.progress(1, 30, 0.0)


def test_the_clock_alone_gives_progress_by_time_of_the_phase() -> None:
    pace = Pace([1, 1], steps=None, seconds=10.0)
    assert pace.progress(0, 0, 0.0) == 0.0
    assert pace.progress(0, 7, 2.5) == 0.5
    assert pace.progress(1, 0, 6.0) == 0.0
    assert pace.progress(1, 5, 8.5) == 0.5


def test_slow_steps_are_cut_to_the_clock_and_fast_ones_are_not() -> None:
    for seconds, expected in ((1.0, 50), (0.001, 1000)):
        pace = Pace([1], steps=1000, seconds=50.0)
        for step in range(MEASURED_STEPS + 1):
            pace.observe(0, step, seconds if step else 30.0)
        assert pace.progress(0, expected - 1, 0.0) < 1 <= pace.progress(0, expected, 0.0)


def test_a_resumed_pace_goes_on_alike() -> None:
    pace = Pace([1, 1], steps=None, seconds=10.0)
    pace.progress(0, 0, 0.0)
    pace.progress(1, 0, 6.0)
    again = Pace([1, 1], steps=None, seconds=10.0)
    again.load_state(pace.state())
    assert again.progress(1, 5, 8.5) == 0.5
