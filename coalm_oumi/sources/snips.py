"""SNIPS intents to single-turn dialogue state tracking (paper, section 4.1 and Figure 4)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from coalm_oumi import prompts
from coalm_oumi.errors import CoalmError
from coalm_oumi.jsontext import Json, dumps, read_json
from coalm_oumi.sample import Sample
from coalm_oumi.sources.rejected import RecordError, Rejected

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


def read(path: Path, *, intents: Sequence[str] = INTENTS) -> Iterator[Sample | Rejected]:
    """Yields one sample an utterance.

    Args:
        path: The folder that holds `train_<Intent>_full.json`, or one such file.
        intents: Keep only these intents, in the data and in the instruction's list. Fewer make a
            shorter prompt.

    Raises:
        CoalmError: No such file, it is not JSON of SNIPS's shape, or an intent is unknown.
    """
    for intent in intents:
        if intent not in INTENTS:
            raise CoalmError(f"unknown intent `{intent}`; SNIPS has {', '.join(INTENTS)}")
    text = instruction([intent for intent in INTENTS if intent in intents])
    files = sorted(path.glob("train_*_full.json")) if path.is_dir() else [path]
    if not files:
        raise CoalmError(f"{path}: no train_<Intent>_full.json here; point to SNIPS's raw folder")
    for file in files:
        for intent, records in _intents(file):
            if intent not in intents:
                continue
            for index, record in enumerate(records):
                where = f"{file}: {intent}[{index}]"
                try:
                    yield _sample(text, intent, record, f"snips/{intent}/{index}")
                except RecordError as error:
                    yield Rejected(where, str(error))


def _intents(file: Path) -> Iterator[tuple[str, list[Json]]]:
    # One file holds emoji as surrogate pairs, each half written as three bytes of its own.
    content = read_json(file, errors="surrogatepass")
    if not isinstance(content, dict):
        raise CoalmError(f"{file}: expected an object `{{Intent: [...]}}`, as SNIPS has it")
    for intent, records in content.items():
        if intent not in ONTOLOGY:
            raise CoalmError(f"{file}: unknown intent `{intent}`; known are {', '.join(INTENTS)}")
        if not isinstance(records, list):
            raise CoalmError(f"{file}: `{intent}` is not a list of utterances")
        yield intent, records


def _sample(text: str, intent: str, record: Json, dialogue_id: str) -> Sample:
    pieces = record.get("data") if isinstance(record, dict) else None
    if not isinstance(pieces, list) or not all(
        isinstance(piece, dict) and isinstance(piece.get("text"), str) for piece in pieces
    ):
        raise RecordError("`data` is not a list of pieces with a `text`")
    utterance = _clean("".join(piece["text"] for piece in pieces))
    if not utterance:
        raise RecordError("the utterance is empty")
    values: dict[str, str | list[str]] = {}
    for piece in pieces:
        slot = piece.get("entity")
        value = _clean(piece["text"])
        if slot is None or not value:
            continue
        if slot not in ONTOLOGY[intent]:
            raise RecordError(f"slot `{slot}` is not one of {intent}'s")
        # A slot that occurs twice keeps both values, in order of mention.
        earlier = values.get(slot)
        if earlier is None:
            values[slot] = value
        else:
            values[slot] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
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
