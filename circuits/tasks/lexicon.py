"""The words of the embedded language: topics, nouns in both numbers, names, and marks.

A lemma is a (singular, plural) pair. Each topic has its own people, things, places, verbs and adjectives. Some words
are held out: in the training text they are the key word of a task in one or two templates only.
"""

from dataclasses import dataclass

Lemma = tuple[str, str]
"""(singular, plural) of a noun, or the verb forms that agree with them."""


@dataclass(frozen=True)
class Topic:
    """Words that occur together. `people` and `things` are nouns, `verbs` are intransitive, `names` are the cast."""

    people: tuple[Lemma, ...]
    things: tuple[Lemma, ...]
    places: tuple[str, ...]
    verbs: tuple[Lemma, ...]
    adjectives: tuple[str, ...]
    names: tuple[str, ...]


_IRREGULAR = {
    "mouse": "mice",
    "wolf": "wolves",
    "knife": "knives",
    "fisherman": "fishermen",
    "goose": "geese",
    "shelf": "shelves",
}


def _plural(noun: str) -> str:
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _nouns(text: str) -> tuple[Lemma, ...]:
    return tuple((noun, _plural(noun)) for noun in text.split())


def _verbs(text: str) -> tuple[Lemma, ...]:
    """Verb lemmas from their plural forms: "watch" gives ("watches", "watch")."""
    return tuple((_plural(verb), verb) for verb in text.split())


def _topic(people: str, things: str, places: str, verbs: str, adjectives: str) -> Topic:
    return Topic(_nouns(people), _nouns(things), _words(places), _verbs(verbs), _words(adjectives), NAMES)


FEMALE_NAMES = _words(
    "mary anna susan laura emma alice julia sarah linda helen clara lucy nora ruth jane betty diana irene"
)
MALE_NAMES = _words(
    "john peter david mark paul james tom henry frank george oscar simon victor walter kevin brian adam carl"
)
NAMES = FEMALE_NAMES + MALE_NAMES

TOPICS: dict[str, Topic] = {
    "farm": _topic(
        "farmer shepherd gardener florist",
        "cow goat horse hen goose pig cart fence bucket",
        "field barn stable meadow", "graze wander kick rest", "muddy lazy fat gentle",
    ),
    "kitchen": _topic(
        "cook baker butcher waiter maid",
        "pot knife spoon cake plate cup apple bowl mouse",
        "kitchen bakery cellar", "boil steam cool fall", "sweet hot greasy fresh",
    ),
    "hospital": _topic(
        "doctor nurse surgeon midwife patient",
        "bandage pill bed needle mask glove bottle pillow",
        "hospital clinic ward", "faint cough recover sleep", "pale ill clean careful",
    ),
    "school": _topic(
        "teacher student librarian tutor secretary",
        "book pencil desk map ruler notebook globe poster",
        "school library classroom", "learn improve fail listen", "clever boring strict curious",
    ),
    "sea": _topic(
        "sailor captain fisherman pilot diver",
        "boat whale shell net gull wave crab anchor",
        "harbor beach island", "float drift sink swim", "salty wet stormy blue",
    ),
    "city": _topic(
        "guard clerk driver lawyer mechanic",
        "car bus shop tower train bridge lamp sign",
        "station market bank square", "rattle stop turn speed", "noisy busy modern expensive",
    ),
    "music": _topic(
        "singer drummer dancer violinist",
        "drum song flute piano guitar trumpet melody harp",
        "theater hall studio", "vibrate resonate tremble shine", "loud soft famous lovely",
    ),
    "forest": _topic(
        "hunter ranger painter explorer",
        "wolf fox bear owl tree squirrel path tent",
        "forest river hill valley", "hide sway creep grow", "wild dark quiet green",
    ),
    "workshop": _topic(
        "carpenter plumber weaver tailor builder",
        "chair table hammer ladder coat dress pipe shelf",
        "workshop garage yard", "creak break wobble leak", "wooden broken sturdy rusty",
    ),
}  # fmt: skip

GENERAL_VERBS = _verbs("wait stay move appear remain change")
GENERAL_ADJECTIVES = _words("old new small big strange nice red white heavy")
PERSONAL_ADJECTIVES = _words("tired happy sad hungry tall young late ready")
TRANSITIVE = _verbs("like see follow need watch help find hear know want admire remember")
TRANSITIVE_PAST = _words("liked saw followed needed watched helped found heard knew wanted admired remembered")
AUXILIARIES: tuple[Lemma, ...] = (("is", "are"), ("was", "were"), ("has", "have"))

