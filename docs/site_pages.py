"""Pages of the site that lie elsewhere in the repository, or are made: a hook of mkdocs, see mkdocs.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"index.md": "README.md", "index.ko.md": "README.ko.md", "benchmarks.md": "benchmarks/RESULTS.md"}
"""A page's name on the site, and its file."""

_FORMULAS = ("linear_nll", "loss", "shift", "selection", "returns", "td", "hashing", "token_order", "capped_nll")
API = {
    "library": ("The library", ("library.workspace", "library.models", "library.weights", "library.programs")),
    "objectives": (
        "Tensor functions",
        tuple(f"objectives.{name}" for name in _FORMULAS),
    ),
    "extending": ("What an extension is made of", ("weightings.base", "tasksets.base", "problems.records", "types", "errors")),
    "models": (
        "Models and evaluation",
        ("models.mtp", "models.value", "models.export", "models.convert", "evaluation.pass_at_k"),
    ),
}
"""Of each page of the API, its title and the modules whose docstrings make it up."""

_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, *, config: Any) -> Any:
    """mkdocs' hook: the pages that docs/ does not hold."""
    from mkdocs.structure.files import File

    pages = {name: (ROOT / file).read_text(encoding="utf-8") for name, file in ELSEWHERE.items()}
    pages |= {f"api/{name}.md": api_page(title, modules) for name, (title, modules) in API.items()}
    pages["adr/index.md"] = decisions()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """mkdocs' hook: links as the repository has them become those of the site."""
    here = ROOT / ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda match: f"{match[1]}{site_link(match[2], here.parent, page.file.src_uri)}{match[3]}", markdown)


def site_link(link: str, folder: Path, page: str) -> str:
    """A relative link of a file in `folder` as one of the page; as it is where the site lacks it: an error then."""
    target = (folder / link).resolve()
    names = {(ROOT / file).resolve(): name for name, file in ELSEWHERE.items()}
    if target in names:
        name = names[target]
    elif target.is_relative_to(ROOT / "docs"):
        name = str(target.relative_to(ROOT / "docs"))
    else:
        return link
    return "../" * page.count("/") + name


def api_page(title: str, modules: tuple[str, ...]) -> str:
    """What mkdocstrings makes a page of."""
    return f"# {title}\n\n" + "\n".join(f"## wmtp.{name}\n\n::: wmtp.{name}\n" for name in modules)


def decisions() -> str:
    """The decisions' titles, in order."""
    files = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    titles = [path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip() for path in files]
    lines = [f"- [{title}]({path.name})" for path, title in zip(files, titles, strict=True)]
    return "\n".join(["# Decisions", "", *lines, ""])
