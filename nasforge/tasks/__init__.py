"""Tasks and data sets."""

from nasforge.tasks.dataset import DataSource, Split, make_source
from nasforge.tasks.loader import Loader
from nasforge.tasks.preprocessing import Preprocessing
from nasforge.tasks.task import Task

__all__ = ["DataSource", "Loader", "Preprocessing", "Split", "Task", "make_source"]
