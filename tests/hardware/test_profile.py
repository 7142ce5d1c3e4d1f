"""Profiles survive the disk; what was cut, edited or made elsewhere is noticed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nasforge.errors import NotInstalledError, ProfileError
from nasforge.hardware.device import Device, this_cpu
from nasforge.hardware.profile import (
    SCHEMA,
    Profile,
    cache_folder,
    checksum,
    differences,
    find_profile,
    read_cached,
    read_profile,
    shipped_profiles,
    write_profile,
)


@pytest.fixture
def profile():
    return Profile(
        device=this_cpu().to_json(), device_key="me", runtime={"onnxruntime": "1.0", "threads": 1}, precision="int8",
        space={"name": "s"}, protocol={"visits": 4}, noise={"accepted": 0.5}, entries={"conv": 0.1234561, "pool": 2.0},
        kernels={"*": [0.1, 0.2]}, correction={"offset": 0.1, "factors": {"Conv3": 1.5}},
        validation={"n": 3.0}, created="2026-01-01T00:00:00",
    )  # fmt: skip


def test_a_profile_survives_the_disk(tmp_path, profile):
    path = tmp_path / "deep" / "profile.json"
    write_profile(path, profile)
    assert read_profile(path) == profile
    assert [file.name for file in path.parent.iterdir()] == ["profile.json"]


@pytest.mark.parametrize("part", ["entries", "kernels", "correction", "validation", "device_key", "created"])
def test_an_edited_profile_does_not_match_its_checksum(tmp_path, profile, part):
    path = tmp_path / "profile.json"
    write_profile(path, profile)
    data = json.loads(path.read_text())
    data[part] = {"conv": 0.1} if isinstance(data[part], dict) else "other"
    path.write_text(json.dumps(data))
    with pytest.raises(ProfileError, match="checksum"):
        read_profile(path)
    assert read_cached(path) is None


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("entries", [0.1]), ("entries", {"conv": "fast"}), ("entries", {"conv": True}), ("validation", 3.0),
        ("reference", {"a": None}), ("held_out", {}), ("fitted", ["x"]), ("device", "mine"), ("created", 5),
        ("correction", None), ("kernels", [1.0]),
    ],
)  # fmt: skip
def test_a_part_of_another_kind_is_refused_by_name_whatever_the_checksum(tmp_path, profile, part, content):
    path = tmp_path / "profile.json"
    data = {**profile.to_json(), part: content}
    path.write_text(json.dumps({**data, "sha256": checksum(data)}))
    with pytest.raises(ProfileError, match=f"part '{part}'.*is not as nasforge writes it"):
        read_profile(path)


def test_a_profile_cut_anywhere_is_refused_and_measured_again(tmp_path, profile):
    path = tmp_path / "profile.json"
    write_profile(path, profile)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ProfileError):
            read_profile(path)
        assert read_cached(path) is None


@pytest.mark.parametrize("content", ["[]", "3", '{"schema": 2}', '{"schema": 3}', "\x00", "{}"])
def test_what_is_no_profile_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


HERE = Device("HERE", "1/2/3", (), 1, hypervisor=False)


def told(profile, **changes):
    facts = {"device": HERE, "runtime": {"onnxruntime": "1.0.3", "threads": 1}, "precision": "int8", **changes}
    return differences(dataclasses.replace(profile, device_key=HERE.key), **facts)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"device": dataclasses.replace(HERE, model="THERE")}, "THERE"),
        ({"precision": "float32"}, "float32"),
        ({"runtime": {"onnxruntime": "1.1.0", "threads": 1}}, "1.1.0"),
        ({"runtime": {"onnxruntime": "1.0.0", "threads": 2}}, "threads"),
        ({"runtime": {"onnxruntime": "1.0.0"}}, "threads"),
    ],
)
def test_each_difference_is_named_and_it_alone(profile, changes, word):
    assert told(profile) == []
    (sentence,) = told(profile, **changes)
    assert word in sentence


def test_a_profile_made_up_for_a_test_is_refused_elsewhere(tmp_path, profile):
    path = tmp_path / "profile.json"
    write_profile(path, dataclasses.replace(profile, synthetic=True))
    with pytest.raises(ProfileError, match="made up"):
        read_profile(path)
    assert read_profile(path, synthetic=True).synthetic


def test_profiles_are_found_by_path_and_by_name_and_the_nearest_is_suggested(tmp_path, profile, monkeypatch):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    write_profile(tmp_path / "mine.json", profile)
    assert find_profile("mine") == tmp_path / "mine.json"
    assert find_profile(str(tmp_path / "mine.json")) == tmp_path / "mine.json"
    with pytest.raises(NotInstalledError, match="mine"):
        find_profile("mime")


def test_a_missing_profile_is_none(tmp_path):
    assert read_cached(tmp_path / "none.json") is None


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, profile):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ProfileError, match="NASFORGE_CACHE"):
        write_profile(blocked / "profile.json", profile)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("NASFORGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nasforge"
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_the_device_key_follows_what_decides_speed():
    cpu = this_cpu()
    assert cpu.model
    assert cpu.cores >= 1
    assert dataclasses.replace(cpu, cores=cpu.cores + 1).key == cpu.key
    assert dataclasses.replace(cpu, model="other").key != cpu.key
    assert dataclasses.replace(cpu, features=(*cpu.features, "new")).key != cpu.key


def test_what_is_no_profile_of_a_processor_points_to_its_target():
    (card,) = (path for path in shipped_profiles() if path.stem == "gpu-gtx1080ti")
    with pytest.raises(ProfileError, match=r"--target gpu and target\.card"):
        read_profile(card)


@pytest.mark.parametrize(("schema", "words"), [(SCHEMA + 1, "update nasforge"), (SCHEMA - 1, "measure it again")])
def test_a_profile_of_another_schema_says_what_to_do(tmp_path, profile, schema, words):
    data = {**profile.to_json(), "schema": schema}
    (tmp_path / "p.json").write_text(json.dumps({**data, "sha256": checksum(data)}))
    with pytest.raises(ProfileError, match=words) as error:
        read_profile(tmp_path / "p.json")
    assert ("update" in str(error.value)) == (schema > SCHEMA)


def test_a_profile_of_a_device_elsewhere_points_to_its_target(tmp_path, monkeypatch):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "phone.json").write_text("{}")
    for name in ("phone", "profile:phone"):
        with pytest.raises(ProfileError, match="--target profile:phone"):
            find_profile(name)
