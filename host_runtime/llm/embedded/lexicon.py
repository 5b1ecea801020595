"""Words of the embedded grammar: eight topics, each with its own nouns, verbs and places.

No noun or adjective starts with a vowel, so that the article is always "a". Every form occurs in one role
only.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADJECTIVES", "ADVERBS", "OPENINGS", "PREPOSITIONS", "TIMES", "TOPICS", "Topic"]


@dataclass(frozen=True)
class Topic:
    """Words of one topic, most frequent first. Nouns are (singular, plural), verbs (third person, plural)."""

    name: str
    subjects: tuple[tuple[str, str], ...]
    verbs: tuple[tuple[str, str], ...]
    objects: tuple[tuple[str, str], ...]
    places: tuple[str, ...]


def _nouns(words: str) -> tuple[tuple[str, str], ...]:
    pairs = (word.partition("/") for word in words.split())
    return tuple((singular, plural if plural else singular + "s") for singular, _, plural in pairs)


def _verbs(words: str) -> tuple[tuple[str, str], ...]:
    pairs = (word.partition("/") for word in words.split())
    return tuple((third if third else plural + "s", plural) for plural, _, third in pairs)


def _topic(name: str, subjects: str, verbs: str, objects: str, places: str) -> Topic:
    return Topic(name, _nouns(subjects), _verbs(verbs), _nouns(objects), tuple(places.split()))


TOPICS = (
    _topic(
        "sea",
        "sailor captain fisherman/fishermen pilot",
        "pull steer mend row lower",
        "boat net rope sail mast lantern",
        "harbour shore lighthouse",
    ),
    _topic(
        "kitchen",
        "cook baker guest waiter",
        "taste boil serve slice season",
        "soup cake loaf/loaves pie potato/potatoes sauce",
        "stove table cellar",
    ),
    _topic(
        "forest",
        "hunter wolf/wolves bear fox/foxes",
        "follow chase smell track hear",
        "stag rabbit hare bird trail squirrel",
        "glade creek thicket",
    ),
    _topic(
        "court",
        "king queen knight duke",
        "rule crown praise greet banish/banishes",
        "lady/ladies prince nobleman/noblemen jester castle throne",
        "palace chapel garden",
    ),
    _topic(
        "school",
        "teacher pupil master reader",
        "read write copy/copies study/studies learn",
        "book letter lesson story/stories poem map",
        "library hall classroom",
    ),
    _topic(
        "workshop",
        "smith carpenter mason joiner",
        "build forge bend sharpen polish/polishes",
        "hammer knife/knives wheel chair door saw",
        "furnace workbench shed",
    ),
    _topic(
        "farm",
        "farmer shepherd maid neighbour",
        "feed milk herd shear sell",
        "cow goat lamb horse chicken pig",
        "barn meadow stable",
    ),
    _topic(
        "market",
        "merchant trader banker buyer",
        "count weigh/weighs carry/carries buy trade",
        "coin sack jewel basket carpet barrel",
        "gate square fountain",
    ),
)

ADJECTIVES = tuple("little young tall quiet proud brown tired clever strange brave".split())
ADVERBS = tuple("slowly gladly never still gently".split())
OPENINGS = tuple("Today Often Sometimes Now".split())
PREPOSITIONS = tuple("near behind by".split())
TIMES = tuple("dawn night noon".split())
