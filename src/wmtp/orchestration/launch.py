"""A stage's parent: checks, starts its processes, watches them, and moves finished outputs to their final names.

What is up to date is DVC's business; this runs one stage, now, completely or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from wmtp import model_files, tracking
from wmtp.config import LaunchConfig, load_launch, read_params
from wmtp.errors import ConfigError, LaunchError, PreemptedError, WmtpError
from wmtp.files import sync, temporary_sibling, write_text
from wmtp.notice import Told
from wmtp.orchestration import causes, cluster, own_code, processes, provenance, resume, slots
from wmtp.orchestration.assignment import ENVIRONMENT, HOST, Assignment
from wmtp.orchestration.causes import Remains
from wmtp.orchestration.console import Console
from wmtp.orchestration.integrity import require_intact
from wmtp.orchestration.pipeline import PARAMS, StageSpec, read_spec
from wmtp.orchestration.provenance import Provenance
from wmtp.orchestration.watch import Watch, ask_to_leave
from wmtp.progress import progress_path

CANCEL_SECONDS = 3.0

MAX_IDLE_JOBS = 3
"""Jobs of Slurm's in a row that may be preempted before they get a step further."""


def run_stage(name: str, root: Path) -> None:
    """Run one stage to its end.

    Raises:
        ConfigError: bad parameters, an unknown stage or a missing input, before anything is started.
        LaunchError: a process failed (rank, exception, log file), an input is damaged, or one changed while the stage ran.
        PreemptedError: its ranks had notice to leave.
    """
    params_text = (root / PARAMS).read_text(encoding="utf-8") if (root / PARAMS).exists() else ""
    read_params(root / PARAMS)
    launch = load_launch(root)
    cluster.require_launcher(launch)
    own_code.require_own(root)
    _require_provenance(read_spec(root, name))
    with ExitStack() as stack:
        stack.enter_context(_interruptible())
        stack.enter_context(_locked(root / ".wmtp" / "locks" / f"{name}.lock", f"another run of {name}"))
        courier = stack.enter_context(_tracked(root, launch, name))
        spec = read_spec(root, name)
        if (root / PARAMS).read_text(encoding="utf-8") != params_text:
            raise LaunchError(f"{name}: params.yaml changed while the stage started; run it again")
        require_intact(root, name, spec.deps)
        devices = stack.enter_context(slots.taken(launch, f"{name} of {root}")) if spec.is_distributed else {}
        temporaries = {out: temporary_sibling(root / out, spec.fingerprint[:8]) for out in spec.outs}
        stack.callback(_remove, list(temporaries.values()))
        for out, path in temporaries.items():
            _clear_leftovers(root / out)
            path.mkdir(parents=True)
        launched = _Launch(root, spec, launch, devices)
        origin = Provenance(root, spec, launch)
        _run_jobs(launched, params_text, temporaries, courier.journal)
        changed = spec.changed(read_spec(root, name))
        if changed:
            raise LaunchError(
                f"{name}: {', '.join(changed)} changed while it ran, so its result belongs to neither version "
                f"and is discarded; run it again"
            )
        origin.write(temporaries[provenance.output(name)], launched.host())
        for out, path in temporaries.items():
            _finalise(path, root / out)
        courier.link(_models(root, spec.outs))
        resume.finish(launched.resume)


def _run_jobs(launched: _Launch, params_text: str, temporaries: dict[str, Path], journal: Path) -> None:
    """Run the stage's processes to their end; a job that Slurm preempted is queued again, and goes on where it left."""
    step, idle = None, 0
    while True:
        launched.prepare()
        write_text(launched.folder / PARAMS, params_text)
        try:
            return launched.run(temporaries, journal)
        except PreemptedError as notice:
            step, idle = notice.step, idle + 1 if notice.step == step else 1
            if not launched.may_requeue or idle == MAX_IDLE_JOBS:
                raise
            print(PreemptedError(step, launched.name, ", requeued"), flush=True)
            for path in temporaries.values():
                shutil.rmtree(path)
                path.mkdir()


def _require_provenance(spec: StageSpec) -> None:
    if provenance.output(spec.name) not in spec.outs:
        raise ConfigError(f"{spec.name} lacks the output {provenance.output(spec.name)} in dvc.yaml")


# --------------------------------------------------------------------------------------- outputs


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _clear_leftovers(final: Path) -> None:
    """What a launcher that was killed left beside an output. The stage's lock is held, so nobody writes there."""
    _remove([*final.parent.glob(temporary_sibling(final, "*").name), final.with_name(f".{final.name}.old")])


