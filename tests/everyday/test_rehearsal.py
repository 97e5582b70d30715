from atv.everyday.text_probes import probes
from atv.everyday.things import THINGS
from atv.everyday.training.rehearsal import SUBJECTS, paragraphs, prose, requests, whole_sentences


def test_requests_are_different_and_the_same_at_every_call():
    assert requests() == requests() and len(set(requests())) == len(requests()) >= 1500


def test_no_request_is_about_an_everyday_thing_or_a_probe():
    assert not {thing.name for thing in THINGS} & set(SUBJECTS)
    assert not any(probe.prompt in request for probe in probes() for request in requests())


def test_an_answer_ends_with_its_last_whole_sentence():
    assert whole_sentences("It is so. It costs 3.5 of") == "It is so."
    assert whole_sentences('He said "yes." And then\nmore.') == 'He said "yes."'
    assert whole_sentences("It never ends") == ""


def test_paragraphs_lose_their_line_breaks_only():
    assert paragraphs("one\ntwo\n\n three  four\n \nfive\n") == "one two\n\nthree four\n\nfive"


def test_prose_takes_chapters_in_order_and_the_speeches_since_1934(tmp_path):
    moby, sotu = tmp_path / "moby" / "data", tmp_path / "sotu" / "data"
    moby.mkdir(parents=True), sotu.mkdir(parents=True)
    (moby / "chapter_10.txt").write_text("CHAPTER 10. Ten.\n\nLast\nwords.\n")
    (moby / "chapter_9.txt").write_text("CHAPTER 9. Nine.\n\nFirst.\n")
    (sotu / "1933_a.txt").write_text("Old.")
    (sotu / "1934_b.txt").write_text("New.")
    prose(moby.parent, sotu.parent, tmp_path / "out")
    told = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert told == {"moby-dick.txt": "First.\n\nLast words.\n", "state-of-the-union-1934_b.txt": "New.\n"}
