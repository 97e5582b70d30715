"""Lines, marks and encodings of text files."""

import json

import pytest
from helpers.layouts import jpg, turns

from atv.data import CaptionedImages, ShareGPT4V
from atv.data.text_files import json_lines, json_value, read_text, table_of_texts

# What str.splitlines breaks at, beside the ends of lines.
SEPARATORS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"
ROWS = [{"text": f"a{SEPARATORS}b"}, {"text": "é 日本"}]
MARKED = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-be": b"\xfe\xff",
    "utf-16-le": b"\xff\xfe",
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n  \n", ""])
def test_lines_of_json(encoding, end, tmp_path):
    lines = (end or "\n").join(json.dumps(row, ensure_ascii=False) for row in ROWS) + end
    (tmp_path / "a.jsonl").write_bytes(MARKED[encoding] + lines.encode(encoding))
    assert json_lines(tmp_path / "a.jsonl") == ROWS
    (tmp_path / "a.json").write_bytes(MARKED[encoding] + json.dumps(ROWS, ensure_ascii=False).encode(encoding))
    assert json_value(tmp_path / "a.json") == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": "caf\xe9"}\n', r"a.jsonl' is not UTF-8 \(byte 0xe9 in line 2\); save it as UTF-8"),
        (b'{"a": 1}\n{"a": }\n', r"a.jsonl' is not valid JSON in line 2 \('\{\"a\": \}'\)"),
        (b'{"a": 1}\n' + b"[" * 200_000, "a.jsonl' is not valid JSON in line 2"),
        (b'{"a": "' + b"x" * 3_000_000, "a.jsonl' is not valid JSON in line 1"),
        (b"\xff\xfe\x00\xd8\x00", "is not UTF-8"),
        (b'{"image": "a", "n": 1, "image": "b"}', "line 1 .*'image' occurs twice in one object"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(content, message, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        json_lines(tmp_path / "a.jsonl")
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            read_text(path)


def test_annotations_and_captions_lose_their_marks(tmp_path):
    rows = [{"id": n, "image": "0.jpg", "conversations": turns()} for n in range(2)]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8-sig")
    assert {one.id for one in ShareGPT4V(tmp_path / "rows.jsonl").draw(0)} == {"0", "1"}
    (tmp_path / "0.jpg").write_bytes(jpg(1))
    (tmp_path / "0.txt").write_text("\ufeffa red star\n", encoding="utf-8")
    assert CaptionedImages(tmp_path).read(0).turns[1]["text"] == "a red star"
    line = json.dumps({"file_name": "0.jpg", "text": "a\u2028b"}, ensure_ascii=False)
    for kind, content in (("csv", "file_name,text\n0.jpg,a\u2028b\n"), ("jsonl", f"{line}\n")):
        (tmp_path / f"metadata.{kind}").write_text(content, encoding="utf-8-sig")
        assert CaptionedImages(tmp_path).read(0).turns[1]["text"] == "a\u2028b"
        (tmp_path / f"metadata.{kind}").unlink()


QUOTED = {
    "never closed": (["a\tred", 'b\t"Stop says a man', "c\ta cat"], 3),
    "closed lines later": (['a\t"Stop says a man', "b\ta cat", 'c\tShe said "Hello"'], 2),
    "closed before the end": (['a\t"two\nlines"', 'b\t"no" he said'], 4),
}


@pytest.mark.parametrize("case", QUOTED)
def test_cells_that_merely_begin_with_a_quote_are_refused_by_line(case, tmp_path):
    lines, number = QUOTED[case]
    for kind, separator in (("tsv", "\t"), ("csv", ",")):
        (tmp_path / f"rows.{kind}").write_text("\n".join(["image\ttext", *lines]).replace("\t", separator))
        with pytest.raises(
            ValueError, match=rf"^rows.{kind} is not valid {kind.upper()} in line {number}: .*quotes around"
        ):
            table_of_texts(tmp_path / f"rows.{kind}")


def test_cells_that_are_quoted_as_they_should_be(tmp_path):
    long = "x" * 200_000
    lines = ["image\ttext", 'a\t"two\nlines, a\ttab, and ""quotes"""', 'b\tShe said "Hello"', "c\t", f"d\t{long}"]
    (tmp_path / "rows.tsv").write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    table = table_of_texts(tmp_path / "rows.tsv")
    assert table["image"] == ["a", "b", "c", "d"]
    assert table["text"] == ['two\nlines, a\ttab, and "quotes"', 'She said "Hello"', "", long]


METADATA = {
    "latin-1": ("csv", "file_name,text\n0.jpg,café\n".encode("latin-1"), "metadata.csv' is not UTF-8"),
    "nothing": ("csv", b"", "metadata.csv is not valid CSV"),
    "too many cells": ("csv", b"file_name,text\n0.jpg,a,b\n0.jpg,a\n1.jpg,a,b,c,d\n", "metadata.csv is not valid CSV"),
    "too many cells in all lines": ("csv", b"file_name,text\n0.jpg,a,b\n1.jpg,a,b\n", "metadata.csv is not valid CSV"),
    "another separator": ("csv", b"file_name;text\n0.jpg;a\n", "missing columns file_name, text in metadata.csv"),
    "no name": ("csv", b"file_name,text\n,a\n", "row 1 of metadata.csv has no file_name"),
    "a list": ("jsonl", b'["0.jpg", "a"]\n', "metadata.jsonl holds ['0.jpg', 'a']; expected one object per line"),
    "a name of numbers": ("jsonl", b'{"file_name": 3, "text": "a"}\n', "row 1 of metadata.jsonl has no file_name"),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_cannot_be_read(case, tmp_path):
    kind, content, message = METADATA[case]
    (tmp_path / f"metadata.{kind}").write_bytes(content)
    with pytest.raises(ValueError, match=r"^calibration.folder: ") as error:
        CaptionedImages(tmp_path).check()
    assert message in str(error.value) and "\n" not in str(error.value)
