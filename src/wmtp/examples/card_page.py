"""index.html of a folder of token tables: the data card with its histograms drawn and the examples' noise coloured."""

from __future__ import annotations

from pathlib import Path

from wmtp.examples.card import DataCard, read_card
from wmtp.examples.card_text import because, dropped, figure, history_lines, readme
from wmtp.files import write_text


def write_card(folder: Path) -> None:
    """README.md and index.html of the tables that are in `folder`; the same tables give the same bytes.

    Raises:
        DataError: a missing or broken file.
    """
    card = read_card(folder)
    write_text(folder / "README.md", readme(card))
    write_text(folder / "index.html", render_card(card))


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
    )
