"""The timing protocol on a made-up clock: what counts, what is visited again, what is said of a noisy host."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UsageError
from nasforge.targets import timing
from nasforge.targets.pinning import allowed_cores, pin_to_quietest, restored_affinity
from nasforge.targets.timing import Noise, Protocol, Readings, make_protocol, one_visit, time_interleaved


class Clock:
    """Time that passes only while something runs; `factor` says how slow the host is at a moment (in ms)."""

    def __init__(self, factor=lambda now_ms: 1.0):
        self.now_ms, self.factor = 0.0, factor

    def perf_counter_ns(self):
        return round(self.now_ms * 1e6)

    def time(self):
        return self.now_ms / 1e3

    def sleep(self, seconds):
        self.now_ms += seconds * 1e3

    def run(self, cost_ms):
        def call():
            self.now_ms += cost_ms * self.factor(self.now_ms)

        return call


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    monkeypatch.setattr(timing, "allowed_cores", lambda: ())
    return made


def test_a_visit_has_its_least_runs_and_its_least_length(clock):
    assert len(one_visit(clock.run(1.0), Protocol(runs=5, visit_ms=2.0))) == 5
    assert len(one_visit(clock.run(1.0), Protocol(runs=5, visit_ms=20.0))) == 20


def test_warm_up_runs_are_not_counted(clock):
    calls = []
    one_visit(lambda: calls.append(clock.run(1.0)()), Protocol(runs=4, visit_ms=0.0, warm_up=3))
    assert len(calls) == 7


def test_a_visit_of_a_slow_network_ends_early_but_has_two_runs(clock):
    assert len(one_visit(clock.run(60.0), Protocol(runs=15))) == 2
    assert len(one_visit(clock.run(500.0), Protocol(runs=15))) == 2


def test_every_item_is_visited_in_every_pass_in_its_own_place(clock):
    costs = [1.0, 2.0, 3.0, 4.0, 5.0]
    readings, noise = time_interleaved([clock.run(c) for c in costs], clock.run(0.1), Protocol(visits=4, every=2))
    assert [len(each.visits) for each in readings] == [4] * 5
    assert [min(map(min, each.counted)) for each in readings] == pytest.approx(costs)
    assert noise.accepted == 1.0
    assert noise.sentence == ""
    assert noise.reference_ms == pytest.approx(0.1)


def test_visits_in_a_slow_spell_do_not_count(clock, monkeypatch):
    monkeypatch.setattr(timing, "QUIET_FROM", 0.3)
    clock.factor = lambda now_ms: 1.5 if 100.0 <= now_ms <= 300.0 else 1.0
    protocol = Protocol(visits=8, runs=5, visit_ms=5.0, pause_seconds=0.0, every=1, extra=0)
    readings, noise = time_interleaved([clock.run(1.0), clock.run(2.0)], clock.run(0.2), protocol)
    assert 0.3 < noise.accepted < 1.0
    for each, cost in zip(readings, (1.0, 2.0), strict=True):
        assert False in each.accepted
        assert max(map(max, each.counted)) == pytest.approx(cost)
        assert max(map(max, each.visits)) == pytest.approx(1.5 * cost)


def test_items_with_too_few_quiet_visits_are_visited_again_a_bounded_number_of_times(clock, monkeypatch):
    monkeypatch.setattr(timing, "QUIET_FROM", 0.3)
    last = []

    def item(name):
        return lambda: (last.append(name), clock.run(1.0)())

    def reference():
        clock.run(0.3 if last and last[-1] == "loud" else 0.2)()

    protocol = Protocol(visits=3, runs=5, visit_ms=5.0, pause_seconds=0.0, every=1, enough=2, extra=3)
    (quiet, loud), noise = time_interleaved([item("quiet"), item("loud")], reference, protocol)
    assert len(quiet.visits) == 3
    assert all(quiet.accepted)
    assert 3 < len(loud.visits) <= 6
    assert not any(loud.accepted)
    assert 0.2 < noise.accepted < 0.6


def test_on_a_host_that_is_noisy_throughout_nothing_is_visited_again_and_it_is_said(clock):
    protocol = Protocol(visits=2, runs=5, visit_ms=0.0, pause_seconds=0.0, every=1, enough=2, extra=3)
    calls = []

    def reference():
        calls.append(None)
        clock.run(0.2 * 1.2 ** (len(calls) // 8))()  # eight runs a visit, and no two visits alike

    readings, noise = time_interleaved([clock.run(1.0), clock.run(1.0)], reference, protocol)
    assert [len(each.visits) for each in readings] == [2, 2]
    assert noise.accepted < 0.3
    assert noise.too_noisy
    assert "host too noisy" in noise.sentence


def test_a_host_that_keeps_a_slower_speed_for_a_while_is_timed_relatively(clock):
    speeds = (1.0, 1.2, 1.4, 1.3, 1.25, 1.35)
    clock.factor = lambda now_ms: speeds[min(int(now_ms / 400.0), len(speeds) - 1)]
    protocol = Protocol(visits=12, runs=5, visit_ms=20.0, pause_seconds=0.0, every=1, extra=0)
    costs = [1.0, 2.0, 3.0]
    readings, noise = time_interleaved([clock.run(each) for each in costs], clock.run(0.2), protocol)
    assert noise.accepted < 0.3 < noise.steady
    assert noise.relative
    assert not noise.too_noisy
    assert "relative to a reference" in noise.sentence
    assert noise.reference_ms == pytest.approx(0.2)
    assert [each.best_ms for each in readings] == pytest.approx(costs, rel=0.01)


def test_relative_readings_count_as_the_median_of_steady_visits_each_divided_by_its_slowness():
    visits = ((2.0, 2.2), (3.0, 3.1), (9.0, 9.0), (1.5, 1.5))
    each = Readings(visits, (True, True, False, True), (2.0, 2.5, 1.0, 1.0), relative=True)
    assert each.counted == ((1.0, 1.1), (1.2, 1.24), (1.5, 1.5))
    assert each.best_ms == pytest.approx(1.2)
    assert Readings(visits, (True, True, False, True), (2.0, 2.5, 1.0, 1.0)).best_ms == 1.5


VISITS = st.lists(
    st.tuples(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6), st.booleans(), st.floats(1.0, 3.0)), min_size=1
)


@given(VISITS, st.booleans())
def test_the_quiet_latency_is_at_most_the_tenth_percentile_and_that_the_median(visits, relative):
    times, accepted, slowness = zip(*visits, strict=True)
    each = Readings(tuple(map(tuple, times)), accepted, slowness, relative)
    assert each.best_ms <= each.p10_ms <= each.median_ms
    counted = [time for visit in each.counted for time in visit]
    assert min(counted) <= each.best_ms
    assert each.median_ms <= max(counted)


def test_relative_percentiles_are_medians_over_visits():
    each = Readings(((1.0, 2.0, 3.0), (10.0, 20.0, 30.0)), (True, True), (1.0, 2.0), relative=True)
    assert each.best_ms == (1.0 + 5.0) / 2
    assert each.p10_ms == pytest.approx((1.2 + 6.0) / 2)
    assert each.median_ms == (2.0 + 10.0) / 2
    as_read = Readings(each.visits, each.accepted, each.slowness)
    assert (as_read.best_ms, as_read.median_ms) == (1.0, 6.5)
    assert as_read.p10_ms == pytest.approx(1.2)


def test_with_fewer_than_two_quiet_visits_all_count():
    visits = ((1.0,), (2.0,), (3.0,))
    assert Readings(visits, (False, True, False)).counted == visits
    assert Readings(visits, (False, True, True)).counted == visits[1:]


def test_progress_rises_to_one(clock):
    heard = []
    time_interleaved([clock.run(1.0)] * 3, clock.run(0.1), Protocol(visits=3, every=1), heard.append)
    assert heard == sorted(heard)
    assert heard[0] == 0.0
    assert heard[-1] == 1.0


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collection_rests_while_timing_and_is_as_before_after(clock, collecting):
    during, before = [], gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        time_interleaved(
            [lambda: during.append(gc.isenabled()) or clock.run(1.0)()], clock.run(1.0), Protocol(visits=1)
        )
        assert not any(during)
        assert gc.isenabled() == collecting
        with pytest.raises(ZeroDivisionError):
            time_interleaved([lambda: 1 / 0], clock.run(1.0), Protocol(visits=1))
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.skipif(not allowed_cores(), reason="this system does not pin threads")
def test_cores_are_given_back_even_after_an_error():
    before = os.sched_getaffinity(0)

    def pin_and_fail():
        with restored_affinity():
            pin_to_quietest((min(before),), lambda: 0.0)
            assert os.sched_getaffinity(0) == {min(before)}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pin_and_fail()
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(len(allowed_cores()) < 2, reason="there is one core")
def test_the_core_on_which_the_probe_is_fastest_is_taken():
    cores = allowed_cores()[:2]
    for best in cores:
        with restored_affinity():
            assert pin_to_quietest(cores, lambda best=best: 1.0 + (os.sched_getaffinity(0) != {best})) == best
            assert os.sched_getaffinity(0) == {best}


def test_where_nothing_can_be_pinned_nothing_is_recorded():
    assert pin_to_quietest((), lambda: 1.0) is None


def test_noise_is_plain_data():
    data = Noise(0.1, 0.2, 0.25, 0.2, (1, 0)).to_json()
    assert data["cores"] == [1, 0]
    assert data["relative"] is False
    assert data["sentence"].startswith("host too noisy: only 25%")


@pytest.mark.parametrize(
    ("accepted", "steady", "relative", "too_noisy"),
    [
        (1.0, 1.0, False, False),
        (0.8, 0.0, False, False),
        (0.79, 0.3, True, False),
        (0.79, 0.29, False, False),
        (0.1, 0.9, True, False),
        (0.29, 0.29, False, True),
    ],
)
def test_times_are_relative_on_a_steady_host_and_refused_on_no_other_that_is_never_quiet(
    accepted, steady, relative, too_noisy
):
    noise = Noise(0.1, 0.2, accepted, steady)
    assert (noise.relative, noise.too_noisy) == (relative, too_noisy)
    assert bool(noise.sentence) == (relative or too_noisy)
    assert ("too noisy" in noise.sentence) == too_noisy


def test_protocols_come_from_their_fields():
    assert make_protocol(None) == Protocol()
    assert make_protocol({"visits": 9, "visit_ms": 5}) == Protocol(visits=9, visit_ms=5.0)
    assert make_protocol(Protocol(gate=0.5)).gate == 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"vists": 1}, "Did you mean 'visits'"),
        ({"visits": 0}, "from 1 up"),
        ({"visits": 1.5}, "expected int"),
        ({"visits": True}, "expected int"),
        ({"visit_ms": "long"}, "expected float"),
        ({"pause_seconds": -1}, "from 0 up"),
        ("quick", "fields by name"),
    ],
)
def test_impossible_protocols_are_refused(given, expected):
    with pytest.raises(UsageError, match=expected):
        make_protocol(given)
