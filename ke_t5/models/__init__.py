"""Models. After this import, transformers' Auto classes and pipelines know our model types.

Nothing heavy is imported for that: `AutoConfig` imports our classes, which then register
themselves, when it first meets one of our types.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_TABLE = "transformers.models.auto.configuration_auto"


class _ModelTypes(dict):
    """Registered configuration classes by model type; ours are imported when one is asked for."""

    def __contains__(self, model_type: object) -> bool:
        if str(model_type).startswith("ke_t5_"):
            importlib.import_module("ke_t5.models.models")
        return super().__contains__(model_type)


def _extend(table: ModuleType) -> None:
    types = table.CONFIG_MAPPING._extra_content
    if not isinstance(types, _ModelTypes):
        table.CONFIG_MAPPING._extra_content = _ModelTypes(types)


class _ExtendAfterImport(MetaPathFinder):
    """Extends transformers' table of model types as soon as it is imported, and not before."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """The table's own spec, made to extend it after its execution."""
        spec = PathFinder.find_spec(fullname, path) if fullname == _TABLE else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_extend(module: ModuleType) -> None:
            execute(module)
            _extend(module)

        spec.loader.exec_module = execute_and_extend
        return spec


if _TABLE in sys.modules:
    _extend(sys.modules[_TABLE])
else:
    sys.meta_path.insert(0, _ExtendAfterImport())
