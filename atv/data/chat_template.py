"""A processor's chat template: whether it can be used, in which form it takes what is said, and what it writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import ProcessorMixin

from atv.data.wording import reason

Chat = Sequence[Mapping[str, Any]]
# Words that no template writes by itself.
_ASKED, _SAID = "zxasked", "zxsaid"


def _turn(role: str, text: str) -> Mapping[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


_EXCHANGE: Chat = [_turn("user", _ASKED), _turn("assistant", _SAID)]
# What is put before a chat whose template wants a system turn first: one that says nothing.
_SILENT = _turn("system", "")
# Some templates want a system turn before all others; some know questions alone.
_PROBES: Sequence[Chat] = (_EXCHANGE, [_SILENT, *_EXCHANGE], _EXCHANGE[:1], [_SILENT, *_EXCHANGE[:1]])
# What a template leaves that prints parts as Python, or as JSON.
_PRINTED = ("'type'", '"type"')


def require_chat_template(processor: ProcessorMixin) -> None:
    """Checks that conversations can be formatted.

    Raises:
        ValueError: naming the processor and what to do.
    """
    template, kind = getattr(processor, "chat_template", None), type(processor).__name__
    if not template:
        raise ValueError(
            f"model: its processor ({kind}) has no chat template; put one into its folder as chat_template.jinja"
        )
    if isinstance(template, Mapping) and "default" not in template:
        raise ValueError(
            f"model: its processor ({kind}) has the chat templates {', '.join(template)} and none called default; put "
            "the wanted one into its folder as chat_template.jinja"
        )
    _form(processor)


def written(processor: ProcessorMixin, chat: Chat, prompt: bool = False) -> str:
    """What the template makes of a chat whose contents are lists of parts; ``prompt`` opens the assistant's turn.

    A template that takes texts is given texts, with the image token where a picture stands; one that wants a system
    turn is given an empty one where the chat has none.

    Raises:
        Exception: whatever the template raises for this chat.
    """
    form = _form(processor)
    if form.wants_system and [message["role"] for message in chat[:1]] != ["system"]:
        chat = [_SILENT, *chat]
    text = _render(processor, [form.write(processor, message) for message in chat], prompt)
    if lost := _left_out(chat, text):
        raise ValueError(f"the chat template leaves out what the {lost} says")
    if not form.writes_answers and any(message["role"] == "assistant" for message in chat):
        raise ValueError("the chat template leaves out what the assistant says")
    return text


class _Form(NamedTuple):
    """How a message must look for the template to write what is said, whether it writes answers at all, and whether it
    wants a system turn first."""

    write: Callable[[ProcessorMixin, Mapping[str, Any]], Mapping[str, Any]]
    writes_answers: bool
    wants_system: bool


def _form(processor: ProcessorMixin) -> _Form:
    """The form in which the template writes what is said.

    Raises:
        ValueError: when it writes no question in any.
    """
    why = "it leaves out what is said"
    for probe in _PROBES:
        words = [word for word in (_ASKED, _SAID) if any(word in str(message) for message in probe)]
        for form in (_as_parts, _as_texts, _answers_as_texts):
            try:
                text = _render(processor, [form(processor, message) for message in probe])
            except Exception as error:  # Templates raise whatever they like.
                why = reason(error)
                continue
            if all(word in text for word in words) and not any(mark in text for mark in _PRINTED):
                return _Form(form, _SAID in words, probe[0] is _SILENT)
    raise ValueError(
        f"model: the chat template of its processor ({type(processor).__name__}) cannot write a question ({why}); put "
        "another into its folder as chat_template.jinja"
    )


def _left_out(chat: Chat, text: str) -> str | None:
    """The role whose words are not in the text, blanks aside; of answers templates may leave out the reasoning."""
    there = "".join(text.split())
    said = ((message["role"], part["text"]) for message in chat for part in message["content"] if "text" in part)
    return next((role for role, words in said if role != "assistant" and "".join(words.split()) not in there), None)


def _render(processor: ProcessorMixin, chat: Sequence[Mapping[str, Any]], prompt: bool = False) -> str:
    template: Any = processor.apply_chat_template
    return template(list(chat), add_generation_prompt=prompt)


def _as_parts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message


def _as_texts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    token = getattr(processor, "image_token", None)
    if token is None and any(part["type"] == "image" for part in message["content"]):
        raise ValueError(f"the chat template takes texts, and {type(processor).__name__} has no image token for them")
    pieces = (str(token) if part["type"] == "image" else part["text"] for part in message["content"])
    return {**message, "content": "\n".join(pieces)}


def _answers_as_texts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message if message["role"] == "user" else _as_texts(processor, message)
