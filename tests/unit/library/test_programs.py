"""Programs scored from a script."""

import wmtp


def test_a_verdict_for_every_program_in_order():
    doubling = (wmtp.IOTest("2\n", "4\n"), wmtp.IOTest("-1\n", "-2\n"))
    right = wmtp.Program("print(2 * int(input()))", doubling)
    wrong = wmtp.Program("print(4)", doubling)
    function = wmtp.Program("def f(x):\n    return x", (wmtp.AssertTest("assert f(1) == 1"),))
    verdicts = wmtp.score_programs([right, wrong, function], num_workers=1)
    assert [verdict.status for verdict in verdicts] == ["passed", "wrong_answer", "passed"]
    assert (verdicts[1].num_passed, verdicts[1].num_tests) == (1, 2)
