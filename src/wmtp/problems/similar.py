"""Texts that are nearly the same: candidates by MinHash, decided by what they really share."""

from __future__ import annotations

from rensa import RMinHash, RMinHashLSH

SHINGLE = 5
"""Characters of a shingle: of a short text, one other word leaves most of them."""

NUM_HASHES = 128
LEAST_RECALL = 0.999
"""Probability with which a pair at the threshold shares a band."""

SLACK = 0.15
"""How far the estimate of `NUM_HASHES` hashes may be below the threshold: more than three standard deviations."""


class Sketches:
    """An index of texts by the MinHash of their shingles: half a kilobyte of each, and no text.

    Args:
        threshold: Jaccard similarity of two sets from which they are found.
    Raises:
        ValueError: a threshold outside of (0, 1].
    Source: Broder 1997, On the resemblance and containment of documents; rensa's hashes and bands.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"a similarity threshold is in (0, 1], not {threshold}")
        self.threshold = threshold
        rows = rows_of_a_band(threshold)
        bands = NUM_HASHES // rows
        self._num_hashes = bands * rows
        self._index = RMinHashLSH(threshold=threshold, num_perm=self._num_hashes, num_bands=bands)
        self._hashes: list[RMinHash] = []

    def of(self, text: str) -> RMinHash:
        """A text's."""
        hashes = RMinHash(num_perm=self._num_hashes, seed=0)
        hashes.update(sorted(shingles(text)))
        return hashes

    def add(self, hashes: RMinHash) -> int:
        """The number by which `near` names it: 0, 1, ..."""
        number = len(self._hashes)
        self._index.insert(number, hashes)
        self._hashes.append(hashes)
        return number

    def near(self, hashes: RMinHash, least: float) -> list[tuple[int, float]]:
        """What was added and is estimated to be at least so similar, in its order, with the estimate: the share of hashes that
        agree, whose standard error is at most 0.044."""
        found = ((i, self._hashes[i].jaccard(hashes)) for i in sorted(self._index.query(hashes)))
        return [(i, degree) for i, degree in found if degree >= least]


class SimilarTexts:
    """An index of texts by their sets of shingles: candidates by their sketches, the similarity computed.

    Args:
        threshold: Jaccard similarity of two sets from which the texts count as nearly the same, in (0, 1].
    Raises:
        ValueError: a threshold outside of that.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._sketches = Sketches(threshold)
        self._texts: list[str] = []

    def add(self, text: str) -> int:
        """The number by which `find` names it: 0, 1, ..."""
        self._texts.append(text)
        return self._sketches.add(self._sketches.of(text))

    def find(self, text: str) -> tuple[int, float] | None:
        """The most similar text that was added and the similarity, the first of several; None where all are below it."""
        near = self._sketches.near(self._sketches.of(text), self.threshold - SLACK)
        own = shingles(text)
        degrees = {i: jaccard(own, shingles(self._texts[i])) for i, _ in near}
        best = max(degrees, key=lambda i: degrees[i], default=None)
        return (best, degrees[best]) if best is not None and degrees[best] >= self.threshold else None


def rows_of_a_band(threshold: float) -> int:
    """The most rows with which bands still find nearly all pairs at the threshold: the fewest candidates."""
    fitting = [r for r in range(1, NUM_HASHES + 1) if 1 - (1 - threshold**r) ** (NUM_HASHES // r) >= LEAST_RECALL]
    return max(fitting, default=1)


def shingles(text: str) -> set[str]:
    """All runs of `SHINGLE` characters; the text itself where it is shorter."""
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)
