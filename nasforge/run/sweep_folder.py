"""The folder of a sweep: `sweep.yaml`, and one run folder for each member.

What has become of a member is written by the process that runs it, so it is known while the sweep goes on and after
it was killed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, final

import yaml

from nasforge.errors import DamagedError, RunFolderError
from nasforge.run.atomic import PART, folder_error, write_text
from nasforge.run.folder import CONFIG, RunFolder, redact, redacted
from nasforge.run.result import FILE as RESULT
from nasforge.run.result import read_result

FILE: Final = "sweep.yaml"
SCHEMA: Final = 1
_OWN: Final = (".lock", ".status-lock")

MemberStatus = Literal["waiting", "running", "finished", "limit_missed", "failed", "interrupted"]
SweepStatus = Literal["running", "finished", "failed", "interrupted"]
DONE: Final = ("finished", "limit_missed")


@final
@dataclass(frozen=True, slots=True)
class Member:
    """One run of a sweep.

    Attributes:
        name: of its folder below the sweep's.
        overrides: what makes it, in Hydra's grammar.
        status: what has become of it.
        error: why it failed, in one sentence.
    """

    name: str
    overrides: tuple[str, ...]
    status: MemberStatus = "waiting"
    error: str | None = None

    @property
    def done(self) -> bool:
        """Whether it has a result."""
        return self.status in DONE


@final
@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep as its folder stands.

    Attributes:
        folder: of the sweep.
        overrides: what was asked for, in Hydra's grammar.
        members: its runs, in the order they were started.
        status: of the whole.
    """

    folder: Path
    overrides: tuple[str, ...]
    members: tuple[Member, ...]
    status: SweepStatus = "running"

    @classmethod
    def read(cls, folder: str | Path) -> SweepResult:
        """Read `sweep.yaml`, by safe YAML.

        Raises:
            DamagedError: it is missing, or is not as nasforge writes it.
        """
        path = Path(folder) / FILE
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ValueError(f"schema {content['schema']}")
            members = tuple(
                Member(str(each["name"]), tuple(map(str, each["overrides"])), each["status"], each["error"])
                for each in content["members"]
            )
            return cls(Path(folder), tuple(map(str, content["overrides"])), members, content["status"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"'{path}' cannot be read as a sweep ({type(error).__name__}); give the folder of a sweep."
            ) from error

    @property
    def runs(self) -> list[Path]:
        """The folders of the members that have a result."""
        return [self.folder / each.name for each in self.members if each.done]

    @property
    def failed(self) -> list[Member]:
        """The members that failed."""
        return [each for each in self.members if each.status == "failed"]

    @property
    def unfinished(self) -> list[Member]:
        """The members that another start of the sweep would run."""
        return [each for each in self.members if not each.done]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `sweep.yaml`."""
        return {
            "schema": SCHEMA,
            "nasforge": version("nasforge"),
            "overrides": list(self.overrides),
            "status": self.status,
            "members": [{**asdict(each), "overrides": list(each.overrides)} for each in self.members],
        }


@final
class SweepFolder:
    """A sweep's folder, locked against another sweep; use as a context manager.

    Attributes:
        path: of the folder.
        members: of the sweep, as they stood when the folder was taken.
    """

    def __init__(self, path: Path, overrides: Sequence[str], members: Sequence[Member]) -> None:
        """Make the folder, or take up the sweep that it holds.

        Raises:
            RunFolderError: another process holds it, it holds another sweep, or something else.
        """
        self.path = path
        _check(path)
        self._lock = RunFolder(path)
        try:
            stored = SweepResult.read(path) if (path / FILE).exists() else None
            wanted = {each.name: tuple(map(redact, each.overrides)) for each in members}
            if stored is not None and {each.name: each.overrides for each in stored.members} != wanted:
                raise RunFolderError(
                    f"'{path}' already holds another sweep ({redact(' '.join(stored.overrides))}); continue it with "
                    f"`nasforge sweep --resume {path}`, or choose another --out."
                )
            before = {each.name: each for each in stored.members} if stored is not None else {}
            self.members = tuple(_as_it_stands(path, each, before.get(each.name, each)) for each in members)
            _write(SweepResult(path, tuple(overrides), self.members))
        except BaseException:
            self._lock.close()
            raise

    def read(self) -> SweepResult:
        """Return the sweep as it stands."""
        return SweepResult.read(self.path)

    def end(self, status: SweepStatus) -> SweepResult:
        """Write the status of the whole; members that did not come to an end were interrupted."""
        with _changing(self.path):
            sweep = self.read()
            members = tuple(
                replace(each, status="interrupted") if each.status == "running" else each for each in sweep.members
            )
            _write(replace(sweep, members=members, status=status))
        return self.read()

    def __enter__(self) -> SweepFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()


def record(folder: Path, name: str, status: MemberStatus, error: str | None = None) -> None:
    """Write what has become of a member, from whatever process ran it."""
    with _changing(folder):
        sweep = SweepResult.read(folder)
        members = tuple(
            replace(each, status=status, error=None if error is None else redact(error)) if each.name == name else each
            for each in sweep.members
        )
        _write(replace(sweep, members=members))


def is_sweep(folder: Path) -> bool:
    """Say whether a folder is a sweep's."""
    return (folder / FILE).is_file()


def _write(sweep: SweepResult) -> None:
    content = yaml.safe_dump(redacted(sweep.to_json()), sort_keys=False, allow_unicode=True, width=110)
    write_text(sweep.folder / FILE, content)


def _check(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        content = [each.name for each in path.iterdir() if each.name not in _OWN and not each.name.startswith(PART)]
    except OSError as error:
        raise folder_error(path, error) from error
    if (path / CONFIG).exists():
        raise RunFolderError(f"'{path}' holds a run, not a sweep; choose another --out.")
    if content and FILE not in content:
        raise RunFolderError(
            f"'{path}' is not empty and holds no sweep ({content[0]}, ...); choose an empty or a new folder."
        )


def _as_it_stands(folder: Path, member: Member, before: Member) -> Member:
    """Return a member by what its folder holds, for a killed process wrote nothing any more."""
    if (folder / member.name / RESULT).exists():
        try:
            return replace(member, status=read_result(folder / member.name)["status"], error=None)
        except DamagedError:
            return replace(member, status="interrupted", error=None)
    if before.status == "failed":
        return replace(member, status=before.status, error=before.error)
    begun = (folder / member.name / CONFIG).exists()
    return replace(member, status="interrupted" if begun else "waiting", error=None)


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Keep the members that end at the same time from overwriting each other's line."""
    path = folder / _OWN[1]
    try:
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise folder_error(path, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
