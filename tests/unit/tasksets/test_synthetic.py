"""The embedded dataset as a task set: what the generator makes is read back and judged as it was made."""

from wmtp import tasksets
from wmtp.config.data import DataConfig
from wmtp.problems.files import write_problems
from wmtp.synthetic.generate import Generator
from wmtp.tasksets import load_problems


def test_generated_problems_come_back_from_their_file(tmp_path):
    made = Generator(DataConfig()).problems("train", 6, heldout=False)
    write_problems(tmp_path / "p.jsonl", made)
    assert list(load_problems("synthetic", str(tmp_path / "p.jsonl"))) == made


def test_a_program_is_the_completion_alone_after_a_statement_in_a_comment():
    (problem,) = Generator(DataConfig()).problems("train", 1, heldout=False)
    taskset = tasksets.get("synthetic")
    assert taskset.is_generated and taskset.prompt(problem) == f"# {problem.prompt}\n"
    for solution in problem.solutions:
        program = taskset.program(problem, solution.code)
        assert (program.source, program.tests, program.limits.time_limit_s) == (solution.code, problem.tests, 2.0)
