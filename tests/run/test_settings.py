"""Settings are read from plain data and written back without loss."""

import pytest

from nasforge.errors import UsageError
from nasforge.run.settings import Settings


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
