"""The choice of what generates, and that the transformers side keeps what both promise."""

import inspect
import sys

import pytest

from tests.unit.evaluation.test_completer import DECODING, HUMANEVAL, save
from wmtp.errors import ConfigError
from wmtp.evaluation.backends import Backend, ModelChoice
from wmtp.evaluation.completer import Completer
from wmtp.evaluation.vllm_completer import VllmCompleter
from wmtp.types import AssertTest, Problem


def test_both_have_the_same_methods_with_the_same_arguments():
    for name in ("identity", "answers"):
        wanted = inspect.signature(getattr(Backend, name))
        assert inspect.signature(getattr(Completer, name)) == wanted == inspect.signature(getattr(VllmCompleter, name))


def test_transformers_makes_every_completion_once_and_says_what_they_are_made_of(tmp_path):
    backend = ModelChoice(str(save(tmp_path, "gpt2")), dtype="float32").load()
    problems = [Problem(f"HumanEval/{i}", "def f():\n" * (1 + i), (AssertTest("assert f(1)"),)) for i in range(3)]
    answers = [answer for batch in backend.answers(HUMANEVAL, problems, DECODING) for answer in batch]
    assert sorted((answer.task_id, answer.sample) for answer in answers) == [(p.problem_id, "greedy") for p in problems]
    identity = backend.identity(HUMANEVAL, problems, DECODING)
    assert (identity["dtype"], identity["stop"]) == ("float32", list(HUMANEVAL.stop))
    assert not ModelChoice(str(tmp_path)).has_chat_template()
    assert [prompt.task_id for prompt in backend.prompter.prompts(HUMANEVAL, problems)] == [p.problem_id for p in problems]


def test_what_cannot_be_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"--revision main is of the hub, and \S+ is a folder"):
        ModelChoice(str(tmp_path), revision="main").check(0)
    monkeypatch.setitem(sys.modules, "vllm", None)  # as where it is not installed
    with pytest.raises(ConfigError, match="needs the package vllm"):
        ModelChoice("some/model", backend="vllm").check(0)
    ModelChoice("some/model", revision="main").check(2)


def test_a_hub_id_may_name_its_revision_as_configurations_do(tmp_path, monkeypatch):
    assert ModelChoice.of("org/name@v1", None, "auto", "transformers") == ModelChoice("org/name", "v1")
    assert ModelChoice.of("org/name@v1", "v1", "auto", "transformers") == ModelChoice("org/name", "v1")
    assert ModelChoice.of("org/name", "v1", "auto", "transformers") == ModelChoice("org/name", "v1")
    with pytest.raises(ConfigError, match="--model org/name@v1 and --revision v2 name two revisions"):
        ModelChoice.of("org/name@v1", "v2", "auto", "transformers")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/name@v1").mkdir(parents=True)
    assert ModelChoice.of("org/name@v1", None, "auto", "transformers") == ModelChoice("org/name@v1")
