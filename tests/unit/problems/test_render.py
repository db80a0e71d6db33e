from wmtp.problems.render import before_stop


def test_before_stop_takes_the_first_of_any():
    assert before_stop("a\nb\nclass C\ndef f", ("\ndef", "\nclass")) == "a\nb"
    assert before_stop("a\nb", ("\nclass",)) == "a\nb"
    assert before_stop("a", ()) == "a"
