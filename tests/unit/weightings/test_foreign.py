"""A weighting of another package: found by its entry point, trained with, and stale when its package changes."""

import re
import sys
import tomllib

import pytest

from tests.unit.weightings.inputs import make_inputs
from tests.workspaces import PROJECT
from wmtp import weightings
from wmtp.config import compose
from wmtp.config.arms import load_arm, make_run, plain
from wmtp.errors import ConfigError
from wmtp.weightings.base import target_weights

PAGE = (PROJECT / "docs/extending.md").read_text()
(SHOWN,) = re.findall(r"^```python\n# my_package/late\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
IMPORTS = "from wmtp.objectives.selection import num_to_keep\n        from wmtp_late.numbers import TWICE\n        "
CODE = SHOWN.replace("weights_BTH = ", f"{IMPORTS}weights_BTH = ").replace("(1.0 + is_late", "(1.0 + (TWICE - 1) * is_late")
"""As the page shows it, but that it imports a formula of wmtp's and a module of its own."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers the weighting `late`; a function that writes its entry points anew."""
    folder, info = tmp_path / "wmtp_late", tmp_path / "wmtp_late-1.0.dist-info"
    folder.mkdir()
    info.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "late.py").write_text(CODE)
    (folder / "numbers.py").write_text("TWICE = 2.0\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wmtp-late\nVersion: 1.0\n")

    def offer(text):
        (info / "entry_points.txt").write_text(f"[wmtp.weightings]\n{text}\n")
        weightings.foreign.cache_clear()
        return folder

    monkeypatch.syspath_prepend(tmp_path)
    yield offer
    for name in [name for name in sys.modules if name.partition(".")[0] == "wmtp_late"]:
        del sys.modules[name]
    weightings.foreign.cache_clear()


def test_it_is_an_arm_like_any_other(package):
    package("late = wmtp_late.late:Late")
    assert list(weightings.foreign()) == ["late"] and "late" not in weightings.names()
    arm = load_arm({"weighting": {"name": "late", "place": 2}}, "mine")
    inputs = make_inputs()
    weights = target_weights(arm.weighting, inputs)
    for b, t, h in inputs.valid_BTH.nonzero().tolist():
        num_read = max(0, t + 1 - int(inputs.prompt_lens_B[b]))
        assert weights[b, t, h] == (2.0 if num_read >= 2 else 1.0)
    assert set(weights.unique().tolist()) == {0.0, 1.0, 2.0}
    with pytest.raises(ConfigError, match=r"unknown key arms\.mine\.weighting\.plaice: did you mean place\?"):
        load_arm({"weighting": {"name": "late", "plaice": 2}}, "mine")


def test_the_page_shows_all_that_a_package_has_to_have(package):
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (offered,) = tomllib.loads(shown)["project"]["entry-points"]["wmtp.weightings"].items()
    package(" = ".join(offered).replace("my_package", "wmtp_late"))
    assert load_arm({"weighting": {"name": "late"}}, "mine").weighting.place == 3
    with pytest.raises(ConfigError, match=r"^arms\.mine\.weighting\.place=-1 is not allowed: 0 or more$"):
        load_arm({"weighting": {"name": "late", "place": -1}}, "mine")


def test_its_package_is_in_params_and_wmtps_formulas_are_dependencies(package):
    folder = package("late = wmtp_late.late:Late")
    arm = load_arm({"weighting": {"name": "late"}}, "mine")
    before = plain(arm)
    assert load_arm(before, "mine") == arm
    assert "src/wmtp/objectives/selection.py" in make_run(arm, "mine", 0, 0).deps
    assert not any("late" in path for path in make_run(arm, "mine", 0, 0).deps), "it is elsewhere on every machine"
    (folder / "numbers.py").write_text("TWICE = 3.0\n")
    assert plain(arm)["weighting"]["source"] != before["weighting"]["source"]
    with pytest.raises(ConfigError, match=r"arms\.mine\.weighting\.source: the code of wmtp_late\.late is not what"):
        load_arm(before, "mine")


