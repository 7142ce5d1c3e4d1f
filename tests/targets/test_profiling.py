"""Profiles to keep: interrupted and gone on with, refused on a noisy machine, held to times of another process."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from nasforge.errors import ProfileError, TargetError
from nasforge.hardware.predictor import agreement, intervals
from nasforge.hardware.profile import checksum, read_profile, write_profile
from nasforge.identity import fingerprint
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.targets import fresh, ort_target, profiling, references, timing
from nasforge.targets.blocks import write_network
from nasforge.targets.ort_cpu import OrtCpu
from nasforge.targets.ort_int8 import OrtInt8
from nasforge.targets.profiling import TO_KEEP
from nasforge.targets.references import Busy, check_references
from nasforge.targets.timing import Kept, Noise, Protocol, Readings, time_interleaved

QUIET = {"gate": 99.0, "busy_cores": 99.0}


@pytest.fixture(autouse=True)
def nothing_checked(monkeypatch):
    monkeypatch.setattr(ort_target, "_checked", {})


@pytest.fixture
def kept_effort(monkeypatch):
    """Make profiles to keep from six networks."""
    monkeypatch.setattr(ort_target, "TO_KEEP", dataclasses.replace(TO_KEEP, fitted=3, held_out=3))


@pytest.mark.slow
def test_a_profile_to_keep_is_found_by_the_next_search_and_has_all_its_parts(cache, tiny, make_space, kept_effort):
    space = make_space()
    path, made = OrtInt8({**tiny, **QUIET}).make_profile(space)
    assert [each.name for each in cache.iterdir()] == [path.name]
    assert read_profile(path) == made
    assert made.entries.keys() == made.readings.keys() == space.node_variants().keys()
    for key, reading in made.readings.items():
        assert made.entries[key] <= reading["p10_ms"] <= reading["median_ms"]
        assert reading["visits"] == tiny["visits"]
        assert (reading["flag"] == "unstable") == (reading["spread"] > 0.03)
    assert set(made.reference) == {"plain", "mbconv"}
    assert made.quant["activations"] == "uint8"
    predicted, measured = ([each[key] for each in made.held_out] for key in ("predicted_ms", "measured_ms"))
    expected, speed = agreement(predicted, measured), made.validation["speed"]
    as_read = agreement(predicted, [speed * each for each in measured])
    assert speed > 0.0
    assert {key: made.validation[key] for key in expected} == expected
    assert made.validation["rmspe_as_read"] == pytest.approx(as_read["rmspe"])
    assert len(made.fitted) >= 3
    assert all(len(each["visits_ms"]) >= tiny["visits"] for each in (*made.fitted, *made.readings.values()))
    assert set(made.baselines) == {"macs", "params"}
    assert len(made.noise["marks"]) >= tiny["visits"]
    assert OrtInt8({**tiny, **QUIET}).predictor(make_space()).profile == path.name
    out = cache / "elsewhere" / "mine.json"
    assert OrtInt8({**tiny, **QUIET}).make_profile(space, out)[0] == out
    assert read_profile(out).space["fingerprint"] == space.fingerprint


def test_an_interrupted_profile_goes_on_where_it_was(cache, tiny, make_space, kept_effort, monkeypatch):
    visits, written = [], []
    one, write = timing.one_visit, profiling.write_network

    def visit(run, protocol):
        visits.append(run)
        if len(visits) == stop:
            raise KeyboardInterrupt
        return one(run, protocol)

    monkeypatch.setattr(timing, "one_visit", visit)
    monkeypatch.setattr(profiling, "write_network", lambda *given: (written.append(given), write(*given))[1])
    monkeypatch.setattr(profiling, "measure_in_fresh_process", lambda kind, options, files, tell: inside(files))
    monkeypatch.setattr(timing, "pin_to_quietest", lambda cores, probe: None)

    def inside(files):
        return OrtCpu({**tiny, **QUIET}).measure_many(files)

    target = OrtCpu({**tiny, **QUIET, "visits": 3})
    stop = -1
    target.make_profile(make_space())
    whole, files = len(visits), len(written)
    (path,) = cache.iterdir()
    path.unlink()
    visits.clear()
    written.clear()
    stop = whole // 2
    with pytest.raises(KeyboardInterrupt):
        target.make_profile(make_space())
    assert [each.suffix for each in cache.iterdir()] == [".unfinished"]
    assert len(written) == files
    stop = -1
    target.make_profile(make_space())
    assert len(written) == files
    assert stop < len(visits) < whole + stop + whole // 2 + 10
    assert len(visits) - whole // 2 < whole
    assert [each.suffix for each in cache.iterdir()] == [".json"]


@pytest.mark.parametrize(
    ("protocol", "word"), [({"gate": 99.0, "busy_cores": 0.0}, "other processes"), ({"busy_cores": 99.0}, "noisy")]
)
def test_a_noisy_or_busy_machine_gets_no_profile(cache, tiny, make_space, kept_effort, monkeypatch, protocol, word):
    monkeypatch.setattr(profiling.Busy, "cores", property(lambda self: 1.0))
    noise = Noise(1.0, 0.5, 0.1 if word == "noisy" else 0.9)
    original = OrtCpu.time
    monkeypatch.setattr(OrtCpu, "time", lambda *given: (original(*given)[0], noise))
    with pytest.raises(ProfileError, match=word):
        OrtCpu({**tiny, **protocol}).make_profile(make_space())
    assert not list(cache.glob("*.json"))


@pytest.mark.slow
def test_networks_are_measured_in_another_process_as_here(tmp_path, tiny, make_space):
    space, heard = make_space(), []
    files = [
        write_network(space.lower(each), tmp_path / f"{i}.onnx")
        for i, each in enumerate((space.smallest(), space.largest()))
    ]
    target = OrtCpu({**tiny, **QUIET}, threads=1)
    found = fresh.measure_in_fresh_process(OrtCpu, target.options(), files, heard.append)
    assert [each.source for each in found] == [target.source] * 2
    assert all(each.latency_ms > 0 and each.visits == tiny["visits"] for each in found)
    assert heard[-1] == 1.0
    with pytest.raises(TargetError, match="fresh process"):
        fresh.measure_in_fresh_process(OrtCpu, target.options(), [tmp_path / "none.onnx"], heard.append)


def test_kept_readings_serve_the_same_items_only(tmp_path):
    protocol = Protocol(visits=2, runs=2, visit_ms=0.0, warm_up=0, pause_seconds=0.0, extra=0, gate=99.0)
    calls = []
    items = [lambda: calls.append(0), lambda: calls.append(1)]
    first, _ = time_interleaved(items, lambda: None, protocol, kept=Kept(tmp_path / "r.json", "a"))
    done = len(calls)
    again, _ = time_interleaved(items, lambda: None, protocol, kept=Kept(tmp_path / "r.json", "a"))
    assert len(calls) == done
    assert [each.visits for each in again] == [each.visits for each in first]
    time_interleaved(items, lambda: None, protocol, kept=Kept(tmp_path / "r.json", "b"))
    assert len(calls) == 2 * done
    (tmp_path / "r.json").write_text("{")
    assert Kept(tmp_path / "r.json", "b").read() is None


@pytest.mark.parametrize("slower", [1.0, 1.04, 1.1, 1.5, 0.9, 0.7])
def test_references_say_whether_a_profile_holds(monkeypatch, slower):
    monkeypatch.setattr(references, "one_visit", lambda run, protocol: (run(), run() * 1.01))
    monkeypatch.setattr(references.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Busy, "cores", 0.0)
    runs, best = {"a": lambda: 2.0 * slower, "b": lambda: 3.0}, {"a": 2.0, "b": 3.0}
    if abs(slower - 1.0) > 0.15:
        with pytest.raises(ProfileError, match="no longer holds"):
            check_references(runs, best, "mine")
        monkeypatch.setattr(Busy, "cores", 1.7)
        assert "not certified" in check_references(runs, best, "mine").warning
    else:
        found = check_references(runs, best, "mine")
        assert found.deviation == pytest.approx(slower - 1.0)
        assert ("stale" in found.warning) == (abs(slower - 1.0) > 0.05)


def test_a_speed_that_was_usual_when_the_profile_was_measured_is_warned_of_and_not_refused(monkeypatch):
    monkeypatch.setattr(references, "one_visit", lambda run, protocol: (run(),))
    monkeypatch.setattr(references.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Busy, "cores", 0.0)
    found = check_references({"a": lambda: 1.3}, {"a": 1.0}, "mine", usual=1.2)
    assert found.deviation == pytest.approx(0.3)
    assert "stale" in found.warning
    for slower in (0.8, 1.2 * 1.16):
        with pytest.raises(ProfileError, match="no longer holds"):
            check_references({"a": lambda slower=slower: slower}, {"a": 1.0}, "mine", usual=1.2)


def test_a_slow_moment_does_not_condemn_a_profile(monkeypatch):
    times = iter([9.0, 9.0, 9.0, 1.0])
    monkeypatch.setattr(references, "one_visit", lambda run, protocol: (next(times),))
    monkeypatch.setattr(references.time, "sleep", lambda seconds: None)
    assert check_references({"a": lambda: None}, {"a": 1.0}, "mine").warning == ""


def test_others_on_the_processor_are_counted_and_this_process_is_not(monkeypatch):
    for name, values in (("process_time", [1.0, 2.0]), ("monotonic", [10.0, 12.0])):
        monkeypatch.setattr(references.time, name, iter(values).__next__)
    monkeypatch.setattr(references, "_busy_seconds", iter([100.0, 104.0]).__next__)
    busy = Busy()
    assert busy.cores == pytest.approx((104.0 - 100.0 - 1.0) / 2.0)


def test_a_busy_neighbour_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            busy = Busy()
            time.sleep(1.0)
            assert busy.cores > 0.1
        finally:
            spinning.kill()


@pytest.fixture
def foreign(cache, tiny, make_space):
    """A profile of the same space that another machine has measured."""
    OrtCpu(tiny).predictor(make_space())
    (path,) = cache.iterdir()
    data = json.loads(path.read_text())
    data.update(device_key="another", device={**data["device"], "model": "Other CPU"})
    data["sha256"] = checksum(data)
    given = cache / "other.json"
    given.write_text(json.dumps(data))
    return given


def test_a_foreign_profile_is_refused_unless_asked_for_and_then_every_source_says_so(
    foreign, tiny, make_space, monkeypatch
):
    monkeypatch.setattr(ort_target, "check_references", lambda *given: references.Check(0.0, 0.0))
    for name in ("other", str(foreign)):
        with pytest.raises(ProfileError, match="--allow-foreign-profile"):
            OrtCpu(tiny, profile=name).predictor(make_space())
    found = OrtCpu(tiny, profile="other", allow_foreign_profile=True).predictor(make_space())
    assert found.source.startswith("FOREIGN PROFILE: it was measured on Other CPU")
    assert found.details["warning"].startswith("FOREIGN PROFILE")
    own = next(path for path in foreign.parent.glob("cpu-*.json"))
    assert "FOREIGN" not in OrtCpu(tiny, profile=str(own)).predictor(make_space()).source


def test_a_profile_of_another_space_is_refused_with_the_command_to_make_one(foreign, tiny, make_space):
    with pytest.raises(ProfileError, match="nasforge profile --target cpu --space six"):
        OrtCpu(tiny, profile="other", allow_foreign_profile=True).predictor(make_space(12))


def test_a_profile_that_no_longer_holds_is_refused_or_made_again_where_a_search_made_it(
    cache, tiny, make_space, monkeypatch
):
    monkeypatch.setattr(Busy, "cores", 0.0)
    monkeypatch.setattr(references.time, "sleep", lambda seconds: None)
    OrtCpu(tiny).predictor(make_space())
    (path,) = cache.iterdir()
    made = read_profile(path)
    stale = dataclasses.replace(made, reference={"plain": 1e-4, "mbconv": 1e-4}, created="2001-01-01")
    with_care = dataclasses.replace(stale, protocol={**made.protocol, "visits": tiny["visits"] + 1})
    write_profile(path, with_care)
    with pytest.raises(ProfileError, match="no longer holds"):
        OrtCpu(tiny).predictor(make_space())
    assert read_profile(path) == with_care
    write_profile(path, stale)
    with pytest.raises(ProfileError, match="no longer holds"):
        OrtCpu(tiny, profile=str(path)).predictor(make_space())
    assert OrtCpu(tiny).predictor(make_space()).source.startswith("the profile that an earlier search made no longer")
    assert read_profile(path).created > stale.created
    assert "no longer" not in OrtCpu(tiny).predictor(make_space()).source


def test_intervals_hold_their_estimates_and_narrow_with_networks():
    found = {"n": 40.0, "within_5_percent": 0.9, "within_10_percent": 1.0, "spearman": 0.98}
    few, many = intervals(found), intervals({**found, "n": 4000.0})
    assert few["within_10_percent"] == (pytest.approx(0.912, abs=1e-3), pytest.approx(1.0))
    for name, (low, high) in few.items():
        assert low <= found[name] <= high
        assert high - low > many[name][1] - many[name][0]


def test_the_second_round_of_blocks_is_put_on_the_speed_of_the_first(monkeypatch):
    x = Conv(choice(*range(8, 72, 8), name="width"), choice(1, 3, 5, name="kernel"))(Input(3, 8, 8), name="stem")
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="forty")
    true_ms, rounds = {}, []

    def at_made_up_speed(target, paths, protocol, tell, opened, kept=None, blocks=0):
        slow = (1.0, 1.6)[len(rounds)]
        names = [path.stem.rpartition("-")[0] for path in paths]
        rounds.append(names[:blocks])
        for name in names:
            true_ms.setdefault(name, 1.0 + 0.01 * len(true_ms))
        readings = [Readings(((slow * true_ms[name],),) * 2, (True, True)) for name in names]
        return readings, Noise(0.5 * slow, 0.0, 1.0)

    monkeypatch.setattr(OrtCpu, "time", at_made_up_speed)
    effort = profiling.Effort(timing.SHORT, blocks=36, fitted=3, held_out=3)
    made = profiling.build_profile(OrtCpu(), space, effort, lambda share: None)
    first, second = rounds
    assert second
    assert len(made.entries) == len(first) + len(second) == 36 < len(space.node_variants())
    for key, lowered in space.node_variants().items():
        if key in made.entries:
            assert made.entries[key] == pytest.approx(true_ms[fingerprint([node.key for node in lowered.nodes])])


def test_nothing_is_measured_for_a_folder_that_cannot_be_written(cache, tiny, make_space, monkeypatch):
    monkeypatch.setattr(OrtCpu, "time", lambda *given, **named: pytest.fail("measured"))
    cache.write_text("a file")
    with pytest.raises(ProfileError, match="NASFORGE_CACHE"):
        OrtCpu(tiny).predictor(make_space())
    cache.unlink()
    (cache.parent / "taken").write_text("a file")
    with pytest.raises(ProfileError, match="cannot be written"):
        OrtCpu(tiny).make_profile(make_space(), cache.parent / "taken" / "mine.json")


def test_a_profile_of_the_same_space_for_other_images_names_both_sizes(foreign, tiny, make_space):
    with pytest.raises(ProfileError, match=r"'six' for inputs of 3x8x8, and .* 'six' for inputs of 3x12x12 .*--data"):
        OrtCpu(tiny, profile="other", allow_foreign_profile=True).predictor(make_space(12))


def test_figures_that_were_measured_while_others_computed_are_not_certified(cache, tiny, make_space, monkeypatch):
    cores = 1.5
    monkeypatch.setattr(Busy, "cores", property(lambda self: cores))
    monkeypatch.setattr(references.time, "sleep", lambda seconds: None)
    space = make_space()
    path = write_network(space.lower(space.smallest()), cache.parent / "net.onnx")
    said = "not certified: other processes used 1.5 cores"
    assert said in OrtCpu(tiny).measure(path).noise
    assert said in OrtCpu(tiny).predictor(space).source
    cores = 0.2
    assert "not certified" not in OrtCpu(tiny).measure(path).noise
    assert "not certified" not in OrtCpu(tiny).predictor(make_space(12)).source


def test_the_flag_of_an_entry_is_that_of_the_spread_that_is_kept():
    for second in (1.03003, 1.0299, 1.0301):
        kept = profiling.summary(Readings(((1.0,), (second,)), (True, True)))
        assert (kept["flag"] == "unstable") == (kept["spread"] > 0.03)