def _finalise(temporary: Path, final: Path) -> None:
    """fsync every file, then swap the folder in: the final name holds the old output or the new one, never a part.

    Files are never written in place: DVC's cache may be hard links to them.
    """
    for path in (temporary, *temporary.rglob("*")):
        sync(path)
    old = final.with_name(f".{final.name}.old")
    _remove([old])
    if final.exists():
        os.rename(final, old)
    os.rename(temporary, final)
    sync(final.parent)
    _remove([old])


def _models(root: Path, outs: Sequence[str]) -> dict[str, Path]:
    """Those of a stage's outputs that a model can be loaded from, by a name such as `policy-rho1-s0`."""
    found = [out for out in outs if (root / out / model_files.CONFIG).exists()]
    return {"-".join(Path(out).parts[1:]): (root / out).resolve() for out in found}


# --------------------------------------------------------------------------------------- locks


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for {what}", flush=True)
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, a closed terminal and the death of whoever asked for the stage end the block as Ctrl-C does: cleaned up."""
    others = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGUSR1)}
    previous = processes.interrupt_on_sigterm() | others
    signal.signal(signal.SIGUSR1, _leave)  # until there are ranks to tell
    owners = [os.environ[processes.OWNER]] if processes.OWNER in os.environ else []
    if "DVC_STAGE" in os.environ:
        owners += [who for who in [processes.caller()] if who is not None]
    processes.end_with(owners)
    try:
        yield
    except Told as notice:
        raise PreemptedError(None, said=str(notice)) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, frame: Any) -> None:
    raise Told("preempted before anything was started")


@contextmanager
def _tracked(root: Path, launch: LaunchConfig, name: str) -> Iterator[tracking.Courier]:
    """Deliver the stage's metrics while the block lasts, and end its MLflow run as the block ends."""
    courier = tracking.Courier(root, launch.tracking_uri or tracking.default_uri(root), name)
    try:
        yield courier
    except (PreemptedError, Told) as notice:
        courier.close("KILLED", str(notice), patience_s=CANCEL_SECONDS)
        raise
    except WmtpError as error:
        courier.close("FAILED", str(error))
        raise
    except BaseException:
        courier.close("KILLED", "cancelled", patience_s=CANCEL_SECONDS)
        raise
    courier.close()


# --------------------------------------------------------------------------------------- processes


