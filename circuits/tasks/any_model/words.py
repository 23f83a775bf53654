"""Common English words of which tokenizers have many as one token, by what they can stand for in a template."""

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FEMALE_NAMES: Final = _words(
    "Mary Lily Anna Emma Alice Sarah Lucy Jane Kate Amy Susan Laura Julia Anne Lisa Rose Grace Jessica Rachel "
    "Elizabeth Maria Sara Jennifer Michelle Nancy Karen Betty Helen Ruth Diana Linda Clara Nora Irene Mia Sue"
)
MALE_NAMES: Final = _words(
    "John Tim Tom Peter David Mark Timmy Paul James Ben Henry Frank George Max Jack Sam Bob Robert Michael William "
    "Daniel Kevin Adam Brian Carl Oscar Simon Victor Walter Joe Mike Andrew Thomas Richard Steven Jason"
)
NAMES: Final = tuple(name for both in zip(FEMALE_NAMES, MALE_NAMES, strict=True) for name in both)

NOUNS: Final = _words(
    "friend cat dog boy girl book car tree house door king teacher doctor farmer student key window author driver "
    "guard singer cow horse boat bird chair table song lamp shop player writer sister brother mother father"
)
"""Their plural ends in s."""

PLACES: Final = _words(
    "store park school garden office station hospital market library kitchen beach house farm shop museum restaurant"
)
OBJECTS: Final = _words("book ball drink ring flower cake toy letter bag pen phone lamp song cup")
"""They begin with a consonant."""

FEELINGS: Final = _words("happy sad tired hungry angry scared busy late ready quiet")
ADJECTIVES: Final = _words("big little old new small nice red white young green")

ORDINARY: Final = _words(
    "time day friend play mom big happy little water fire light hand road wood snow rain wind music paper stone field "
    "river night city line case part number group end side room name head war art work story idea land law game food "
    "car book door tree house table king dog cat bird fish horse ship train town"
)
"""Words for sequences that mean nothing."""

ARGUMENTS: Final = _words(
    "size file item value name type data list key index line text user time day path mode start end node view form "
    "table state test count group order level field model event play friend load last page date"
)
"""Words that name the arguments of functions."""

CAPITALS: Final = tuple(
    (country, capital)
    for country, capital in (
        pair.split("-")
        for pair in _words(
            "France-Paris Germany-Berlin Italy-Rome Spain-Madrid England-London Russia-Moscow China-Beijing "
            "Japan-Tokyo Egypt-Cairo Greece-Athens Poland-Warsaw Austria-Vienna Ireland-Dublin Portugal-Lisbon "
            "Cuba-Havana Iran-Tehran Iraq-Baghdad Turkey-Ankara Canada-Ottawa Sweden-Stockholm Norway-Oslo "
            "Kenya-Nairobi Peru-Lima Syria-Damascus Hungary-Budapest"
        )
    )
)
