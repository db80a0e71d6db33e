"""One thread per process, as the launcher gives a stage: two test processes on two cores must not fight."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
