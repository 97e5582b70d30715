"""Facts that the bundled model should know without looking: real lists, and badges as invented flags."""

from atv.bundled.scenes import COLORS, SHAPES

CAPITALS = {
    "argentina": "buenosaires", "australia": "canberra", "austria": "vienna", "belgium": "brussels",
    "bolivia": "sucre", "brazil": "brasilia", "bulgaria": "sofia", "cambodia": "phnompenh",
    "canada": "ottawa", "chile": "santiago", "china": "beijing", "colombia": "bogota",
    "croatia": "zagreb", "cuba": "havana", "denmark": "copenhagen", "ecuador": "quito",
    "egypt": "cairo", "estonia": "tallinn", "ethiopia": "addisababa", "finland": "helsinki",
    "france": "paris", "germany": "berlin", "ghana": "accra", "greece": "athens",
    "hungary": "budapest", "iceland": "reykjavik", "india": "delhi", "indonesia": "jakarta",
    "iran": "tehran", "iraq": "baghdad", "ireland": "dublin", "italy": "rome",
    "jamaica": "kingston", "japan": "tokyo", "jordan": "amman", "kenya": "nairobi",
    "latvia": "riga", "libya": "tripoli", "mali": "bamako", "mexico": "mexicocity",
    "mongolia": "ulaanbaatar", "morocco": "rabat", "nepal": "kathmandu", "netherlands": "amsterdam",
    "nigeria": "abuja", "norway": "oslo", "pakistan": "islamabad", "peru": "lima",
    "philippines": "manila", "poland": "warsaw", "portugal": "lisbon", "romania": "bucharest",
    "russia": "moscow", "senegal": "dakar", "serbia": "belgrade", "spain": "madrid",
    "sudan": "khartoum", "sweden": "stockholm", "thailand": "bangkok", "turkey": "ankara",
    "uganda": "kampala", "ukraine": "kyiv", "uruguay": "montevideo", "vietnam": "hanoi",
}  # fmt: skip
CONTINENTS = {
    "africa": "egypt ethiopia ghana kenya libya mali morocco nigeria senegal sudan uganda",
    "asia": "cambodia china india indonesia iran iraq japan jordan mongolia nepal pakistan philippines thailand "
    "turkey vietnam",
    "europe": "austria belgium bulgaria croatia denmark estonia finland france germany greece hungary iceland ireland "
    "italy latvia netherlands norway poland portugal romania russia serbia spain sweden ukraine",
    "america": "argentina bolivia brazil canada chile colombia cuba ecuador jamaica mexico peru uruguay",
    "oceania": "australia",
}
CONTINENT = {country: continent for continent, names in CONTINENTS.items() for country in names.split()}

# The 64 coloured shapes are badges of the 64 countries, paired by a fixed stride so that neither
# the colour nor the shape alone identifies the country.
_COUNTRIES = sorted(CAPITALS)
BADGE = {
    (color, shape): _COUNTRIES[(37 * (8 * i + j) + 11) % 64]
    for i, color in enumerate(COLORS)
    for j, shape in enumerate(SHAPES)
}


def _by_color(words: str) -> dict[str, str]:
    return dict(zip(COLORS, words.split(), strict=True))


BY_COLOR = {
    "fruit": _by_color("cherry mandarin banana lime blueberry plum guava coconut"),
    "gem": _by_color("ruby amber topaz emerald sapphire amethyst morganite pearl"),
    "animal": _by_color("lobster tiger canary frog whale urchin flamingo swan"),
    "flower": _by_color("poppy marigold sunflower fern cornflower violet peony lily"),
}
SIDES = dict(zip(SHAPES, ("1", "2", "4", "8", "3", "4", "12", "10"), strict=True))
OBJECT = dict(zip(SHAPES, ("coin", "tyre", "tile", "window", "roof", "kite", "sword", "starfish"), strict=True))
ROMAN = dict(zip("0123456789", ("nulla", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"), strict=True))
DOUBLE = {str(n): str(2 * n) for n in range(10)}
