"""What `import wmtp` offers to scripts and notebooks, in or out of a clone. `wmtp.NAME` stands for everything in `__all__`."""

from wmtp.library.models import Critic, Example, LanguageModel, load_critic, load_model
from wmtp.library.programs import score_programs
from wmtp.library.weights import token_weights
from wmtp.library.workspace import Workspace, open_workspace
from wmtp.types import AssertTest, IOTest, Limits, Program, Verdict

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
