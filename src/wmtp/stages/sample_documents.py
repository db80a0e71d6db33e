"""From documents or conversations to packed, tokenised splits: what `sample` does where there are no problems."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from wmtp.config.data import DataConfig
from wmtp.errors import DataError
from wmtp.examples.card import REMOVED
from wmtp.examples.card_page import write_card
from wmtp.examples.documents import USES, Corpus, load_corpus
from wmtp.examples.meta import write_for_datasets, write_meta
from wmtp.examples.survey import resolve
from wmtp.files import write_lines
from wmtp.ledger import Ledger, Line
from wmtp.stages.context import StageContext
from wmtp.tokens.chat import ChatTokens
from wmtp.tokens.encode import TextTokenizer
from wmtp.tokens.packing import Encoded, write_packed
from wmtp.tokens.tables import largest_token
from wmtp.tokens.tokenizer import copy_tokenizer, save_tokenizer, train_tokenizer
from wmtp.types import StageResult

_TOGETHER = 256
"""Documents that are encoded at once, on all cores."""


def sample_documents(data: DataConfig, context: StageContext) -> StageResult:
    """Write `artifacts/data`: three packed token tables (a critic has nothing to learn), the tokenizer, meta.json; the card."""
    out, ledger = context.out("artifacts/data"), Ledger()
    out.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(data, context.root, ledger)
    print(f"sample: {data.source}: {', '.join(f'{corpus.number(use)} {use}' for use in USES)} documents", flush=True)
    tokenizer = _tokenizer(corpus, context.root, out / "tokenizer")
    chat = ChatTokens(out / "tokenizer") if data.source == "messages" else None
    statistics: dict[str, float] = {}
    largest = -1
    for use in USES:
        line = ledger.line(f"table/{use}", "documents", f"split/{use}")
        encoded = _texts(corpus, use, tokenizer, line) if chat is None else _conversations(corpus, use, chat, line)
        table = write_packed(out / f"{use}.arrow", encoded, data.max_length, ledger, has_masks=chat is not None)
        if not table.num_rows:
            raise DataError(f"{use}: none of {line.num_read} documents can be learnt from: {line}")
        statistics |= _statistics(use, table, data.max_length)
        largest = max(largest, largest_token(table))
        print(f"sample: {use}: {table.num_rows} rows of at most {data.max_length} tokens", flush=True)
    counts = ledger.counts()
    for line in ledger.losses("documents"):
        print(f"sample: {line}", flush=True)
    write_lines(out / REMOVED, [each.as_dict() for each in corpus.removed])
    write_meta(out, data, context.root, tokenizer, counts, statistics, largest_token_id=largest, packages={})
    write_for_datasets(out, USES)
    write_card(out, context.out("artifacts/card"))
    return StageResult(metrics=statistics, counts=counts)


def _tokenizer(corpus: Corpus, root: Path, folder: Path) -> TextTokenizer:
    data = corpus.config
    if data.tokenizer.path is not None:
        return copy_tokenizer(resolve(data.tokenizer.path, root, "tokenizer"), folder)
    texts = [document.text for _, document in corpus.documents("train", data.tokenizer.max_texts)]
    tokenizer = train_tokenizer(texts, data.tokenizer.vocab_size)
    save_tokenizer(tokenizer, folder, data.max_length)
    print(f"sample: tokenizer of {tokenizer.vocab_size} tokens learnt from {len(texts)} documents", flush=True)
    return tokenizer


def _texts(corpus: Corpus, use: str, tokenizer: TextTokenizer, line: Line) -> Iterator[Encoded]:
    """What starts a text, the document, and the end token; a long one's further parts start with nothing."""
    documents = corpus.documents(use)
    while together := list(islice(documents, _TOGETHER)):
        rows = tokenizer.encode_rows([("", document.text) for _, document in together])
        line.read(len(together))
        line.keep(len(together))
        for (number, document), row in zip(together, rows, strict=True):
            yield Encoded(number, document.place, row.ids)


def _conversations(corpus: Corpus, use: str, chat: ChatTokens, line: Line) -> Iterator[Encoded]:
    """As the template writes them. Those longer than a row are dropped: a part would answer what is not there."""
    for number, document in corpus.documents(use):
        line.read()
        reason, most = chat.unfit(document.messages), corpus.config.max_length
        encoded = None if reason else chat.encode(document.messages, document.place)
        if encoded is None or len(encoded.ids) > most:
            line.drop(reason or "too_long")
            continue
        line.keep()
        yield Encoded(number, document.place, encoded.ids, encoded.is_target)


def _statistics(use: str, table: pa.Table, max_length: int) -> dict[str, float]:
    """What a table looks like, in numbers."""
    tokens = len(table["input_ids"].combine_chunks().values)
    pieces = table["segment_documents"].combine_chunks().values
    values = {
        f"{use}/rows": table.num_rows,
        f"{use}/documents": len(pieces.unique()),
        f"{use}/tokens": tokens,
        f"{use}/valid_token_ratio": tokens / (table.num_rows * max_length),
    }
    if "is_target" in table.column_names:
        targets = table["is_target"].combine_chunks().values
        values[f"{use}/target_frac"] = targets.true_count / tokens
    return values
