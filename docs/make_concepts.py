"""The picture of docs/concepts.md: one wrong solution, token by token, as the models of a finished demo see it.

Run where `make demo` has come to its end: `python docs/make_concepts.py`. Writes docs/figures/concepts.svg, prints the numbers
that the page tells, and fails where it tells others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import wmtp

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MISTAKE, AMONG, BATCH = "n % 1 == 1", 2000, 256
"""The example is the first wrong solution that says so, of so many rows of the demo's training table; and how many are weighed
together, the first rows of it and the example."""

BLUE, ORANGE, GREY = "#2f7fd0", "#d55e00", "#808080"


def find(workspace: wmtp.Workspace) -> int:
    """The example's row."""
    for row, example in enumerate(workspace.examples(range(AMONG))):
        if MISTAKE in example.solution and not example.is_correct:
            return row
    raise SystemExit(f"none of the first {AMONG} training rows is a wrong solution with {MISTAKE!r}: choose another example")


def measure(workspace: wmtp.Workspace, row: int) -> pd.DataFrame:
    """Per token of the solution of a row: `policy`, `reference` (NLL), `excess`, `selected`, `value`, `weight`."""
    example, *_ = examples = workspace.examples([row, *range(BATCH - 1)])
    policy, reference, critic = workspace.policy("rho1-s0"), workspace.reference(), workspace.critic()
    arms, scores = workspace.config.arms, {"reference_nll": reference, "value": critic}
    selected = wmtp.token_weights(arms["rho1"], examples, policy=policy, scores=scores)[0]["weight_head0"]
    weight = wmtp.token_weights(arms["verifiable"], examples, policy=policy, scores=scores)[0]["weight_head0"]
    frame = policy.nll([example])[0].rename(columns={"nll_head0": "policy"})
    frame["reference"] = reference.nll([example])[0]["nll_head0"]
    frame["excess"] = frame["policy"] - frame["reference"]
    frame["selected"], frame["weight"] = selected > 0, weight
    frame["value"] = critic.values([example], reference)[0]["value"]
    return frame[~frame["is_prompt"]].reset_index(drop=True)


def check(page: str, row: int, frame: pd.DataFrame) -> None:
    """What the page says of the example has to be what was measured."""
    tokens = [token.strip() for token in frame["token"]]
    at = next(i for i in range(1, len(tokens)) if tokens[i - 1 : i + 1] == ["%", "1"])
    before, after = frame["value"][at - 1], frame["value"][at]
    said = [f"Row {row} of", f"from {before:.2f} to {after:.2f} at the mistake", f"{frame['weight'][at]:.2f} at the mistake"]
    said.append(f"as the mistake is here: {frame['excess'][at]:.1f} nats")
    print(*said, sep="\n")
    missing = [words for words in said if words not in " ".join(page.split())]
    if missing:
        raise SystemExit(f"docs/concepts.md does not say {missing}")


def draw(frame: pd.DataFrame, target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    keys = {"svg.hashsalt": "wmtp", "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10}
    keys |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
    with mpl.rc_context(keys):
        figure, panels = plt.subplots(
            5, 1, figsize=(10, 9), sharex=True, layout="constrained", gridspec_kw={"height_ratios": [1.1, 1, 1, 1, 1]}
        )
        _heads(panels[0], len(frame))
        x = range(len(frame))
        panels[1].bar([i - 0.2 for i in x], frame["policy"], 0.4, color=BLUE, label="policy")
        panels[1].bar([i + 0.2 for i in x], frame["reference"], 0.4, color=GREY, hatch="//", label="reference")
        panels[1].set_title("NLL: how surprising each token is, in nats")
        panels[1].legend(frameon=False, ncols=2, loc="upper right")
        panels[2].bar(x, frame["excess"], 0.6, color=[BLUE if kept else "#d9dde2" for kept in frame["selected"]])
        panels[2].set_title("Excess: policy less reference. rho1 learns the tokens with the largest (blue), and no others")
        panels[3].plot(x, frame["value"], "o-", color=ORANGE)
        panels[3].set_ylim(-0.05, 1.05)
        panels[3].set_title("Value: the critic's probability that the solution is right, once it has seen the token")
        panels[4].bar(x, frame["weight"], 0.6, color=ORANGE)
        panels[4].axhline(1, color="#1b1f24", lw=0.8, ls=":")
        panels[4].set_title("Weight: what verifiable makes of each token's change of the value (dotted: unweighted)")
        for axes in panels[2:4]:
            axes.axhline(0, color="#1b1f24", lw=0.8)
        panels[4].set_xticks(list(x), [_shown(token) for token in frame["token"]], rotation=40, ha="right", family="monospace")
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, facecolor="white", metadata={"Date": None})
        plt.close(figure)


def _heads(axes: Axes, count: int) -> None:
    """Arrows from one position to the tokens that its four heads predict."""
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": "#1b1f24", "connectionstyle": "arc3,rad=-0.35", "lw": 1}
    at = 4
    axes.plot(range(count), [0] * count, "o", color="#d9dde2", ms=9)
    axes.plot([at], [0], "o", color=BLUE, ms=9)
    for head in range(4):
        axes.annotate("", (at + 1 + head, 0.08), (at, 0.08), arrowprops=arrow)
        axes.text(at + 1 + head, -0.32, f"head {head}", ha="center", va="top")
    axes.text(at, -0.32, "here", ha="center", va="top")
    axes.set_ylim(-0.7, 1.1)
    axes.set_title("Heads: at every position, head h predicts the token h + 1 ahead")
    axes.set_axis_off()


def _shown(token: str) -> str:
    return token.strip(" ").replace("\n", "\\n") or "space"


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    workspace = wmtp.open_workspace()
    row = find(workspace)
    frame = measure(workspace, row)
    draw(frame, root / "docs/figures/concepts.svg")
    check((root / "docs/concepts.md").read_text(encoding="utf-8"), row, frame)
