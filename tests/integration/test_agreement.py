"""Prefect and DVC say the same of every stage, after anything that people do: on a light pipeline, with the real tools."""

import re
import shutil
import signal
import time

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.integration.light import PIPELINE, LightWorkspace
from tests.workspaces import PATIENCE_S, kill_all

STAGES = ["evaluate@baseline-s0", "evaluate@rho1-s0", "report", "sample", "train_policy@baseline-s0", "train_policy@rho1-s0"]


def planned(workspace, *arguments):
    """What the flow would do, by stage: the first word(s) of `--dry`'s second column."""
    lines = workspace.flow("--dry", *arguments).splitlines()
    rows = [re.match(r"^(\S+)\s{2,}(nothing, restore or run|restore or run|nothing|restore|run)\s{2,}", line) for line in lines]
    return {row[1]: row[2] for row in rows if row and row[1] != "stage"}


class Sessions(RuleBasedStateMachine):
    """Any mixture of flow runs, `dvc repro`, changes, deletions and kills."""

    server = ""
    folder = None

    @initialize()
    def begin(self):
        root = self.folder / f"session-{time.time_ns()}"
        root.mkdir()
        self.workspace = LightWorkspace(root, self.server)
        self.settings = {"evaluate.seed": 0, "train_policy.train.steps": 4, "arms.rho1.weighting.keep_frac": 0.6}
        self.may_repeat = False
        self.workspace.params(*self.overrides())

    def overrides(self):
        return [f"{key}={value}" for key, value in self.settings.items()]

    @rule()
    def run_the_flow(self):
        before = len(self.workspace.ran())
        output = self.workspace.flow(*self.overrides())
        ran, restored, fresh = map(int, re.search(r"stages: (\d+) ran, (\d+) restored, (\d+) up to date", output).groups())
        assert (ran + restored + fresh, len(self.workspace.ran()) - before) == (len(STAGES), ran)
        self.all_is_done()

    @rule()
    def repro(self):
        self.workspace.run("dvc", "repro")
        self.all_is_done()

    @rule(key=st.sampled_from(["evaluate.seed", "train_policy.train.steps"]), value=st.integers(4, 5))
    def change_a_setting_for_all(self, key, value):
        self.settings[key] = value
        self.workspace.params(*self.overrides())

    @rule(value=st.sampled_from([0.6, 0.7]))
    def change_one_arm(self, value):
        self.settings["arms.rho1.weighting.keep_frac"] = value
        self.workspace.params(*self.overrides())

    @rule(name=st.sampled_from(["data", "policy/rho1-s0", "evaluation/baseline-s0", "report"]))
    def delete_an_output(self, name):
        shutil.rmtree(self.workspace.root / "artifacts" / name, ignore_errors=True)

    @rule()
    def delete_dvcs_notes(self):
        shutil.rmtree(self.workspace.root / ".dvc/tmp", ignore_errors=True)
        self.may_repeat = True  # the run cache is kept elsewhere, but DVC may have to hash everything again

    @rule(after=st.floats(0.1, 4.0), how=st.sampled_from([signal.SIGKILL, signal.SIGINT]))
    def kill_a_run(self, after, how):
        self.workspace.slow_down(0.5)
        process = self.workspace.start_flow(*self.overrides())
        time.sleep(after)
        process.send_signal(how)
        process.communicate(timeout=PATIENCE_S)
        assert self.workspace.wait_until_gone() == []
        (self.workspace.root / "seconds").unlink()
        self.may_repeat = True  # a stage may have come to its end without DVC having seen it

    @precondition(lambda self: (self.workspace.root / "dvc.lock").exists())
    @rule()
    def checkout(self):
        self.workspace.run("dvc", "checkout", "--force")

    @invariant()
    def both_report_the_same_stale_stages(self):
        moving = {  # asked first: DVC itself cannot read what a kill in the middle of its writing left, and wmtp mends that
            name
            for name, would in planned(self.workspace, *self.overrides()).items()
            if would in ("run", "restore", "restore or run")
        }
        assert set(self.workspace.stale()) == moving

    @invariant()
    def nothing_was_computed_twice(self):
        if not self.may_repeat:
            assert len(set(self.workspace.ran())) == len(self.workspace.ran())

    def all_is_done(self):
        """Up to date in both views, and outputs are what dvc.lock says (`dvc status` hashes them)."""
        before = self.workspace.ran()
        assert self.workspace.stale() == []
        assert "Running stage" not in self.workspace.run("dvc", "repro")
        assert self.workspace.ran() == before

    def teardown(self):
        if hasattr(self, "workspace"):
            left = self.workspace.processes()
            kill_all(left)
            assert left == []


