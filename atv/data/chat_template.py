"""A processor's chat template: whether it is usable, which form of messages it accepts, and what it writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import ProcessorMixin

from atv.data.wording import reason

Chat = Sequence[Mapping[str, Any]]
# Probe words that no template writes by itself.
_QUESTION_PROBE, _ANSWER_PROBE = "zxasked", "zxsaid"


def _turn(role: str, text: str) -> Mapping[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


_EXCHANGE: Chat = [_turn("user", _QUESTION_PROBE), _turn("assistant", _ANSWER_PROBE)]
# An empty system turn, put before a chat whose template requires a system turn first.
_EMPTY_SYSTEM = _turn("system", "")
# Some templates require a system turn before all others; some know only questions.
_PROBES: Sequence[Chat] = (_EXCHANGE, [_EMPTY_SYSTEM, *_EXCHANGE], _EXCHANGE[:1], [_EMPTY_SYSTEM, *_EXCHANGE[:1]])
# Traces of a template that prints message parts as Python or JSON.
_PRINTED = ("'type'", '"type"')


def require_chat_template(processor: ProcessorMixin) -> None:
    """Checks that the processor can format conversations.

    Raises:
        ValueError: if it cannot; the message names the processor and says what to do.
    """
    template, class_name = getattr(processor, "chat_template", None), type(processor).__name__
    if not template:
        raise ValueError(
            f"model: its processor ({class_name}) has no chat template; put one into its folder as chat_template.jinja"
        )
    if isinstance(template, Mapping) and "default" not in template:
        raise ValueError(
            f"model: its processor ({class_name}) has the chat templates {', '.join(template)} but none called "
            "default; put the one to use into its folder as chat_template.jinja"
        )
    _find_form(processor)


def rendered_chat(processor: ProcessorMixin, chat: Chat, prompt: bool = False) -> str:
    """Renders a chat whose contents are lists of parts; ``prompt`` opens the assistant's turn.

    A template that expects plain text gets plain text, with the image token in place of each picture. If a template
    requires a system turn and the chat has none, it gets an empty one.

    Raises:
        Exception: whatever the template raises for this chat.
    """
    form = _find_form(processor)
    if form.wants_system and [message["role"] for message in chat[:1]] != ["system"]:
        chat = [_EMPTY_SYSTEM, *chat]
    text = _render(processor, [form.write(processor, message) for message in chat], prompt)
    if omitted_role := _omitted_role(chat, text):
        raise ValueError(f"the chat template leaves out what the {omitted_role} says")
    if not form.writes_answers and any(message["role"] == "assistant" for message in chat):
        raise ValueError("the chat template leaves out what the assistant says")
    return text


class _Form(NamedTuple):
    """The form of messages that a template writes in full; whether it writes answers and requires a system turn."""

    write: Callable[[ProcessorMixin, Mapping[str, Any]], Mapping[str, Any]]
    writes_answers: bool
    wants_system: bool


def _find_form(processor: ProcessorMixin) -> _Form:
    """Finds the form of messages in which the template writes everything that is said.

    Raises:
        ValueError: if no form makes it write a question.
    """
    cause = "it leaves out what is said"
    for probe in _PROBES:
        probe_words = [
            word for word in (_QUESTION_PROBE, _ANSWER_PROBE) if any(word in str(message) for message in probe)
        ]
        for write in (_as_parts, _as_texts, _answers_as_texts):
            try:
                text = _render(processor, [write(processor, message) for message in probe])
            except Exception as error:  # Templates can raise anything.
                cause = reason(error)
                continue
            if all(word in text for word in probe_words) and not any(mark in text for mark in _PRINTED):
                return _Form(write, _ANSWER_PROBE in probe_words, probe[0] is _EMPTY_SYSTEM)
    raise ValueError(
        f"model: the chat template of its processor ({type(processor).__name__}) cannot write a question ({cause}); "
        "put a different one into its folder as chat_template.jinja"
    )


def _omitted_role(chat: Chat, text: str) -> str | None:
    """Returns the role whose words the text lacks, ignoring spaces; answers may lack their reasoning."""
    text_without_spaces = "".join(text.split())
    role_texts = ((message["role"], part["text"]) for message in chat for part in message["content"] if "text" in part)
    return next(
        (
            role
            for role, words in role_texts
            if role != "assistant" and "".join(words.split()) not in text_without_spaces
        ),
        None,
    )


def _render(processor: ProcessorMixin, chat: Sequence[Mapping[str, Any]], prompt: bool = False) -> str:
    template: Any = processor.apply_chat_template
    return template(list(chat), add_generation_prompt=prompt)


def _as_parts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message


def _as_texts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    image_token = getattr(processor, "image_token", None)
    if image_token is None and any(part["type"] == "image" for part in message["content"]):
        raise ValueError(f"the chat template takes text, but {type(processor).__name__} has no image token for it")
    pieces = (str(image_token) if part["type"] == "image" else part["text"] for part in message["content"])
    return {**message, "content": "\n".join(pieces)}


def _answers_as_texts(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message if message["role"] == "user" else _as_texts(processor, message)