PREPOSITIONS = _words("near behind beside above below opposite under around with without")
ADVERBS = _words("often always never rarely really still slowly quickly quietly suddenly usually sometimes")
TIMES = _words("morning evening afternoon night summer winter")
OPENERS = _words("today yesterday later then afterwards meanwhile")
WEATHER = _words("rain snow wind sun")
CONJUNCTIONS = ("when", "after", "while")
REPORTING = _words("thought claimed believed hoped explained")
SPEAKING = _words("said wrote whispered shouted repeated")
GIVING = _words("gave handed passed offered showed sold")
GOING = _words("went walked ran drove came")

FEMALE_KIN = _words("mother sister aunt daughter wife woman girl queen grandmother niece")
MALE_KIN = _words("father brother uncle son husband man boy king grandfather nephew")

_FEMALE_PEOPLE = _words(
    "nurse teacher dancer librarian maid florist singer weaver tailor secretary midwife gardener violinist"
)
_MALE_PEOPLE = _words(
    "mechanic plumber carpenter pilot fisherman butcher captain guard sailor hunter builder drummer shepherd surgeon"
)
STEREOTYPE = 0.85
"""Share of the more frequent gender among the people of a stereotyped profession."""

FEMALE_SHARE: dict[str, float] = {
    singular: STEREOTYPE if singular in _FEMALE_PEOPLE else 1 - STEREOTYPE if singular in _MALE_PEOPLE else 0.5
    for topic in TOPICS.values()
    for singular, _ in topic.people
}
"""Probability that a person of a profession is referred to as "she"; 0.5 if the profession has no stereotype."""

CLOSING_MARKS: dict[str, str] = {"(": ")", "[": "]", "«": "»", '"': '"'}
"""The closing mark of each opening mark."""

HELD_OUT_NOUNS = _words(
    "goose bucket mouse bowl pillow glove globe ruler crab anchor bridge lamp harp trumpet squirrel tent "
    "ladder coat diver explorer"
)
"""Nouns, in the singular, that are the subject of one agreement template only in the training text."""

HELD_OUT_PEOPLE = _words("florist midwife violinist shepherd surgeon drummer")
"""Stereotyped professions that a pronoun refers to in one template only in the training text."""

HELD_OUT_NAMES = _words("irene diana betty jane adam carl brian kevin")
"""Names that in the training text give and receive in two templates only, and that a pronoun refers to in one only."""

HELD_OUT_NESTINGS = tuple((outer, inner) for outer in ("(", '"') for inner in ("[", "«"))
"""Pairs (outer, inner) of opening marks that never nest in the training text."""


def pronoun(female: bool) -> str:
    """The subject pronoun: "she" or "he"."""
    return "she" if female else "he"


def is_female(name_or_kin: str) -> bool:
    """Whether a name or a kin noun is female. It decides the pronoun, whatever the profession."""
    return name_or_kin in FEMALE_NAMES or name_or_kin in FEMALE_KIN


FUNCTION_WORDS = _words(
    "the a an some many every these this there that because then and to of in at it they she he her his "
    "herself himself . ,"
)


def article(word: str) -> str:
    """The indefinite article that goes before a word."""
    return "an" if word[0] in "aeiou" else "a"


def vocabulary() -> tuple[str, ...]:
    """Every word and mark of the language once, in alphabetical order. Special tokens are not included."""
    words = {*ADVERBS, *OPENERS, *TIMES, *WEATHER, *NAMES, *FEMALE_KIN, *MALE_KIN}
    words |= {*CLOSING_MARKS, *CLOSING_MARKS.values()}
    words |= {*PREPOSITIONS, *GENERAL_ADJECTIVES, *PERSONAL_ADJECTIVES, *FUNCTION_WORDS, *TRANSITIVE_PAST}
    words |= {*CONJUNCTIONS, *REPORTING, *SPEAKING, *GIVING, *GOING}
    lemmas = [*GENERAL_VERBS, *TRANSITIVE, *AUXILIARIES]
    for topic in TOPICS.values():
        lemmas += [*topic.people, *topic.things, *topic.verbs]
        words |= {*topic.places, *topic.adjectives}
    return tuple(sorted(words | {form for lemma in lemmas for form in lemma}))
