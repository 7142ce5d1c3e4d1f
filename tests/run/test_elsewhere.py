"""A device elsewhere: networks out, latencies in, a profile; and every mistake in the table found by its line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasforge.errors import ArchitectureError, DamagedError, DataError, UsageError, WrongFolderError
from nasforge.hardware.fitted_profile import find_fitted
from nasforge.hardware.kernel import network_kernels
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run import elsewhere
from nasforge.run.measurements import read_measurements
from nasforge.space import Input, SearchSpace, choice
from nasforge.testing.targets import small_space

COUNT = 12


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "networks"
    elsewhere.export_networks(small_space(), folder, COUNT, seed=3)
    return folder


@pytest.fixture
def networks(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(exported, tmp_path / "networks"))


def device_ms(lowered) -> float:
    return 0.2 + sum(0.01 + 1e-6 * kernel.macs for node in network_kernels(lowered) for kernel in node)


def measured(folder: Path) -> dict[str, float]:
    artifacts = elsewhere.read_manifest(folder / elsewhere.MANIFEST, small_space())
    return {file: device_ms(each.space.lower(each.architecture)) for file, each in artifacts.items()}


def write(folder: Path, rows: list[str], header: str = "file,latency_ms") -> Path:
    table = folder / elsewhere.TABLE
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return table


def filled(folder: Path) -> list[str]:
    return [f"{file},{latency_ms!r}" for file, latency_ms in measured(folder).items()]


def test_what_is_exported_is_a_file_for_each_architecture_and_a_table_to_fill_in(exported):
    lines = (exported / elsewhere.TABLE).read_text().splitlines()
    assert lines[0] == "file,latency_ms"
    assert len(lines) == COUNT + 1
    artifacts = elsewhere.read_manifest(exported / elsewhere.MANIFEST, small_space())
    assert [line.split(",") for line in lines[1:]] == [[file, ""] for file in artifacts]
    assert len({each.architecture for each in artifacts.values()}) == COUNT
    for file, each in artifacts.items():
        weights = sum(int(np.prod(tensor.dims)) for tensor in onnx.load(exported / file).graph.initializer)
        lowered = each.space.lower(each.architecture)
        folded = sum(3 * step.output_type.channels for step in lowered.steps if type(step.op).__name__ == "BatchNorm")
        assert abs(weights - each.space.params(each.architecture)) <= folded, "the file is of another architecture"


def test_the_same_seed_exports_the_same_networks(exported, tmp_path):
    elsewhere.export_networks(small_space(), tmp_path / "again", COUNT, seed=3)
    assert (tmp_path / "again" / elsewhere.MANIFEST).read_bytes() == (exported / elsewhere.MANIFEST).read_bytes()


def test_a_filled_table_becomes_a_profile_that_predicts_what_was_measured(networks):
    heard = []
    found = elsewhere.from_measurements(
        write(networks, filled(networks)), "phone", space=small_space(), progress=lambda *done: heard.append(done)
    )
    profile, path = find_fitted("phone")
    assert path == found.path
    assert found.median_ms == pytest.approx(np.median(list(measured(networks).values())))
    assert set(found.errors) == {"profile", "MACs", "params"}
    assert found.errors["profile"]["n"] == COUNT
    assert found.errors["profile"]["rmspe"] < 0.1
    assert heard[-1][0] == heard[-1][1]
    space = small_space()
    cost = profile.predictor(space, "").cost
    for architecture in space.enumerate():
        assert cost(architecture) == pytest.approx(device_ms(space.lower(architecture)), rel=0.15)


def test_rows_may_be_left_out_and_come_in_any_order(networks):
    rows = filled(networks)[::-1][:10]
    assert elsewhere.from_measurements(write(networks, rows), "p", space=small_space()).errors["profile"]["n"] == 10


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(latencies=st.lists(st.floats(1.0, 20.0), min_size=10, max_size=30), shuffled=st.randoms())
def test_every_latency_survives_the_table(tmp_path, latencies, shuffled):
    given_ms = {f"network_{number}.onnx": value for number, value in enumerate(latencies)}
    rows = [f"{file},{value!r}" for file, value in given_ms.items()]
    shuffled.shuffle(rows)
    table = write(tmp_path, rows)
    assert read_measurements(table, dict.fromkeys(given_ms, 1.0), 10) == given_ms


def spoilt(rows: list[str], line: int, text: str) -> list[str]:
    return [text.format(file=row.split(",")[0]) if number == line else row for number, row in enumerate(rows, start=2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{file},", r"line 5 of .* has no latency"),
        ("{file},-3", r"line 5 of .* -3; expected more than zero"),
        ("{file},0", r"line 5 of .* 0; expected more than zero"),
        ("{file},fast", r"line 5 of .*'fast'; expected milliseconds"),
        ("{file},nan", r"line 5 of .*'nan'; expected milliseconds"),
        ("{file},inf", r"line 5 of .*'inf'; expected milliseconds"),
        ("{file},5ms", r"line 5 of .*'5ms'; expected milliseconds"),
        ("{file},1,5", r"line 5 of .* has 3 cells; expected 2"),
        ("netwrk_03.onnx,1", r"line 5 of .*'netwrk_03.onnx' is unknown.*Did you mean 'network_03.onnx'"),
        ("network_00.onnx,1", r"lines \d+ and \d+ of .* both hold network_00.onnx"),
        ("{file},900000", r"line 5 of .* 900000 ms .* times more than the other rows let expect"),
        ("{file},0.0005", r"line 5 of .* 0.0005 ms .* times less than the other rows let expect"),
    ],
)
def test_a_mistake_is_named_by_its_line(networks, text, words):
    table = write(networks, spoilt(filled(networks), 5, text))
    with pytest.raises(DataError, match=words) as raised:
        elsewhere.from_measurements(table, "phone", space=small_space())
    assert "\n" not in str(raised.value)
    assert not (networks.parent / "cache" / "profiles").exists()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,latency_us", "no column 'latency_ms', it has 'latency_us'; convert it to milliseconds"),
        ("file,Latency_S", "'Latency_S'; convert"),
        ("name,latency_ms", "no column 'file'"),
        ("file,file", "'file' twice"),
    ],
)
def test_another_header_is_refused_with_what_to_do(networks, header, words):
    with pytest.raises(DataError, match=words):
        elsewhere.from_measurements(write(networks, filled(networks), header), "phone", space=small_space())


def test_an_unfilled_table_names_its_lines_and_no_more_than_a_few(networks):
    with pytest.raises(DataError, match=r"lines 2, 3, 4, 5, 6 and 7 more of .* have no latency"):
        elsewhere.from_measurements(networks / elsewhere.TABLE, "phone", space=small_space())


def test_too_few_networks_are_refused(networks, tmp_path):
    with pytest.raises(DataError, match="holds 9 networks; expected 10"):
        elsewhere.from_measurements(write(networks, filled(networks)[:9]), "phone", space=small_space())
    with pytest.raises(UsageError, match="9 networks were asked for"):
        elsewhere.export_networks(small_space(), tmp_path / "few", 9)
    tiny = SearchSpace({"y": Linear(2)(GlobalPool()(Conv(choice(8, 16, name="w"))(Input(3, 8, 8))))}, name="tiny")
    with pytest.raises(UsageError, match="space 'tiny' has 2 networks"):
        elsewhere.export_networks(tiny, tmp_path / "few", 10)


def test_half_a_table_in_microseconds_is_found(networks):
    rows = [row if number % 3 else f"{row.split(',')[0]},{1000 * float(row.split(',')[1])}"
            for number, row in enumerate(filled(networks))]  # fmt: skip
    with pytest.raises(DataError, match=r"lines 2, 5, 8, 11 of .* in milliseconds"):
        elsewhere.from_measurements(write(networks, rows), "phone", space=small_space())


def test_a_manifest_that_was_altered_is_missing_or_no_json_is_refused(networks):
    table, manifest = write(networks, filled(networks)), networks / elsewhere.MANIFEST
    data = json.loads(manifest.read_text())
    first, second = data["networks"][:2]
    first["file"], second["file"] = second["file"], first["file"]
    for content in (json.dumps(data), "[]", "{"):
        manifest.write_text(content)
        with pytest.raises(DamagedError, match="export them again"):
            elsewhere.from_measurements(table, "phone", space=small_space())
    manifest.unlink()
    with pytest.raises(DataError, match="is missing"):
        elsewhere.from_measurements(table, "phone", space=small_space())


def test_a_table_that_is_not_there_and_a_name_that_is_none_are_refused(networks):
    with pytest.raises(DataError, match="is not a file"):
        elsewhere.from_measurements(networks / "other.csv", "phone", space=small_space())
    with pytest.raises(UsageError, match="name of a profile"):
        elsewhere.from_measurements(networks / elsewhere.TABLE, "my phone", space=small_space())


def test_a_space_made_in_python_is_asked_for(networks):
    with pytest.raises(ArchitectureError, match="made in Python"):
        elsewhere.from_measurements(write(networks, filled(networks)), "phone")


def test_a_folder_that_holds_something_is_left_alone(networks):
    before = sorted(path.name for path in networks.iterdir())
    with pytest.raises(WrongFolderError, match="not an empty folder"):
        elsewhere.export_networks(small_space(), networks, COUNT)
    assert sorted(path.name for path in networks.iterdir()) == before
