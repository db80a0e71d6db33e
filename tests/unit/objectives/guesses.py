"""Guesses of rows' scales."""


class Guess:
    """The number that each row has in `scale_N`; `most`: of the rows, hardly more than this share have one."""

    def __init__(self, scale_N, most=1.0):
        self.scale_N, self.most = scale_N, most

    def __call__(self, rows_R, nll_R):
        return self.scale_N[rows_R]
