"""Hydra plug-ins: its sweeper over a grid, made to bear members that fail, and a launcher on Ray.

Hydra takes sweepers and launchers from the namespace `hydra_plugins` only. This module is known there too, once it is
registered, so that the plug-ins need no package of their own, which an editable installation could not offer.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import CompactHydraException, HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from nasforge.config.compose import checked_override, composed_of
from nasforge.config.grid import expand, written
from nasforge.config.member import Runner
from nasforge.errors import NasforgeError, UsageError
from nasforge.run.engine import Engine
from nasforge.run.progress import Listener
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, set_up
from nasforge.run.sweep_folder import Member, SweepFolder, SweepResult, record

HYDRA_NAMESPACE: Final = "hydra_plugins.nasforge"
LOOK_SECONDS: Final = 1.0


@final
@dataclass
class SweeperConfig:
    """What `hydra/sweeper=nasforge` is made with: `params` are values by setting, as in Hydra's basic sweeper."""

    _target_: str = f"{HYDRA_NAMESPACE}.GridSweeper"
    params: dict[str, str] | None = None


@final
@dataclass
class RayLauncherConfig:
    """What `hydra/launcher=ray` is made with; see `nasforge.run.engine`.

    Attributes:
        address: of a cluster; None starts Ray on this machine.
        jobs: members at a time; None: as many as there is room for.
        cpus: of a member, and gpus, and custom resources by name.
        retries: of a member whose process or node died; it goes on where it was.
    """

    _target_: str = f"{HYDRA_NAMESPACE}.RayLauncher"
    address: str | None = None
    jobs: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3


def register() -> None:
    """Make the plug-ins known to Hydra; as often as one likes."""
    parent, _, name = HYDRA_NAMESPACE.rpartition(".")
    try:
        namespace = importlib.import_module(parent)
    except ModuleNotFoundError:  # no package of plug-ins is installed
        namespace = sys.modules[parent] = types.ModuleType(parent)
        namespace.__path__ = []
    sys.modules[HYDRA_NAMESPACE] = sys.modules[__name__]
    setattr(namespace, name, sys.modules[__name__])
    plugins, store = Plugins.instance(), ConfigStore.instance()
    for plugin, kind, member, config in (
        (GridSweeper, "sweeper", "nasforge", SweeperConfig),
        (RayLauncher, "launcher", "ray", RayLauncherConfig),
    ):
        plugins.register(plugin)
        store.store(group=f"hydra/{kind}", name=member, node=config, provider="nasforge")


