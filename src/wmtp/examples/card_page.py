"""index.html of a folder of token tables: the data card with its histograms drawn and the examples' noise coloured."""

from __future__ import annotations

from pathlib import Path

from wmtp.examples.card import DataCard, read_card
from wmtp.examples.card_text import because, card_text, dropped, figure, history_lines
from wmtp.files import write_text


def write_card(folder: Path, out: Path) -> None:
    """`out/README.md` and `out/index.html` of the tables that are in `folder`; the same tables give the same bytes.

    They lie elsewhere: what is made of the tables does not depend on how a card looks.

    Raises:
        DataError: a missing or broken file.
    """
    card = read_card(folder)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "README.md", f"# Data card\n\n{card_text(card)}")
    write_text(out / "index.html", render_card(card))


def render_card(card: DataCard) -> str:
    """The page's HTML, everything inlined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wmtp.examples", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,.0f}".format, "figure": figure, "words": lambda text: text.replace("_", " ")}
    return environment.get_template("card.html.j2").render(
        card=card,
        dropped=dropped(card.ledger),
        because=because,
        history_lines=history_lines,
        outcomes=sorted({key for table in card.tables for key in table.outcomes}),
        noise=sorted({kind for table in card.tables for kind in table.noise}),
        languages=sorted({language for table in card.tables for language in table.languages}),
    )
