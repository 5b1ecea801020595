"""Production rules of the embedded grammar: what each nonterminal turns into, with which probability.

A stack is a sequence of symbols, leftmost first; a symbol is a word or a nonterminal. A nonterminal carries
the features that later words must agree with (topic, number, verb).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from host_runtime.llm.embedded.lexicon import ADJECTIVES, ADVERBS, OPENINGS, PREPOSITIONS, TIMES, TOPICS

__all__ = ["CHANGE", "START", "Nonterminal", "Production", "Stack"]

Topics = tuple[int, ...]
#: Probabilities of (singular, plural), in the order of a noun's or verb's two forms.
Numbers = tuple[float, float]
T = TypeVar("T")

#: Probability of "Elsewhere," after a full stop: the next sentence leaves the topic.
CHANGE = 0.2
BOTH, SINGULAR, PLURAL = (0.65, 0.35), (1.0, 0.0), (0.0, 1.0)
DETERMINERS = (
    (0.5, "the", BOTH),
    (0.2, "a", SINGULAR),
    (0.1, "every", SINGULAR),
    (0.1, "some", PLURAL),
    (0.1, "two", PLURAL),
)


class Nonterminal(Protocol):
    """A rule with its features; must be hashable."""

    def productions(self) -> list[Production]:
        """Return the alternatives, whose probabilities add up to one."""


Symbol = str | Nonterminal
Stack = tuple[Symbol, ...]
Production = tuple[float, Stack]


def ranked(items: Sequence[T], first: int = 0) -> list[tuple[float, T]]:
    """Pair each item with a probability in proportion to 1, 1/2, 1/3, ..., counted from item `first` on."""
    count = len(items)
    total = sum(1 / (rank + 1) for rank in range(count))
    return [(1 / (rank + 1) / total, items[(rank + first) % count]) for rank in range(count)]


@dataclass(frozen=True)
class Sentence:
    """[Opening ","] Determiner Subject; the topic is one of `topics`, revealed by the subject."""

    topics: Topics

    def productions(self) -> list[Production]:
        openings: list[Production] = [
            (0.15 * p, (word, ",", Determiner(self.topics, False))) for p, word in ranked(OPENINGS)
        ]
        return [(0.85, (Determiner(self.topics, True),)), *openings]


@dataclass(frozen=True)
class Determiner:
    """Article or quantifier of the subject, capitalised at the head of a sentence."""

    topics: Topics
    capital: bool

    def productions(self) -> list[Production]:
        return [
            (p, (word.capitalize() if self.capital else word, Described(Subject(self.topics, numbers), 0.25)))
            for p, word, numbers in DETERMINERS
        ]


@dataclass(frozen=True)
class Described:
    """[Adjective] noun."""

    noun: Nonterminal
    chance: float

    def productions(self) -> list[Production]:
        return [(1 - self.chance, (self.noun,)), (self.chance, (Choice(ADJECTIVES), self.noun))]


@dataclass(frozen=True)
class Choice:
    """One of a list of words."""

    words: tuple[str, ...]

    def productions(self) -> list[Production]:
        return [(p, (word,)) for p, word in ranked(self.words)]


@dataclass(frozen=True)
class Subject:
    """Noun that fixes topic and number of the rest of the sentence."""

    topics: Topics
    numbers: Numbers

    def productions(self) -> list[Production]:
        return [
            (share * p / len(self.topics), (forms[number], Predicate(topic, number)))
            for topic in self.topics
            for p, forms in ranked(TOPICS[topic].subjects)
            for number, share in enumerate(self.numbers)
            if share
        ]


@dataclass(frozen=True)
class Predicate:
    """[Preposition "the" place | "that" Clause] Clause Tail: a phrase may part subject and verb."""

    topic: int
    number: int

    def productions(self) -> list[Production]:
        clause, tail = Clause(self.topic, self.number), Tail(self.topic, self.number)
        place = (Choice(PREPOSITIONS), "the", Choice(TOPICS[self.topic].places))
        return [(0.65, (clause, tail)), (0.2, (*place, clause, tail)), (0.15, ("that", clause, clause, tail))]


@dataclass(frozen=True)
class Clause:
    """[Adverb] verb object; the verb agrees with `number` and has its own order of favourite objects."""

    topic: int
    number: int

    def productions(self) -> list[Production]:
        verb = Verb(self.topic, self.number)
        return [(0.85, (verb,)), (0.15, (Choice(ADVERBS), verb))]


@dataclass(frozen=True)
class Verb:
    """Verb and its object."""

    topic: int
    number: int

    def productions(self) -> list[Production]:
        verbs = ranked(list(enumerate(TOPICS[self.topic].verbs)))
        return [(p, (forms[self.number], ObjectPhrase(self.topic, verb))) for p, (verb, forms) in verbs]


@dataclass(frozen=True)
class ObjectPhrase:
    """Article [Adjective] noun."""

    topic: int
    verb: int

    def productions(self) -> list[Production]:
        articles = ((0.5, "the", BOTH), (0.25, "a", SINGULAR), (0.25, "some", PLURAL))
        return [
            (p, (word, Described(Object(self.topic, self.verb, numbers), 0.2)))
            for p, word, numbers in articles
        ]


@dataclass(frozen=True)
class Object:
    """Noun acted on."""

    topic: int
    verb: int
    numbers: Numbers

    def productions(self) -> list[Production]:
        return [
            (share * p, (forms[number],))
            for p, forms in ranked(TOPICS[self.topic].objects, first=self.verb)
            for number, share in enumerate(self.numbers)
            if share
        ]


@dataclass(frozen=True)
class Tail:
    """[("and" | "because" pronoun) Clause] End: the pronoun agrees with the subject."""

    topic: int
    number: int

    def productions(self) -> list[Production]:
        clause, end = Clause(self.topic, self.number), End(self.topic)
        pronoun = ("it", "they")[self.number]
        return [(0.6, (end,)), (0.2, ("and", clause, end)), (0.2, ("because", pronoun, clause, end))]


@dataclass(frozen=True)
class End:
    """["at" time] full stop; then the next sentence, of the same topic unless "Elsewhere," comes first."""

    topic: int

    def productions(self) -> list[Production]:
        stop = (".", Next(self.topic))
        return [(0.85, stop), (0.15, ("at", Choice(TIMES), *stop))]


@dataclass(frozen=True)
class Next:
    """What follows a full stop."""

    topic: int

    def productions(self) -> list[Production]:
        others = tuple(topic for topic in range(len(TOPICS)) if topic != self.topic)
        return [
            (1 - CHANGE, (Sentence((self.topic,)),)),
            (CHANGE, ("Elsewhere", ",", Determiner(others, False))),
        ]


#: The stack before the first token of a text.
START: Stack = (Sentence(tuple(range(len(TOPICS)))),)
