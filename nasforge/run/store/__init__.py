"""Where evaluations are kept: an Optuna study, one finished trial per evaluation, in a journal file or a database.

`optuna-dashboard` opens it. No sampler is ever asked.
"""

from nasforge.run.store.base import MemoryStore, Store, directions_of
from nasforge.run.store.journal import repair_journal
from nasforge.run.store.opening import check_storage, open_store
from nasforge.run.store.study import NAME, STUDY, StudyStore

__all__ = [
    "NAME",
    "STUDY",
    "MemoryStore",
    "Store",
    "StudyStore",
    "check_storage",
    "directions_of",
    "open_store",
    "repair_journal",
]
