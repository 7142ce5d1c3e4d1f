"""Settings are read from plain data and written back without loss."""

import pytest

from nasforge.errors import UsageError
from nasforge.run.settings import ALL_WORKERS, Settings


def test_written_settings_read_back_equal() -> None:
    settings = Settings.read(
        {
            "space": {"name": "mbconv", "width": 0.5},
            "strategy": "evolution",
            "limits": {"latency": "5ms", "params": "2M"},
            "budget": "12-evaluations",
            "seed": 3,
        }
    )
    assert Settings.read(settings.to_json()) == settings
    assert settings.space.options == {"width": 0.5}
    assert {limit.metric: limit.bound for limit in settings.limits.constraints()} == {
        "latency_ms_predicted": 5.0,
        "params": 2e6,
    }


@pytest.mark.parametrize(
    ("given", "nearest"), [({"bugdet": "quick"}, "budget"), ({"limits": {"param": 3}}, "params"), ({"sed": 1}, "seed")]
)
def test_unknown_keys_name_the_nearest(given: dict[str, object], nearest: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{nearest}'"):
        Settings.read(given)


@pytest.mark.parametrize("given", [{"seed": -1}, {"seed": 1.5}, {"workers": 0}, {"seed": True}, {"space": 3}])
def test_values_of_the_wrong_kind_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Settings.read(given)


def test_workers_are_one_here_and_all_that_fit_on_a_cluster_unless_said() -> None:
    assert Settings.read({}).workers == 1
    assert not Settings.read({}).distributed
    cluster = Settings.read({"engine": {"address": "auto"}})
    assert cluster.workers == ALL_WORKERS
    assert cluster.distributed
    assert Settings.read(cluster.to_json()) == cluster
    assert Settings.read({"engine": {"address": "auto"}, "workers": 1}).workers == 1
    assert Settings.read({"workers": 2}).distributed


@pytest.mark.parametrize(
    "engine",
    [
        {"cpu": 2},
        {"cpus": -1},
        {"gpus": "one"},
        {"retries": 1.5},
        {"time_limit": "10 parsecs"},
        {"time_limit": 0},
        {"paths": "both"},
        {"resources": [1]},
        {"train_workers": 0},
        {"address": 7},
    ],
)
def test_settings_of_the_engine_that_mean_nothing_are_refused(engine: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"engine"):
        Settings.read({"engine": engine})


def test_settings_of_the_engine_are_read_with_their_units() -> None:
    engine = Settings.read({"engine": {"time_limit": "10min", "resources": {"fpga": 1}, "cpus": 2}}).engine
    assert (engine.time_limit, engine.resources, engine.cpus) == (600.0, {"fpga": 1.0}, 2.0)
    assert Settings.read({"engine": engine.to_json()}).engine == engine
