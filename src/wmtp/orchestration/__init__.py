"""How stages come to run: launcher, processes, workspace, and the pipeline as DVC has it."""