@final
class GridSweeper(Sweeper):
    """Every combination, as Hydra's basic sweeper has them, in a sweep's folder.

    Members that have a result are skipped. One that cannot be composed fails alone; so does one whose process dies.
    """

    __module__ = HYDRA_NAMESPACE

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        self._params = dict(params or {})

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Remember the task, which knows who listens, and make the launcher."""
        self.hydra_context, self.config, self._task = hydra_context, config, task_function
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> SweepResult:
        """Run the members that have no result; return how the sweep stands.

        Raises:
            CompactHydraException: the sweep cannot be done as asked, or members failed where Hydra itself was started.
        """
        try:
            result = self._sweep([*(f"{key}={value}" for key, value in self._params.items()), *arguments])
        except NasforgeError as error:
            raise CompactHydraException(f"nasforge: {error}") from error
        if result.failed and not isinstance(self._task, Runner):
            raise CompactHydraException("\n".join(f"{each.name} failed: {each.error}" for each in result.failed))
        return result

    def _sweep(self, arguments: list[str]) -> SweepResult:
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        members = expand(parser.parse_overrides(arguments))
        settings = {each.name: self._settings(each) for each in members}
        if all(isinstance(each, UsageError) for each in settings.values()):
            raise next(each for each in settings.values() if isinstance(each, UsageError))
        with SweepFolder(Path(self.config.hydra.sweep.dir).absolute(), arguments, members) as folder:
            todo = [each for each in folder.members if not each.done]
            for each in todo:
                found = settings[each.name]
                if isinstance(found, UsageError):
                    record(folder.path, each.name, "failed", str(found))
            todo = [each for each in todo if not isinstance(settings[each.name], UsageError)]
            listener = self._task.listener if isinstance(self._task, Runner) else Printed()
            try:
                with _told(folder, listener):
                    self._prepare([settings[each.name] for each in todo], listener)
                    self._launch(folder, todo)
            except BaseException:
                folder.end("interrupted")
                raise
            return folder.end("failed" if folder.read().failed else "finished")

    def _settings(self, member: Member) -> Settings | UsageError:
        """Compose a member as its process will; what is wrong with it concerns no other."""
        assert self.config is not None
        assert self.hydra_context is not None
        try:
            for text in member.overrides:
                checked_override(text)
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(member.overrides))
            with open_dict(config):
                del config["hydra"]
            return composed_of(config).settings
        except UsageError as error:
            return error
        except (HydraException, OmegaConfBaseException) as error:
            return UsageError(f"{member.name} does not compose: {str(error).strip().splitlines()[0].rstrip('.')}.")

    def _prepare(self, settings: Sequence[Settings | UsageError], listener: Listener) -> None:
        """Measure the devices' profiles before members run at the same time and disturb each other."""
        assert self.config is not None
        if "joblib" not in str(self.config.hydra.launcher.get("_target_")):
            return
        seen = set()
        for each in settings:
            assert isinstance(each, Settings)
            key = str((each.space, each.target, each.data, each.data_options))
            if key not in seen:
                seen.add(key)
                with suppress(Exception):  # the member will meet it again, and say so
                    set_up(each, Given(), listener)

    def _launch(self, folder: SweepFolder, members: Sequence[Member]) -> None:
        """Launch members; where a launcher breaks because a process died, find out whose it was."""
        if not members:
            return
        try:
            returned = self._launcher.launch([self._job(folder, each) for each in members], initial_job_idx=0)
        except Exception as error:
            running = {each.name for each in folder.read().members if each.status == "running"}
            begun = [each for each in members if each.name in running]
            if not begun:
                raise
            for each in begun:
                record(folder.path, each.name, "interrupted")
            if len(members) == 1:
                record(folder.path, members[0].name, "failed", _death(error))
                return
            done = {each.name for each in folder.read().members if each.done or each.status == "failed"}
            self._launch(folder, [each for each in members if each.name not in running and each.name not in done])
            for each in begun:
                self._launch(folder, [each])
            return
        for member, job in zip(members, returned, strict=True):
            if job.status == JobStatus.FAILED:
                record(folder.path, member.name, "failed", _death(job._return_value))

    def _job(self, folder: SweepFolder, member: Member) -> list[str]:
        place = {"hydra.sweep.dir": str(folder.path), "hydra.sweep.subdir": member.name}
        return [*member.overrides, *(f"{key}={written(key, value)}" for key, value in place.items())]


@final
class RayLauncher(Launcher):
    """Members as Ray tasks with declared processors; one whose worker or node dies is sent again."""

    __module__ = HYDRA_NAMESPACE

    def __init__(self, **given: Any) -> None:
        self._given = given

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Remember what a job needs."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run jobs; a death that no retry mended is the return of its job."""
        from nasforge.run.ray_sweep import run_on_ray

        jobs = self._given.pop("jobs", None)
        engine = Engine.read(self._given)
        state, context, task, config = Singleton.get_state(), self._context, self._task, self._config
        calls = [
            partial(run_elsewhere, number, list(overrides), context, config, task, state)
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        return [_returned(each) for each in run_on_ray(calls, engine, jobs)]


def run_elsewhere(
    number: int, overrides: list[str], context: Any, config: DictConfig, task: Any, state: Any
) -> JobReturn:
    """Run one of Hydra's jobs in a process that has not seen Hydra yet."""
    setup_globals()
    Singleton.set_state(state)
    job = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id, job.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(job)
    return run_job(
        task_function=task,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )


@final
class Printed(Listener):
    """Prints notes on standard error."""

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        print(sentence, file=sys.stderr, flush=True)


@contextmanager
def _told(folder: SweepFolder, listener: Listener) -> Iterator[None]:
    """Say what has become of members, whichever process they are in."""
    before = {each.name: each.status for each in folder.read().members}
    count, ended = len(before), threading.Event()
    skipped = sum(each.done for each in folder.members)
    listener.note(f"sweep {folder.path}: {count} members" + (f", {skipped} with a result" if skipped else ""))

    def look() -> None:
        for place, each in enumerate(folder.read().members, start=1):
            if each.status != before[each.name]:
                before[each.name] = each.status
                why = f": {each.error}" if each.error else ""
                listener.note(f"member {place} of {count}, {each.name}: {each.status.replace('_', ' ')}{why}")

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True, name="nasforge-sweep-notes")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


def _returned(value: Any) -> JobReturn:
    if isinstance(value, JobReturn):
        return value
    failed = JobReturn()
    failed.status, failed.return_value = JobStatus.FAILED, value
    return failed


def _death(error: object) -> str:
    line = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else ""
    return f"its process ended before it did ({type(error).__name__}: {line}); run the sweep again to go on with it."
