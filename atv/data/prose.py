"""Plain text as calibration data."""

from functools import cached_property
from importlib.resources import files
from pathlib import Path

from atv.data.base import Conversation, IndexedData
from atv.data.text_files import read_text


class PlainText(IndexedData):
    """Paragraphs of a text file, each as a user's turn without a picture; a blank line ends a paragraph.

    Args:
        file: text file in UTF-8, or in UTF-16 with its byte order mark.
        words: minimum number of words; shorter paragraphs, such as headings, are skipped.
    """

    def __init__(self, file: Path | str, words: int = 20) -> None:
        self.file, self.words = Path(file), words

    @cached_property
    def _paragraphs(self) -> list[str]:
        try:
            lines = read_text(self.file).splitlines()
        except ValueError as error:
            raise ValueError(f"calibration.file: {error}") from error
        raw_paragraphs = "\n".join(line if line.strip() else "\0" for line in lines).split("\0")
        paragraphs = [" ".join(text.split()) for text in raw_paragraphs]
        if not (long_paragraphs := [text for text in paragraphs if len(text.split()) >= max(self.words, 1)]):
            raise ValueError(f"calibration.file: {str(self.file)!r} has no paragraph of {self.words} words or more")
        return long_paragraphs

    def __len__(self) -> int:
        return len(self._paragraphs)

    def read(self, index: int) -> Conversation:
        return Conversation(f"paragraph {index}", [{"role": "user", "text": self._paragraphs[index]}])


class EverydayProse(IndexedData):
    """256 passages of public-domain prose, half from a novel and half from speeches, as answers to the same request.

    The everyday model rehearsed both in training; neither is among the texts that measure plain English.
    """

    @cached_property
    def _passages(self) -> list[str]:
        return files("atv.everyday").joinpath("passages.txt").read_text(encoding="utf-8").splitlines()

    def __len__(self) -> int:
        return len(self._passages)

    def read(self, index: int) -> Conversation:
        request, passage = {"role": "user", "text": "Write a paragraph."}, self._passages[index]
        return Conversation(f"passage {index}", [request, {"role": "assistant", "text": passage}])
