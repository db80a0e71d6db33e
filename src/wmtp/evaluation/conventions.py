"""How completions are drawn where the command line does not say: as the papers of the benchmarks drew them."""

from __future__ import annotations

from dataclasses import dataclass

from wmtp.errors import ConfigError
from wmtp.evaluation.generate import Decoding

TOP_P = 0.95


@dataclass(frozen=True)
class Drawing:
    """What is asked for on the command line; None is as the papers have it.

    One greedy completion for pass@1; draws at 0.2 where several are to give pass@1, at 0.8 where they are to give more. Draws
    are from the nucleus of 0.95, and a greedy completion stands beside them. A completion is as long as the format's
    source lets it become.

    Source: Chen et al. 2021, arXiv 2107.03374, section 3; Roziere et al. 2023, arXiv 2308.12950, table 2.
    """

    num_samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    batch_size: int = 64
    num_drafts: int = 0

    def decoding(self, k: tuple[int, ...], seed: int, longest: int) -> Decoding:
        """What is done.

        Args:
            k: of the pass@k that are to be reported.
            longest: tokens of a completion where nothing is asked for.
        Raises:
            ConfigError: fewer samples than the largest k; several greedy ones, which would all be the same.
        """
        most = max(k)
        number = most if self.num_samples is None else self.num_samples
        if number < most:
            raise ConfigError(f"--num-samples {number} is too few for pass@{most}: at least {most}")
        temperature = self.temperature
        if temperature is None:
            temperature = 0.0 if number == 1 else 0.2 if most == 1 else 0.8
        if temperature == 0 and number > 1:
            raise ConfigError(
                f"--temperature 0 is greedy decoding, which would make {number} times the same completion of a task"
            )
        if temperature == 0 and self.top_p is not None:
            raise ConfigError("--top-p is of no use in greedy decoding: give a --temperature above 0, too")
        return Decoding(
            num_samples=number,
            temperature=temperature,
            top_p=1.0 if temperature == 0 else TOP_P if self.top_p is None else self.top_p,
            seed=seed,
            max_new_tokens=longest if self.max_new_tokens is None else self.max_new_tokens,
            batch_size=self.batch_size,
            num_drafts=self.num_drafts,
            greedy=temperature > 0,
        )
