"""SNIPS intents to single-turn dialogue state tracking (paper, section 4.1 and Figure 4)."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import Json, dumps, is_list, is_object
from coalm_oumi.core.options import Options, Text
from coalm_oumi.core.sample import LeftOut, Sample
from coalm_oumi.data.sources.raw import raw_files, total_size
from coalm_oumi.data.sources.reader import Record, RecordError, Source
from coalm_oumi.files.jsontext import read_json
from coalm_oumi.rendering import prompts

ONTOLOGY: Mapping[str, Sequence[str]] = {
    intent: slots.split()
    for intent, slots in {
        "BookRestaurant": "poi restaurant_type served_dish timeRange party_size_number "
        "restaurant_name state country party_size_description sort city spatial_relation cuisine "
        "facility",
        "GetWeather": "condition_temperature geographic_poi current_location timeRange "
        "condition_description state country city spatial_relation",
        "AddToPlaylist": "playlist playlist_owner entity_name music_item artist",
        "SearchCreativeWork": "object_type object_name",
        "PlayMusic": "track playlist service genre year album music_item sort artist",
        "SearchScreeningEvent": "movie_name location_name timeRange object_type movie_type "
        "object_location_type spatial_relation",
        "RateBook": "rating_value rating_unit object_type object_select "
        "object_part_of_series_type best_rating object_name",
    }.items()
}
"""Slots by intent in the order of Figure 4, whose text lacks the line of AddToPlaylist."""

TEST_DIGESTS = Path(__file__).with_name("snips_test.txt")
"""Digests of the 700 utterances of the standard test set, one per line; two are the same."""

INTENTS = (
    "GetWeather",
    "AddToPlaylist",
    "SearchScreeningEvent",
    "BookRestaurant",
    "SearchCreativeWork",
    "RateBook",
    "PlayMusic",
)
"""The intents in the order of Figure 4's first sentence."""


def instruction(intents: Sequence[str] = INTENTS) -> str:
    """Renders the instruction of Figure 4, which every SNIPS sample shares."""
    ontology = {name: slots for name, slots in ONTOLOGY.items() if name in intents}
    return prompts.render("snips", intents=intents, ontology=ontology)


class SnipsOptions(Options):
    """The options of the source `snips`.

    Attributes:
        intents: Keep only these intents, in the data and in the instruction's list. Fewer intents
            make a shorter prompt.
    """

    intents: Sequence[Text] = Field(default=INTENTS, min_length=1)


class Snips:
    """Reads SNIPS's raw folder: one sample per utterance.

    The 13,784 utterances of `train_<Intent>_full.json` are the 13,084 of the standard training
    split, which CoALM-IT's card counts (Table 1 prints 13,028), and the 700 of the standard test
    set. Utterances of the test set are left out, and so are those of `validate_<Intent>.json` in
    the same folder, ignoring case, spacing and punctuation. Some are in the training split as well
    as in the test set, so that 13,000 are left, of which 12,885 are distinct.
    """

    def __init__(self, path: Path, options: SnipsOptions | None = None) -> None:
        """Opens the folder.

        Args:
            path: The folder that holds `train_<Intent>_full.json`, or one such file.
            options: The defaults, if not given.

        Raises:
            CoalmError: No such file, or an intent is unknown.
        """
        intents = (options or SnipsOptions()).intents
        for intent in intents:
            if intent not in INTENTS:
                raise CoalmError(f"unknown intent `{intent}`; SNIPS has {', '.join(INTENTS)}")
        self._intents = frozenset(intents)
        self._text = instruction([intent for intent in INTENTS if intent in intents])
        self._files = raw_files(path, "train_*_full.json", of="SNIPS's raw folder")
        self.size = total_size(self._files)
        self._test = frozenset(TEST_DIGESTS.read_text().split())
        home = self._files[0].parent
        self._validation = {name: _digests(home / f"validate_{name}.json") for name in intents}

    def records(self) -> Iterator[Record]:
        """Yields the utterances.

        Raises:
            CoalmError: A file is not JSON of SNIPS's shape.
        """
        done = 0
        for file in self._files:
            done += file.stat().st_size
            for intent, utterances in _read(file):
                if intent not in self._intents:
                    continue
                for index, utterance in enumerate(utterances):
                    where = f"{file}: {intent}[{index}]"
                    yield Record(where, f"{intent}/{index}", utterance, done)

    def samples(self, record: Record) -> list[Sample | LeftOut]:
        """Renders one utterance, or leaves it out if it is held out for evaluation.

        Raises:
            RecordError: It is not of SNIPS's shape, or names a slot that its intent does not have.
        """
        intent, _, _ = record.key.partition("/")
        utterance = _text(record.content)
        digest = _digest(utterance) if utterance else None
        if digest in self._test:
            return [LeftOut("an utterance of the standard test set")]
        if digest in self._validation[intent]:
            return [LeftOut("an utterance of the published validation set")]
        return [_sample(self._text, intent, record.content, f"snips/{record.key}")]


