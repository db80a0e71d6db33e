"""Settings that contradict each other are refused when a section is built."""

import pytest

from wmtp.config.data import DataConfig, TokenizerConfig
from wmtp.errors import ConfigError

FILES = {"source": "jsonl", "train_path": "a", "validation_path": "b"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difficulty_bins": [2, 1], "difficulty_weights": [1, 1, 1]}, "rising edges"),
        ({"difficulty_bins": [2], "difficulty_weights": [1]}, "2 shares for 1 edges"),
        ({"difficulty_weights": [0]}, "not all 0"),
        ({"unknown_difficulty_weight": 1.0}, "beside data.difficulty_weights"),
        ({"max_bad_frac": 1.0}, r"a number in \[0, 1\)"),
        ({"max_per_problem": 1}, "at least 2 where data.pairwise"),
        ({"mutants_per_solution": 2}, "0 or 1 where data.pairwise"),
        ({"correct_ratio": 0.75}, "0.5 or null where data.pairwise"),
        ({"operations": "some"}, "core, all"),
        ({"source": "mbpp"}, "data.train_path"),
        ({"source": "gsm8k"}, r"data.labels='verified' is not allowed: trusted with data.source=gsm8k: its answers are texts"),
        ({"source": "livecodebench"}, "it is a test set, and has no solutions"),
        (
            {"source": "text", "train_path": "a"},
            r"data.noise.frac=0.5 is not allowed: 0 with data.source=text",
        ),
        ({"benchmark_overlap": 0.0}, r"data.benchmark_overlap=0.0 is not allowed: a number in \(0, 1\], or null"),
        ({"max_similarity": 1.5}, r"data.max_similarity=1.5 is not allowed"),
        ({"benchmarks": ["mbpp:a"]}, "where the source makes its own problems"),
        (FILES | {"benchmarks": ["mbpp:a"] * 5}, "at most 4 files or folders"),
        (FILES | {"benchmarks": ["a.jsonl"]}, "NAME:PATH, where NAME is one of apps, .*mbpp"),
        (FILES | {"benchmarks": ["synthetic:a"]}, "NAME:PATH"),
        (FILES | {"benchmarks": ["mbpp:"]}, "NAME:PATH"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**changes)


def test_a_tokenizer_is_learnt_from_something():
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.max_texts=0 is not allowed: a positive whole number"):
        TokenizerConfig(max_texts=0)
