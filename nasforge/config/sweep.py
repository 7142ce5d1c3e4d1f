"""`nasforge.sweep`: many searches over a grid, through Hydra's multirun, each an ordinary run folder."""

from __future__ import annotations

import datetime
import importlib.util
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import CompactHydraException, HydraException
from hydra.initialize import initialize_config_module
from omegaconf.errors import OmegaConfBaseException

from nasforge.config import multirun
from nasforge.config.compose import MODULE
from nasforge.config.grid import overrides_of, prepare, written
from nasforge.config.member import Runner
from nasforge.errors import NasforgeError, RunFolderError, UsageError, unknown_name_sentence
from nasforge.run.atomic import folder_error
from nasforge.run.progress import Listener, Silent
from nasforge.run.resumable import ResumableInterrupt
from nasforge.run.sweep_folder import SweepResult, is_sweep

OPEN_NAMES: Final = ("space", "strategy", "target", "task", "budget")
LAUNCHERS: Final = {"local": "basic", "joblib": "joblib", "ray": "ray"}
JOBS: Final = {"joblib": "hydra.launcher.n_jobs", "ray": "hydra.launcher.jobs"}
FOLDER: Final = Path("sweeps")


@final
class SweepInterrupted(ResumableInterrupt):
    """A sweep was stopped by Ctrl-C or the end of a batch job; `command` carries it on."""


def sweep(
    grid: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    launcher: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    listener: Listener | None = None,
) -> SweepResult:
    """Search once for every combination of the values given; leave a folder of run folders.

    Members that have a result already are skipped, those that were interrupted go on, those that failed run again; so
    the same call again is how a sweep is carried on.

    Args:
        grid: values by setting, such as `{"seed": [1, 2, 3], "strategy": ["random", "evolution"], "space": "nb201"}`;
            a list is swept over.
        overrides: the same in Hydra's grammar, such as `seed=range(1,4)`; both may be given.
        out: the sweep's folder; a new one below `sweeps` without.
        launcher: `local` (one after the other), `joblib` (processes) or `ray` (tasks).
        jobs: members at a time, for joblib and Ray.
        address: of a Ray cluster, for Ray.
        listener: hears of progress.

    Returns:
        How every member ended; `nasforge.compare([result.folder])` compares them.

    Raises:
        UsageError: an unknown setting, an empty grid, or values none of which can be.
        RunFolderError: the folder is in use, or holds something else.
        SweepInterrupted: it was stopped; it can be carried on.
    """
    given = prepare([*overrides, *overrides_of(grid or {})])
    how = _launcher(launcher, jobs, address)
    folder = _new_folder() if out is None else Path(out)
    try:
        return _multirun(given, folder, how, listener or Silent())
    except KeyboardInterrupt:
        if not is_sweep(folder):
            raise
        raise SweepInterrupted(resume_command(folder, launcher, jobs, address)) from None


def resume_sweep(
    folder: str | Path,
    *,
    launcher: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    listener: Listener | None = None,
) -> SweepResult:
    """Run the members of a sweep that failed or were interrupted; arguments as for `sweep`.

    Raises:
        RunFolderError: no sweep is there, or it is still going.
    """
    if not is_sweep(Path(folder)):
        raise RunFolderError(f"'{folder}' holds no sweep (no sweep.yaml); give the folder of a sweep.")
    overrides = SweepResult.read(folder).overrides
    return sweep(overrides=overrides, out=folder, launcher=launcher, jobs=jobs, address=address, listener=listener)


def resume_command(
    folder: str | Path, launcher: str = "local", jobs: int | None = None, address: str | None = None
) -> str:
    """Return the command that carries a sweep on."""
    given = {"launcher": None if launcher == "local" else launcher, "jobs": jobs, "ray": address}
    how = "".join(f" --{key} {shlex.quote(str(value))}" for key, value in given.items() if value is not None)
    return f"nasforge sweep --resume {shlex.quote(str(folder))}{how}"


def option(key: str, value: Any) -> list[str]:
    """Return an option of the command as overrides; names may be several, `--strategy random,evolution`."""
    if isinstance(value, str) and key in OPEN_NAMES:
        return [f"{key}={value}"]
    return overrides_of({key: value})


def _launcher(name: str, jobs: int | None, address: str | None) -> list[str]:
    if name not in LAUNCHERS:
        raise UsageError(unknown_name_sentence("launcher", name, LAUNCHERS))
    if name == "joblib" and not _has_joblib_launcher():
        raise UsageError(
            "launcher 'joblib' needs hydra-joblib-launcher; install it with: pip install 'nasforge[sweep]'"
        )
    if jobs is not None and (jobs < 1 or name not in JOBS):
        raise UsageError(
            f"jobs {jobs} was given for launcher '{name}'; expected at least one, and --launcher joblib or ray."
        )
    if address is not None and name != "ray":
        raise UsageError(f"a Ray address was given for launcher '{name}'; expected --launcher ray.")
    return [
        f"hydra/launcher={LAUNCHERS[name]}",
        *([] if jobs is None else [f"{JOBS[name]}={jobs}"]),
        *([] if address is None else [f"hydra.launcher.address={written('', address)}"]),
    ]


def _has_joblib_launcher() -> bool:
    try:
        return importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is not None
    except ModuleNotFoundError:  # without any plug-in of Hydra there is no package around them either
        return False


def _multirun(overrides: Sequence[str], folder: Path, launcher: Sequence[str], listener: Listener) -> SweepResult:
    multirun.register()
    place = f"hydra.sweep.dir={written('', str(folder))}"
    try:
        with initialize_config_module(MODULE, job_name="nasforge", version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            result = hydra.multirun(
                config_name="multirun",
                task_function=Runner(listener),
                overrides=[*overrides, *launcher, place],
                with_log_configuration=False,
            )
    except CompactHydraException as error:
        if isinstance(error.__cause__, NasforgeError):
            raise error.__cause__ from None
        raise _refused(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _refused(error) from error
    assert isinstance(result, SweepResult)
    return result


def _refused(error: Exception) -> UsageError:
    return UsageError(f"the sweep does not compose: {str(error).strip().splitlines()[0].rstrip('.')}.")


def _new_folder() -> Path:
    day = datetime.datetime.now(tz=datetime.UTC).astimezone().strftime("%Y%m%d")
    number = 1
    while True:
        folder = FOLDER / f"{day}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise folder_error(folder, error) from error
        else:
            return folder
