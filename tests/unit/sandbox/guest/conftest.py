"""The guest's programs import one another by their bare names, as they do inside of the sandbox."""

import sys

from tests.workspaces import PROJECT

sys.path.append(str(PROJECT / "src/wmtp/sandbox/guest"))
