"""A folder of token tables as `sample` leaves it, made of a few examples."""

import json

from wmtp.ledger import Ledger
from wmtp.problems.render import Example, History
from wmtp.tokens.tables import fingerprinted, write_table
from wmtp.tokens.tokenizer import encode_examples, save_tokenizer, train_tokenizer

RIGHT = Example(
    "a",
    "# Add.\n",
    "print(1 + 1)",
    True,
    difficulty=3,
    history=History("f.jsonl", 4, "solutions[2]", "python3", "right", status="passed", num_passed=2),
)
NOISY = Example(
    "a",
    "# Add.\n",
    "# <b>hi</b>\nprint(1 - 1)",
    False,
    "comments",
    ((0, 12),),
    3,
    History("f.jsonl", 4, "solutions[2]", "python3", "mutant", "operator", status="wrong_answer", num_passed=0),
)
ELSEWHERE = Example(
    "b",
    "# Say \u00e9.\n",
    "print('\u00e9')",
    False,
    "mismatched",
    ((0, 10),),
    history=History("f.jsonl", 5, "solutions[0]", origin="right", text_of="c", status="timeout", num_passed=1),
)
TRUSTED = Example("c", "# ```\n", "x = '```'", True, history=History("f.jsonl", 6, "solutions[0]", origin="right"))


REMOVED = {
    "problem_id": "d",
    "file": "f.jsonl",
    "row": 9,
    "reason": "contaminated",
    "how": "overlap",
    "degree": 0.75,
    "because": "HumanEval/3",
    "because_file": "h.jsonl",
    "because_row": 4,
}


def write_folder(folder, examples=(RIGHT, NOISY, ELSEWHERE, TRUSTED), removed=(REMOVED,)):
    """`train` has the examples, every other table the first one."""
    tokenizer = train_tokenizer((example.prompt + example.code for example in examples), 270)
    save_tokenizer(tokenizer, folder / "tokenizer", 64)
    for name in ("train", "reference", "validation", "critic_validation", "critic"):
        rows = examples if name in ("train", "critic") else examples[:1]
        write_table(folder / f"{name}.arrow", fingerprinted(encode_examples(tokenizer, rows)))
    ledger = Ledger()
    line = ledger.line("table/train", "solutions")
    line.read(len(examples) + 2)
    line.drop("too_long", 2)
    line.keep(len(examples))
    meta = {
        "vocab_size": 270,
        "max_length": 64,
        "counts": ledger.counts(),
        "statistics": {"train/labels_checked": 8, "train/label_error_frac": 0.125},
        "sources": [["f.jsonl", 10, "00ff"]],
    }
    (folder / "removed.jsonl").write_text("".join(json.dumps(each) + "\n" for each in removed))
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
