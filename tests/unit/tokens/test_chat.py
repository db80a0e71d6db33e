"""What the assistant says is learnt, where the template shows what it saw; templates that rewrite it are refused."""

import pytest

from wmtp.errors import DataError
from wmtp.tokens.chat import ChatTokens
from wmtp.tokens.tokenizer import save_tokenizer, train_tokenizer

TURNS = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
LAST_WINS = (
    "{% for m in messages %}{{ m.role }}: {% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "Five."},
    {"role": "user", "content": "And two?"},
    {"role": "assistant", "content": "Seven."},
]


def save_chat_tokenizer(folder, template=TURNS):
    tokenizer = train_tokenizer(["How many? Five. user assistant system Be brief. And two? Seven. It is 1 + 2\n" * 9], 300)
    tokenizer.tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    save_tokenizer(tokenizer, folder, 64)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture
def chat(tmp_path):
    return ChatTokens(save_chat_tokenizer(tmp_path / "tokenizer"))


def learnt(chat, conversation):
    """The text of the targets, and of everything."""
    of_targets = [i for i, target in zip(conversation.ids, conversation.is_target, strict=True) if target]
    return chat._tokenizer.decode(of_targets), chat._tokenizer.decode(conversation.ids)


def test_the_assistants_turns_to_their_ends_are_targets_and_nothing_else_is(chat):
    said, whole = learnt(chat, chat.encode(TALK, "here"))
    assert said == "Five.<|end|>\nSeven.<|end|>\n"
    assert whole == "".join(f"<|start|>{m['role']}\n{m['content']}<|end|>\n" for m in TALK)


def test_the_tokens_are_what_a_model_is_shown_before_it_answers(chat):
    ids = chat.encode(TALK, "here").ids
    prompt = "".join(f"<|start|>{m['role']}\n{m['content']}<|end|>\n" for m in TALK[:4]) + "<|start|>assistant\n"
    shown = chat._tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids[: len(shown)] == shown


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (TALK, ""),
        (TALK[2:], "begins_with_assistant"),
        (TALK[:2], "without_answer"),
        ([{"role": "user", "content": "say <|end|>"}, TALK[2]], "special_token"),
    ],
)
def test_what_cannot_be_learnt_from_has_a_reason(chat, messages, reason):
    assert chat.unfit(messages) == reason


def test_a_template_that_rewrites_earlier_turns_is_refused_in_one_line(tmp_path):
    chat = ChatTokens(save_chat_tokenizer(tmp_path / "tokenizer", LAST_WINS))
    assert learnt(chat, chat.encode(TALK[:3], "here"))[0] == "Five.<|end|>"
    with pytest.raises(DataError, match=r"^talk.jsonl:3: the tokenizer's chat template rewrites the turns up to message 2 .*$"):
        chat.encode(TALK, "talk.jsonl:3")


def test_a_template_that_refuses_and_a_tokenizer_without_one_are_named(tmp_path):
    refuses = "{{ raise_exception('only users') if messages[0].role != 'user' }}"
    chat = ChatTokens(save_chat_tokenizer(tmp_path / "a", refuses))
    with pytest.raises(DataError, match=r"here: the tokenizer's chat template refuses the conversation: only users"):
        chat.encode(TALK, "here")
    with pytest.raises(DataError, match=r"has no chat template: data\.source=messages is written by it"):
        ChatTokens(save_chat_tokenizer(tmp_path / "b", None))
