"""Generation, sandboxed execution and scores."""
