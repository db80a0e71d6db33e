"""An executor of the tests' own, for programs that the generator itself wrote."""

import contextlib
import io


def run_trusted(code, stdin):
    """What the program prints, split at whitespace. No sandbox: only for what can be trusted."""
    lines, out = iter(stdin.splitlines()), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "program.py", "exec"), {"input": lambda: next(lines)})
    return out.getvalue().split()
