"""Made-up documents in a few styles, as tests' files."""

import json
import random

WORDS = (
    *("the", "a", "of", "sum", "and", "limit", "proof", "even", "odd", "prime", "number", "set", "map", "ring", "let"),
    *("then", "holds", "so", "each", "for", "all", "there", "is", "one", "by", "any", "group", "field", "line", "point"),
)


def text(seed, number):
    """So many words in sentences, the same for the same seed."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) for _ in range(number)]
    return " ".join(word + ("." if i % 9 == 8 else "") for i, word in enumerate(words)) + "\n"


def write_documents(path, count, *, seed=0, least=5, most=120, **more):
    """JSON lines with a text each; returns the texts."""
    draw = random.Random(seed)
    texts = [text(f"{seed} {i}", draw.randint(least, most)) for i in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": each, "url": f"u/{i}", **more}) + "\n" for i, each in enumerate(texts)))
    return texts
