"""The user's own data as tasks: spreadsheets, CoNLL or JSON files become ordinary tasks.

    own = load_own_data("classification", files={"train": "reviews.csv"}, columns={"text": "문장"})
    task = register(own)

With flags: `--task classification --train_file reviews.csv --text_column 문장`.
"""

from ke_t5.own_data.settings import load_own_data
from ke_t5.own_data.spec import KIND_OF, TASKS, OwnData
from ke_t5.own_data.tasks import forget, own_data_of, register, register_kinds

__all__ = [
    "KIND_OF",
    "TASKS",
    "OwnData",
    "forget",
    "load_own_data",
    "own_data_of",
    "register",
    "register_kinds",
]
