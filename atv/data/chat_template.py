"""A processor's chat template: whether it can be used, in which form it takes what is said, and what it writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import ProcessorMixin

from atv.data.wording import reason

Chat = Sequence[Mapping[str, Any]]
# Words that no template writes by itself.
_ASKED, _SAID = "zxasked", "zxsaid"


def _turn(role: str, text: str) -> Mapping[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


_EXCHANGE: Chat = [_turn("user", _ASKED), _turn("assistant", _SAID)]
# Some templates want a system turn before all others; some know questions alone.
_PROBES: Sequence[Chat] = (_EXCHANGE, [_turn("system", "Be brief."), *_EXCHANGE], _EXCHANGE[:1])
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

    A template that takes texts is given texts, with the image token where a picture stands.

    Raises:
        Exception: whatever the template raises for this chat.
    """
    form, writes_answers = _form(processor)
    text = _render(processor, [form(processor, message) for message in chat], prompt)
    if not writes_answers and any(message["role"] == "assistant" for message in chat):
        raise ValueError("the chat template leaves out what the assistant says")
    return text


Form = Callable[[ProcessorMixin, Mapping[str, Any]], Mapping[str, Any]]


def _form(processor: ProcessorMixin) -> tuple[Form, bool]:
    """The form of a message from which the template writes what is said, and whether it writes answers at all.

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
                return form, _SAID in words
    raise ValueError(
        f"model: the chat template of its processor ({type(processor).__name__}) cannot write a question ({why}); put "
        "another into its folder as chat_template.jinja"
    )


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
