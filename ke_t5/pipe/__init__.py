"""seqio's idea on Hugging Face datasets: a registry of tasks that produce examples."""

from ke_t5.pipe.batches import BatchPlan, get_batches
from ke_t5.pipe.cache import Folders
from ke_t5.pipe.evaluation import evaluate
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.mixture import Mixture, MixtureRegistry, get_task, rate_num_examples
from ke_t5.pipe.monitor import Monitor, greatest, least
from ke_t5.pipe.prediction import EvaluationHelper
from ke_t5.pipe.preprocessors import (
    append_eos,
    map_over_batches,
    map_over_dataset,
    rekey,
    tokenize,
    trim,
)
from ke_t5.pipe.scoring import Evaluated
from ke_t5.pipe.sources import (
    DataSource,
    FunctionDataSource,
    HFDataSource,
    ReleaseSource,
)
from ke_t5.pipe.task import (
    Defaults,
    Task,
    TaskRegistry,
    get_dataset,
)

__all__ = [
    "IGNORED",
    "BatchPlan",
    "DataSource",
    "Defaults",
    "Evaluated",
    "EvaluationHelper",
    "Examples",
    "Feature",
    "Folders",
    "FunctionDataSource",
    "HFDataSource",
    "Mixture",
    "MixtureRegistry",
    "Monitor",
    "ReleaseSource",
    "Task",
    "TaskRegistry",
    "append_eos",
    "evaluate",
    "get_batches",
    "get_dataset",
    "get_task",
    "greatest",
    "least",
    "map_over_batches",
    "map_over_dataset",
    "rate_num_examples",
    "rekey",
    "tokenize",
    "trim",
]
