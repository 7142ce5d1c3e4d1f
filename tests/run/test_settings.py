"""Settings are read from plain data and written back without loss."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UsageError
from nasforge.run.settings import ALL_WORKERS, Limits, Settings
from nasforge.run.store import check_storage


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


LATENCIES = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
COUNTS = st.integers(1, 2**70)


@given(st.none() | LATENCIES, st.none() | COUNTS, st.none() | COUNTS)
def test_written_limits_read_back_equal_to_the_last_digit(
    latency_ms: float | None, params: int | None, macs: int | None
) -> None:
    limits = Limits(latency_ms, params, macs)
    assert Limits.read(limits.to_json()) == limits
    assert Limits.read(yaml.safe_load(yaml.safe_dump(limits.to_json()))) == limits


def test_limits_are_written_as_people_write_them() -> None:
    assert Limits(5.0, 2_000_000).to_json() == {"latency": "5ms", "params": 2_000_000, "macs": None}
    assert Limits(0.1234567).to_json()["latency"] == "0.1234567ms"


@pytest.mark.parametrize("tracking", [{"foo": 1}, {"mlfow": "x"}, "mlflow", {"mlflow": 3}, {"tensorboard": "maybe"}])
def test_settings_of_tracking_that_mean_nothing_are_refused(tracking: object) -> None:
    with pytest.raises(UsageError, match="tracking"):
        Settings.read({"tracking": tracking})


@pytest.mark.parametrize("storage", ["foo", "sqlite://", "study.db"])
def test_a_storage_that_is_no_url_is_refused(storage: str) -> None:
    with pytest.raises(UsageError, match=r"expected sqlite:///FILE.db or postgresql://"):
        check_storage(storage)
