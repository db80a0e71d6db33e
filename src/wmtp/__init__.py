"""Weighted multi-token prediction experiments.

Importing this package makes its models known to transformers' Auto classes, without importing transformers.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_AUTO_CLASSES = "transformers.models.auto.modeling_auto"


class _Registering(Loader):
    """transformers' own loader of its Auto classes, and then the registration (see `wmtp.models`)."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        import_module("wmtp.models")


class _AutoClassesFinder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _AUTO_CLASSES:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


if _AUTO_CLASSES in sys.modules:
    import_module("wmtp.models")
else:
    sys.meta_path.insert(0, _AutoClassesFinder())