def test_wmtps_own_have_no_source():
    assert "source" not in plain(load_arm({"weighting": {"name": "rho1"}}, "rho1"))["weighting"]


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("rho1 = wmtp_late.late:Late", "weighting 'rho1' of wmtp_late.late is one of wmtp itself, too"),
        (
            "late = wmtp_late.nothing:Late",
            "weighting 'late' cannot be had from wmtp_late.nothing:Late: ModuleNotFoundError: No module named",
        ),
        ("late = wmtp_late.late:Nothing", "weighting 'late' cannot be had from wmtp_late.late:Nothing: AttributeError: module"),
        ("late = wmtp_late.late:dataclass", "weighting 'late': wmtp_late.late:dataclass is no subclass of"),
        ("early = wmtp_late.late:Late", "weighting 'early' is defined in wmtp_late.late: its module has to have its name"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_said(package, offered, said):
    package(offered)
    with pytest.raises(ConfigError) as caught:
        load_arm({"weighting": {"name": offered.split()[0]}}, "mine")
    assert said in str(caught.value) and "\n" not in str(caught.value)


LEVEL = '    """Twice the weight where the solution has gone on for so many tokens."""\n'
CHANGES = {
    "a module that does not compile": (("class Late", "clas Late"), "cannot be had from wmtp_late.late:Late: SyntaxError: "),
    "a module that fails": (("@dataclass(frozen=True)", "nothing"), "cannot be had from wmtp_late.late:Late: NameError: "),
    "a method that is misspelt": (("def weights(", "def weight("), "wmtp_late.late.Late has no method `weights`"),
    "no dataclass": (("@dataclass(frozen=True)", ""), "wmtp_late.late.Late is no dataclass, so that its fields are no keys"),
    "a key without a default": (("place: int = 3", "place: int"), "wmtp_late.late.Late.place has no default"),
    "no such level": ((LEVEL, '    level = "position"\n'), ".level is 'position': use one of same, positions, targets"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_would_be_missed_only_when_it_weighs_is_said_when_it_is_named(package, change):
    (old, new), said = CHANGES[change]
    (package("late = wmtp_late.late:Late") / "late.py").write_text(CODE.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_arm({"weighting": {"name": "late"}}, "mine")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("change", CHANGES)
def test_a_package_that_is_being_written_stops_no_arm_that_does_not_use_it(package, change):
    (old, new), _ = CHANGES[change]
    (package("late = wmtp_late.late:Late") / "late.py").write_text(CODE.replace(old, new, 1))
    assert list(compose(PROJECT, "toy", arms=["baseline"]).runs) == ["baseline-s0"]


@pytest.mark.parametrize(
    ("level", "returned", "said"),
    [
        (
            "targets",
            "weights_BTH[..., 0]",
            r"of the level targets.* \(4, 9, 3\), not \(4, 9\) \(a weight a token is of the level positions\)$",
        ),
        ("targets", "weights_BTH[:1]", r"of the level targets.* \(4, 9, 3\), not \(1, 9, 3\)$"),
        ("positions", "weights_BTH[0]", r"of the level positions.* \(4, 9, 3\) or \(4, 9\), not \(9, 3\)$"),
        ("same", "weights_BTH", r"of the level same, which stands for ones: it must return None$"),
    ],
)
def test_weights_that_are_not_what_the_level_says_are_refused(package, level, returned, said):
    folder = package("late = wmtp_late.late:Late")
    code = CODE.replace("return weights_BTH", f"return {returned}").replace(LEVEL, f'{LEVEL}\n    level = "{level}"\n', 1)
    (folder / "late.py").write_text(code)
    weighting = load_arm({"weighting": {"name": "late"}}, "mine").weighting
    with pytest.raises(TypeError, match=r"^weighting late, |^weighting late is ") as caught:
        target_weights(weighting, make_inputs())
    assert re.search(said, str(caught.value))


@pytest.mark.parametrize(("returned", "named"), [("None", "NoneType"), ("weights_BTH.tolist()", "list")])
def test_a_weighting_that_returns_no_tensor_is_not_taken_for_ones(package, returned, named):
    folder = package("late = wmtp_late.late:Late")
    (folder / "late.py").write_text(CODE.replace("return weights_BTH", f"return {returned}"))
    weighting = load_arm({"weighting": {"name": "late"}}, "mine").weighting
    with pytest.raises(TypeError, match=f"weighting late must return a tensor of weights, not {named}"):
        target_weights(weighting, make_inputs())


def test_a_column_that_no_stage_makes_is_named(package):
    needs = """    @property
    def needs(self):
        from wmtp.weightings import Column, Needs

        return Needs((Column("my_nll", "artifacts/scores/mine/s{upstream}"),)) if self.place == 9 else Needs()

    def weights("""
    (package("late = wmtp_late.late:Late") / "late.py").write_text(CODE.replace("    def weights(", needs, 1))
    with pytest.raises(
        ConfigError, match=r"^arms\.baseline: weighting late needs the column my_nll of artifacts/scores/mine, which no"
    ):
        compose(PROJECT, "toy", arms=["baseline"], overrides=["arms.baseline.weighting={name: late, place: 9}"])