SOURCE = Source("tod", Snips, SnipsOptions)


def _digests(file: Path) -> frozenset[str]:
    """Reads the digests of a file's utterances; none if there is no such file."""
    if not file.is_file():
        return frozenset()
    texts = (_text(utterance) for _, utterances in _read(file) for utterance in utterances)
    return frozenset(_digest(text) for text in texts if text)


def _digest(utterance: str) -> str:
    """Hashes an utterance without its case, spacing and punctuation.

    The standard test set is published in lower case, cut into words: "where s that".
    """
    letters = re.sub(r"[\W_]+", "", utterance.casefold())
    return hashlib.sha256(letters.encode()).hexdigest()[:16]


def _text(utterance: Json) -> str | None:
    """Returns what the user says; None if the record is not of SNIPS's shape."""
    pieces = utterance.get("data") if is_object(utterance) else None
    if not is_list(pieces) or not all(
        is_object(piece) and isinstance(piece.get("text"), str) for piece in pieces
    ):
        return None
    return _clean("".join(piece["text"] for piece in pieces))


def _read(file: Path) -> Iterator[tuple[str, list[Json]]]:
    # One file holds emoji as surrogate pairs, each half written as three bytes.
    content = read_json(file, errors="surrogatepass")
    if not is_object(content):
        raise CoalmError(f"{file}: expected an object `{{Intent: [...]}}`, as in SNIPS")
    for intent, records in content.items():
        if intent not in ONTOLOGY:
            raise CoalmError(f"{file}: unknown intent `{intent}`; known are {', '.join(INTENTS)}")
        if not is_list(records):
            raise CoalmError(f"{file}: `{intent}` is not a list of utterances")
        yield intent, records


def _sample(text: str, intent: str, record: Json, dialogue_id: str) -> Sample:
    utterance = _text(record)
    if utterance is None:
        raise RecordError("`data` is not a list of pieces with a `text`")
    if not utterance:
        raise RecordError("the utterance is empty")
    mentioned: dict[str, list[str]] = {}
    for piece in record["data"]:
        slot = piece.get("entity")
        value = _clean(piece["text"])
        if slot is None or not value:
            continue
        if slot not in ONTOLOGY[intent]:
            raise RecordError(f"slot `{slot}` is not one of {intent}'s")
        mentioned.setdefault(slot, []).append(value)
    # A slot that occurs twice keeps both values, in order of mention.
    values = {slot: found if len(found) > 1 else found[0] for slot, found in mentioned.items()}
    return Sample(
        instruction=text,
        input=f"User: {utterance}",
        output=f"System: {dumps({'domain': intent, 'slot_values': values})}",
        source="snips",
        domain="tod",
        dialogue_id=dialogue_id,
    )


def _clean(text: str) -> str:
    """Joins surrogate pairs and folds white space, which the raw pieces carry at random."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(joined.split())