class _Launch:
    """One start of a stage's process tree."""

    def __init__(self, root: Path, spec: StageSpec, launch: LaunchConfig, devices: dict[str, str]) -> None:
        self.root, self.spec, self.launch, self.devices = root, spec, launch, devices
        self.name = spec.name
        self.is_distributed = spec.is_distributed
        self.is_slurm = self.is_distributed and launch.launcher == "slurm"
        self.folder = root / ".wmtp" / "launch" / self.name
        self.log = root / ".wmtp" / "logs" / f"{self.name}.log"
        self.resume = resume.prepare(root, spec)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self.was_told = False

    def prepare(self) -> None:
        """A new mark and an empty folder, for one start."""
        self.token = uuid.uuid4().hex
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def run(self, temporaries: dict[str, Path], journal: Path) -> None:
        """Run the processes to their end, with everything they print in the log and on the console.

        Raises:
            ConfigError, LaunchError: one of them failed.
            PreemptedError: they had notice to leave.
        """
        assignment = Assignment(
            name=self.name,
            root=self.root,
            folder=self.folder,
            declared=self.spec.params,
            outputs={out: path for out, path in temporaries.items() if out != provenance.output(self.name)},
            resume=self.resume,
            fingerprint=self.spec.fingerprint,
            journal=journal,
            owner=processes.identity(),
            launch=self.launch,
        )
        with self.log.open("a", encoding="utf-8", buffering=1) as log:
            watch = self._watch(log)
            try:
                code = self._run_processes(assignment, log, watch)
            except KeyboardInterrupt:
                if not cluster.is_being_requeued():
                    raise
                step = causes.preempted_at(causes.read_errors(self.folder))
                raise PreemptedError(step, self.name, ", requeued") from None
        if code != 0:
            cause = causes.explain(self.name, self._remains(code, watch), f"whole log: {self.log.relative_to(self.root)}")
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{cause}\n")
            raise cause

    @property
    def may_requeue(self) -> bool:
        """Whether the job was Slurm's alone, and Slurm, nobody else, ended it."""
        said = (self.folder / "stderr").read_text(encoding="utf-8")
        return self.is_slurm and "SLURM_JOB_ID" not in os.environ and not self.was_told and not cluster.was_cancelled(said)

    def _watch(self, log: IO[str]) -> Watch:
        return Watch(
            self.name,
            self.folder,
            self.token,
            self.launch.collective_timeout_s,
            progress=progress_path(self.root, self.name),
            say=lambda line: print(line, flush=True),
            note=log.write,
        )

    def _remains(self, code: int, watch: Watch) -> Remains:
        return Remains(
            errors=causes.read_errors(self.folder),
            stderr=(self.folder / "stderr").read_text(encoding="utf-8"),
            log=self.log.read_text(encoding="utf-8"),
            code=code,
            num_ranks=self.launch.nnodes * self.launch.nproc_per_node if self.is_distributed else 0,
            states=watch.states,
        )

    def host(self) -> dict[str, Any]:
        """What rank 0 said of its machine."""
        found: dict[str, Any] = json.loads((self.folder / HOST).read_text(encoding="utf-8"))
        return found

    def _run_processes(self, assignment: Assignment, log: IO[str], watch: Watch) -> int:
        process = subprocess.Popen(
            self._command(),
            cwd=self.root,
            env=self._environment(assignment),
            stdin=subprocess.PIPE if self.is_slurm else subprocess.DEVNULL,  # open until we die: see cluster's agents
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=processes.start_below,  # dies with this process also where this one is stopped, and killed then
        )
        self._pause_with_terminal(watch)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._pass_notice_on(process))
        try:
            with watch:
                assert process.stdout is not None and process.stderr is not None
                aside = threading.Thread(target=self._keep_aside, args=(process.stderr, log), daemon=True)
                aside.start()
                console = Console()
                for line in process.stdout:
                    log.write(line)
                    console.show(line)
                    watch.heard()
                console.close()
                aside.join(timeout=10)
                return process.wait()
        finally:
            processes.kill_tree(process, self.token, cluster.grace_s())
            if self.is_slurm:
                cluster.cancel_job(self.name, self.token)

    def _pause_with_terminal(self, watch: Watch) -> None:
        """Ctrl-Z. Under DVC this process goes on, so that it sees when DVC is killed in the meantime."""

        def go_on() -> None:
            watch.heard()
            processes.send_marked(self.token, signal.SIGCONT)

        def pause() -> None:
            processes.send_marked(self.token, signal.SIGSTOP)

        processes.pause_with_terminal(pause, go_on, stop_self="DVC_STAGE" not in os.environ)

    def _pass_notice_on(self, process: subprocess.Popen[str]) -> None:
        self.was_told = True
        if self.is_slurm:
            process.send_signal(signal.SIGUSR1)  # srun tells its agents
        else:
            ask_to_leave(self.folder, self.token)

    def _keep_aside(self, stream: IO[str], log: IO[str]) -> None:
        """torchrun's own chatter, and what a process says before it can leave an error file: for the log only."""
        with (self.folder / "stderr").open("w", encoding="utf-8", buffering=1) as copy:
            for line in stream:
                log.write(line)
                copy.write(line)
                if line.startswith("srun: job "):  # queued, and then allocated: for a person to see
                    print(line, end="", flush=True)

    def _command(self) -> list[str]:
        if not self.is_distributed:
            return cluster.process_command()
        if self.is_slurm:
            return cluster.srun_command(self.launch, self.name, self.token)
        return cluster.torchrun_command(self.launch, self.token)

    def _environment(self, assignment: Assignment) -> dict[str, str]:
        threads = str(self.launch.threads_per_process)
        large = str(256 * 2**20)
        malloc = {} if self.launch.device == "cuda" else {"MALLOC_MMAP_THRESHOLD_": large, "MALLOC_TRIM_THRESHOLD_": large}
        return {
            **own_code.environment(self.root, os.environ),
            **tracking.ENVIRONMENT,
            **malloc,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
            **({} if self.is_slurm else {"GLOO_SOCKET_IFNAME": "lo"}),
            "TOKENIZERS_PARALLELISM": "false" if self.is_distributed else "true",  # ranks share the cores
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            **self.launch.env,
            **self.devices,
            processes.TOKEN: self.token,
            ENVIRONMENT: assignment.to_json(),
        }
