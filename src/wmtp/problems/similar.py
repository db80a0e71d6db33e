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


class SimilarTexts:
    """An index of texts by their sets of shingles.

    Args:
        threshold: Jaccard similarity of two sets from which the texts count as nearly the same, in (0, 1].
    Raises:
        ValueError: a threshold outside of that.
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
        self._texts: list[str] = []
        self._hashes: list[RMinHash] = []

    def add(self, text: str) -> int:
        """The number by which `find` names it: 0, 1, ..."""
        number, hashes = len(self._texts), self._hash(text)
        self._index.insert(number, hashes)
        self._texts.append(text)
        self._hashes.append(hashes)
        return number

    def find(self, text: str) -> tuple[int, float] | None:
        """The most similar text that was added and the similarity, the first of several; None where all are below it."""
        hashes = self._hash(text)
        near = [i for i in self._index.query(hashes) if self._hashes[i].jaccard(hashes) >= self.threshold - SLACK]
        own = shingles(text)
        degrees = {i: jaccard(own, shingles(self._texts[i])) for i in sorted(near)}
        best = max(degrees, key=lambda i: degrees[i], default=None)
        return (best, degrees[best]) if best is not None and degrees[best] >= self.threshold else None

    def _hash(self, text: str) -> RMinHash:
        hashes = RMinHash(num_perm=self._num_hashes, seed=0)
        hashes.update(sorted(shingles(text)))
        return hashes


def rows_of_a_band(threshold: float) -> int:
    """The most rows with which bands still find nearly all pairs at the threshold: the fewest candidates."""
    fitting = [r for r in range(1, NUM_HASHES + 1) if 1 - (1 - threshold**r) ** (NUM_HASHES // r) >= LEAST_RECALL]
    return max(fitting, default=1)


def shingles(text: str) -> set[str]:
    """All runs of `SHINGLE` characters; the text itself where it is shorter."""
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)
