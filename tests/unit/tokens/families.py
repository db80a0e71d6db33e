"""Small real tokenizers of the families that models come with: as they are on disk, with truncation and padding set."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "def f(x):\n    return x\n",
    "Question: how many?\nAnswer:\n5 in all",
    "a, b = 1, 2\n\n\n    print(a)\n",
    "naïve 日本",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>"]
UNKNOWN, BOS, EOS = range(3)
LLAMA3 = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(pre_tokenizer, post_processor=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=360, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return finished(tokenizer, post_processor)


def sentencepiece(**how):
    """As Llama 2, CodeLlama and Mistral 7B: spaces are `▁`, one comes before the text, unknown characters are bytes."""
    pieces = [
        *"▁abcdefilmnoprstuxQAH(),:=?12",
        "▁▁",
        "▁▁▁▁",
        "▁r",
        "re",
        "▁re",
        "tu",
        "rn",
        "▁a",
        "▁d",
        "ef",
        "▁def",
        "pr",
        "in",
    ]
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces])}
    merges = [("▁", "▁"), ("▁▁", "▁▁"), ("▁", "r"), ("r", "e"), ("▁r", "e"), ("t", "u"), ("r", "n"), ("▁", "a")]
    merges += [("▁", "d"), ("e", "f"), ("▁d", "ef"), ("p", "r")]
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if how:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**how)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return finished(tokenizer, template("<s> $A"))


def template(single):
    return processors.TemplateProcessing(single=single, special_tokens=[("<s>", BOS), ("</s>", EOS)])


def finished(tokenizer, post_processor):
    tokenizer.add_special_tokens(SPECIAL)
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(pad_id=EOS, length=9)
    return tokenizer.to_str()


def family(name):
    """(tokenizer.json's text, what every text starts with)."""
    spaced = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    llama3 = pre_tokenizers.Sequence([pre_tokenizers.Split(LLAMA3, "isolated"), spaced])
    trims = processors.ByteLevel(trim_offsets=True)
    return {
        "merges across lines": lambda: (byte_level(spaced), ()),
        "space first": lambda: (byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)), ()),
        "gpt2": lambda: (byte_level(gpt2, trims), ()),
        "llama3": lambda: (byte_level(llama3, processors.Sequence([trims, template("<s> $A")])), (BOS,)),
        "appends its end": lambda: (byte_level(gpt2, template("$A </s>")), ()),
        "roberta": lambda: (byte_level(gpt2, processors.RobertaProcessing(("</s>", EOS), ("<s>", BOS))), (BOS,)),
        "llama2": lambda: (sentencepiece(), (BOS,)),
        "mistral": lambda: (sentencepiece(prepend_scheme="first", split=False), (BOS,)),
        "metaspace always": lambda: (sentencepiece(prepend_scheme="always", split=True), (BOS,)),
    }[name]()


NAMES = (
    "merges across lines",
    "space first",
    "gpt2",
    "llama3",
    "appends its end",
    "roberta",
    "llama2",
    "mistral",
    "metaspace always",
)
