"""Where evaluations are kept: an Optuna study, one finished trial per evaluation, in a journal file or a database.

`optuna-dashboard` opens it. No sampler is ever asked.
"""

from nasforge.run.store.base import MemoryStore, Store, directions_of
from nasforge.run.store.journal import repair_journal
from nasforge.run.store.opening import check_storage, check_storage_of, open_store
from nasforge.run.store.study import NAME, STUDY, StudyStore
from nasforge.run.store.url import absolute

__all__ = [
    "NAME",
    "STUDY",
    "MemoryStore",
    "Store",
    "StudyStore",
    "absolute",
    "check_storage",
    "check_storage_of",
    "directions_of",
    "open_store",
    "repair_journal",
]
