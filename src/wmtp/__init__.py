"""Weighted multi-token prediction experiments.

Importing this package makes its model known to transformers' Auto classes, without importing transformers or torch.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_MODEL_TYPE = "wmtp_mtp"
_REGISTRY = "transformers.models.auto.configuration_auto"


class _LazilyKnown(dict[str, Any]):
    """Configurations registered with transformers; ours is imported, and registers itself, when it is asked for."""

    def __contains__(self, key: object) -> bool:
        return key == _MODEL_TYPE or super().__contains__(key)

    def __missing__(self, key: str) -> Any:
        if key != _MODEL_TYPE:
            raise KeyError(key)
        import_module("wmtp.models")
        return self[key]


def _make_known(registry: Any) -> None:
    mapping = registry.CONFIG_MAPPING
    mapping._extra_content = _LazilyKnown(mapping._extra_content)


class _RegistryLoader(Loader):
    """transformers' own loader, and then our entry."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _make_known(module)


class _RegistryFinder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _REGISTRY:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegistryLoader(spec.loader)
        return spec


if _REGISTRY in sys.modules:
    _make_known(sys.modules[_REGISTRY])
else:
    sys.meta_path.insert(0, _RegistryFinder())