def test_flow_and_dvc_agree_after_anything(server, tmp_path):
    Sessions.server, Sessions.folder = server, tmp_path
    run_state_machine_as_test(
        Sessions,
        settings=settings(
            max_examples=3, stateful_step_count=7, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_parameter_turned_back_restores_and_the_state_says_why(ended):
    before = ended.lock()
    moving = {name for name, would in planned(ended, "evaluate.seed=1").items() if would != "nothing"}
    assert moving == {"evaluate@baseline-s0", "evaluate@rho1-s0", "report"}
    ended.flow("evaluate.seed=1")
    dry = ended.flow("--dry")
    assert len(re.findall(r"^evaluate@\S+\s+restore\s+evaluate.seed changed", dry, re.MULTILINE)) == 2
    assert re.search(r"^report\s+nothing, restore or run\s", dry, re.MULTILINE) and "is cached" not in dry
    back = ended.flow()
    assert "stages: 0 ran, 3 restored, 3 up to date" in back
    assert "restored from DVC's cache: evaluate.seed changed" in back
    assert ended.lock() == before


def test_one_stage_forced_deleted_or_asked_of_dvc(ended):
    assert "stages: 1 ran, 0 restored" in ended.flow("--force", "sample", "--only", "sample")
    shutil.rmtree(ended.root / "artifacts/evaluation/baseline-s0")
    assert "stages: 0 ran, 1 restored, 5 up to date" in ended.flow()
    ended.params("evaluate.seed=7")
    output = ended.run("dvc", "repro", "evaluate@rho1-s0")
    assert "Running stage 'evaluate@rho1-s0'" in output and "Running stage 'train_policy" not in output
    assert ended.stale() == ["evaluate@baseline-s0", "report"]


def test_a_stage_added_to_the_pipeline_is_in_the_flow(ended):
    added = {
        **PIPELINE,
        "report": {**PIPELINE["report"], "deps": [*PIPELINE["report"]["deps"], "artifacts/extra"]},
        "extra": {"cmd": "mkdir -p artifacts/extra && echo 1 > artifacts/extra/x", "outs": ["artifacts/extra"]},
    }
    ended.write_pipeline(added)
    output = ended.flow()
    assert "stages: 2 ran, 0 restored, 5 up to date" in output
    assert "extra" in ended.lock()


def test_independent_stages_run_at_the_same_time(light):
    light.slow_down(3)
    light.flow()
    times = {}
    for name, what, when in light.trace():
        times.setdefault(name, {})[what] = when
    first, second = times["train_policy@baseline-s0"], times["train_policy@rho1-s0"]
    assert max(first["begins"], second["begins"]) < min(first["ends"], second["ends"])
    assert times["evaluate@rho1-s0"]["begins"] >= second["ends"]


def test_a_failed_stage_is_named_and_what_does_not_need_it_is_done(light):
    light.params()
    light.run("dvc", "repro", "sample")
    (light.root / "break").touch()
    output = light.flow(code=1)
    assert "error: train_policy@" in output and "Not run: " in output
    assert "train_policy@baseline-s0: broken by the test" in output, "whichever failed first"
    (light.root / "break").unlink()
    assert "stages: 5 ran, 0 restored, 1 up to date" in light.flow()


def test_objects_that_the_cache_has_lost_are_made_again_and_are_the_same(ended):
    shutil.rmtree(ended.root / ".dvc/cache/files")
    assert ended.stale() == STAGES
    output = ended.flow()
    assert "stages: 6 ran, 0 restored" in output and "artifacts/policy/rho1-s0 is not in the cache" in output
    assert sorted(ended.ran()[:6]) == sorted(ended.ran()[6:])
    assert ended.stale() == []


def test_a_lock_file_from_another_branch_is_followed(ended):
    first = (ended.root / "dvc.lock").read_text()
    ended.flow("train_policy.train.steps=5")
    second = (ended.root / "dvc.lock").read_text()
    before = len(ended.ran())
    (ended.root / "dvc.lock").write_text(first)
    assert "stages: 0 ran, 0 restored" not in ended.flow("train_policy.train.steps=5")
    assert (len(ended.ran()), ended.stale(), (ended.root / "dvc.lock").read_text()) == (before, [], second)


def test_books_that_a_kill_left_half_written_are_mended_and_nothing_is_computed_again(ended):
    before, whole = ended.ran(), ended.lock()
    text = (ended.root / "dvc.lock").read_text()
    (ended.root / ".dvc/tmp/rwlock").write_text("")
    (ended.root / "dvc.lock").write_text(text[: text.index("evaluate@baseline-s0") + 5])
    output = ended.flow()
    assert "stages: 0 ran" in output and "dvc.lock was half written: moved to .wmtp/dvc.lock.broken-" in output
    assert (ended.ran(), ended.lock(), ended.stale()) == (before, whole, [])


def test_a_merge_conflict_in_the_lock_file_is_the_users_to_resolve(light):
    light.params()
    light.run("dvc", "repro", "sample")
    path = light.root / "dvc.lock"
    conflict = f"<<<<<<< ours\n{path.read_text()}=======\n>>>>>>> theirs\n"
    path.write_text(conflict)
    assert "'dvc.lock'" in light.flow("--dry", code=2)
    assert path.read_text() == conflict
