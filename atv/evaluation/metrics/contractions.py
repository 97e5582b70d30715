"""The contractions that the VQA evaluation expands: a word without its apostrophes, and with them.

The original also lists "Im" and "Ive", which never match: texts are lower-cased before.
"""

_WORDS = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
# With two apostrophes, either may have been forgotten.
_DOUBLE = """
couldn't've hadn't've he'd've it'd've mightn't've shouldn't've someone'd've something'd've there'd've they'd've we'd've
who'd've wouldn't've you'd've
"""
# The original's own: some lack one form, one has its sides swapped.
_ODD = {
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "shed've": "she'd've",
    "she'dve": "she'd've",
    "somebody'd": "somebodyd",
    "somebodyd've": "somebody'd've",
    "somebody'dve": "somebody'd've",
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _half_forgotten(word: str) -> dict[str, str]:
    first, second, third = word.split("'")
    return {f"{first}{second}'{third}": word, f"{first}'{second}{third}": word}


CONTRACTIONS = {word.replace("'", ""): word for word in _WORDS.split()} | _ODD
for _word in _DOUBLE.split():
    CONTRACTIONS |= _half_forgotten(_word)
