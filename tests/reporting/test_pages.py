import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from helpers.fake_results import Flat

from atv.reporting.collection import Collection
from atv.reporting.pages import page, write_pages


@pytest.fixture
def pages(results):
    found = Collection.read(results, results / "report")
    return {kind: page(found, results / "report", kind) for kind in ("html", "md")}


def test_each_finding_has_its_numbers_beside_the_papers_and_a_verdict(pages):
    text = pages["html"]
    summary = text[text.index("All findings") : text.index('class="ablation"')]
    for claim, paper, value, interval, verdict in (
        ("visual ones at 60%", "33.73 points", "21.3", "[18.1, 24.8]", "reproduced"),
        (
            "weights may go",
            "no number",
            "\N{MINUS SIGN}3.2",
            "[\N{MINUS SIGN}4.4, \N{MINUS SIGN}2.0]",
            "not reproduced",
        ),
        ("lie between both", "14.05 points", "0.4", "[\N{MINUS SIGN}1.0, 1.9]", "undecided"),
        ("a few visual ones", "0.15 points", "0.1", "[\N{MINUS SIGN}0.6, 0.8]", "practically equal"),
    ):
        row = next(row for row in summary.split("<tr") if claim in row)
        assert all(part in row for part in (paper, value, interval, f"</span> {verdict}</span>"))
        line = next(line for line in pages["md"].splitlines() if claim in line)
        assert f"| {paper} | {value} {interval} | points of retention |" in line and line.endswith(f" {verdict} |")


def test_a_finding_says_its_margin_and_what_its_word_leaves_open(pages):
    remark = (
        "The paper&#39;s own difference, 0.15, is below the margin of 1, too: this neither repeats nor contradicts it."
    )
    assert remark in pages["html"] and html.unescape(remark) in pages["md"]
    for text in pages.values():
        assert text.count("practically equal if it is within 1 of that") == 2


def test_an_interval_is_called_one_of_95_percent_only_where_it_is(pages):
    for text in pages.values():
        assert "It has 95% confidence unless another level" in " ".join(text.split()) and "[95% interval]" not in text
    assert pages["html"].count("<dt>Ours, with its interval</dt>") == 4


def test_text_is_text_and_never_markup(pages):
    assert "<b>to be calibrated" not in pages["html"] and "&lt;b&gt;to be calibrated" in pages["html"]
    assert "<b>to be" not in pages["md"]
    columns = {line.replace(r"\|", "").count("|") for line in pages["md"].splitlines() if line.startswith("| flat")}
    assert columns == {7}


def test_sections_without_findings_say_so_and_long_tables_are_folded(pages):
    assert "| quiet | states no findings |" in pages["md"]
    assert pages["html"].count("This ablation states no findings") == 2  # in the summary and in its section
    assert re.search(r"<details open>\s*<summary>Table, 3 rows", pages["html"])
    assert re.search(r"<details>\s*<summary>Table, 40 rows", pages["html"])


def test_markdown_finds_the_figures(results, pages):
    figures = re.findall(r"!\[.*\]\((.*)\)", pages["md"])
    assert len(figures) == 2 and all((results / "flat" / figure).is_file() for figure in figures)


class Outline(HTMLParser):
    """Headings, ids, links, addresses and texts for pictures."""

    def __init__(self, text):
        super().__init__()
        self.levels, self.ids, self.links, self.sources, self.alts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []
        self.alts += [given.get("alt")] if tag == "img" else []


def test_headings_are_in_order_links_lead_somewhere_and_nothing_is_fetched(pages):
    outline = Outline(pages["html"])
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(set(outline.ids)) == len(outline.ids)
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert all(source.startswith("data:image/png") for source in outline.sources) and all(outline.alts)
    assert '<html lang="en">' in pages["html"] and "<script" not in pages["html"] and "@import" not in pages["html"]


def test_the_command_is_there_to_be_copied(results, pages):
    command = Collection.read(results, results / "report").sections[0].command
    shown = re.search("<pre><code>(.*)</code></pre>", pages["html"])[1]
    assert html.unescape(re.sub("<[^>]+>", "", shown)) == command and f"\n{command}\n" in pages["md"]


def test_figures_alternative_names_the_question(pages):
    assert any(Flat.question in alt for alt in Outline(pages["html"]).alts)


def test_the_first_figure_is_of_all_findings(results):
    found, output = Collection.read(results, results / "report"), results / "report"
    write_pages(found, output)
    text, lines = (output / "report.html").read_text(), (output / "report.md").read_text()
    assert Outline(text).alts[0].startswith("Figure: every finding") and len(Outline(text).sources) == 3
    assert re.findall(r"!\[.*\]\((.*)\)", lines)[0] == "forest.png"
    assert (output / "forest.png").read_bytes().startswith(b"\x89PNG")
    assert "carries over" not in text + lines


def test_a_results_folder_without_findings_has_no_such_figure(results):
    shutil.rmtree(results / "flat")
    write_pages(Collection.read(results, results / "report"), results / "report")
    assert not (results / "report" / "forest.png").exists()
    assert "forest" not in (results / "report" / "report.md").read_text()


def test_another_models_findings_stand_beside(results, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(results / "flat", other / "flat")
    for name, change in (("run.json", {"model": "everyday"}), ("findings.json", None)):
        file = other / "flat" / name
        told = json.loads(file.read_text())
        if change is None:
            further = told[0] | {"claim": "Something else is so.", "paper": ""}
            told = [told[0] | {"claim": told[0]["claim"].replace("60%", "40%")}, *told[2:], further]
            told[1]["ours"] |= {"low": 0.2}
        file.write_text(json.dumps(told | change if change else told))
    beside, found = Collection.read(other, other / "report"), Collection.read(results, results / "report")
    text, lines = (page(found, results / "report", kind, beside) for kind in ("html", "md"))
    assert "What carries over from bundled to everyday" in text and "from bundled to everyday" in lines
    for shown in (text, lines):
        assert "carried over" in shown and "everyday: 40%" in shown
    carried, alone = (
        [line for line in lines.partition(f"### {head}")[2].partition("###")[0].splitlines() if "| flat |" in line]
        for head in ("What carries over", "Findings on everyday alone")
    )
    assert [row.rsplit("|")[-2].strip() for row in carried] == ["✓ carried over", "? open", "✓ carried over"]
    assert len(alone) == 1 and "Something else" in alone[0] and "✓ holds" in alone[0]
    assert "**2** carried over · **0** not carried over · **1** open · **2** one model alone" in lines
    assert "everyday: **" in lines and text.count('<ul class="tally">') == 2
