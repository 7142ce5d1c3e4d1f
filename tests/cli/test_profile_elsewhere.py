"""The command's parts for a device elsewhere: what they print, and that the profile is then a target like others."""

from __future__ import annotations

import json

import pytest

from nasforge.cli import profile_elsewhere
from nasforge.cli.app import main
from nasforge.config.compose import compose
from nasforge.run.elsewhere import MANIFEST, read_manifest


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.plugins
def test_from_a_space_to_a_prediction_for_the_device(tmp_path, cache, capsys):
    folder = tmp_path / "networks"
    profile_elsewhere.export_networks("mbconv", folder, 12, 0, options={"preset": "tiny"}, resolution=16)
    assert "--from-measurements" in capsys.readouterr().out
    artifacts = read_manifest(folder / MANIFEST)
    assert {each.input_shape for each in artifacts.values()} == {(3, 16, 16)}
    assert all(dict(each.plug.options) == {"preset": "tiny"} for each in artifacts.values())
    rows = [f"{file},{3 + each.space.macs(each.architecture) / 1e6}" for file, each in artifacts.items()]
    table = folder / "measurements.csv"
    table.write_text("\n".join(["file,latency_ms", *rows]))

    profile_elsewhere.from_measurements(table, "my-phone")
    printed = capsys.readouterr().out
    for words in ("within 10 %", "Spearman", "MACs", "params", "12 (cross-validated", "--target profile:my-phone"):
        assert words in printed
    profile_elsewhere.from_measurements(table, "my-phone", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] == str(cache / "profiles" / "my-phone.json")
    assert found["errors"]["profile"]["n"] == 12

    assert main(["list", "profiles", "--json"]) == 0
    assert "cross-validated" in json.loads(capsys.readouterr().out)["profiles"]["profile:my-phone"]
    assert main(["predict", "proxyless-mobile", "--target", "profile:my-phone", "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert predicted["latency_ms_predicted"] > 0
    assert "none of them is of this space" in predicted["source"]
    assert main(["measure", "proxyless-mobile", "--target", "profile:my-phone"]) == 1
    assert "'my-phone' is not this machine" in capsys.readouterr().err


@pytest.mark.plugins
def test_the_short_form_of_a_target_is_written_as_name_and_option():
    groups = {"space": None, "strategy": None, "task": None}
    for given, options in (("profile:my-phone", {"profile": "my-phone"}), ("cpu", {})):
        composed = compose({**groups, "target": given}, {})
        assert composed.settings.target.name == given.partition(":")[0]
        assert dict(composed.settings.target.options) == options
        assert composed.written["target"] == {"name": composed.settings.target.name, **options}


@pytest.mark.plugins
def test_an_unknown_target_in_the_short_form_is_refused_by_its_name(capsys):
    assert main(["search", "--target", "profle:my-phone"]) == 2
    assert "Did you mean 'profile'?" in capsys.readouterr().err
