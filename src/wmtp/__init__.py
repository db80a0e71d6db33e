"""Weighted multi-token prediction experiments. The names below are the library: see docs/library.md.

They are loaded when they are first used (torch and transformers take seconds). `import wmtp.models` alone makes a policy
known to transformers' Auto classes.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wmtp.library import (
        AssertTest,
        Critic,
        Example,
        IOTest,
        LanguageModel,
        Limits,
        Program,
        Verdict,
        Workspace,
        load_critic,
        load_model,
        open_workspace,
        score_programs,
        token_weights,
    )

__all__ = [
    "AssertTest",
    "Critic",
    "Example",
    "IOTest",
    "LanguageModel",
    "Limits",
    "Program",
    "Verdict",
    "Workspace",
    "load_critic",
    "load_model",
    "open_workspace",
    "score_programs",
    "token_weights",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wmtp' has no attribute {name!r}")
    from wmtp import library

    return getattr(library, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
