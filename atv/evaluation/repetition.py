"""Answers that are none: one piece of text over and over."""


def only_repeats(text: str) -> bool:
    """Whether a text is one piece of it over and over: twice, and at least the beginning of a third time.

    A number is no repetition. Takes time in the square of the text's length: made for short answers.

    >>> [only_repeats(text) for text in ("a cat, a cat, a c", "no no no", "no no", "a cat", "111", "")]
    [True, True, False, False, False, False]
    """
    said = text.strip()
    if said.isdigit():
        return False
    return any(said[length:] == said[:-length] for length in range(1, (len(said) + 1) // 2))
