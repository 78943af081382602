"""A small MultiWOZ in the published form, written by hand: databases, dialogues, split lists."""

import json
from pathlib import Path
from typing import Any

DATABASES: dict[str, list[dict[str, Any]]] = {
    "restaurant": [
        {"name": "the copper pot", "area": "centre", "pricerange": "cheap", "food": "indian",
         "phone": "01223000001", "postcode": "cb11aa", "address": "1 Mill Road City Centre"},
        {"name": "blue door", "area": "north", "pricerange": "expensive", "food": "british",
         "phone": "01223000002", "postcode": "cb12bb", "address": "2 High Street"},
        {"name": "green door", "area": "north", "pricerange": "cheap", "food": "british",
         "postcode": "cb13cc", "address": "3 High Street"},
    ],
    "hotel": [
        {"name": "oak guest house", "type": "guesthouse", "area": "north", "internet": "yes",
         "parking": "no", "pricerange": "moderate", "stars": "4", "phone": "01223000003",
         "address": "4 long road", "postcode": "cb14dd", "price": {"single": "40"}},
        {"name": "station hotel", "type": "hotel", "area": "east", "internet": "yes",
         "parking": "yes", "pricerange": "expensive", "stars": "3", "phone": "01223000004",
         "address": "5 station road", "postcode": "cb15ee", "price": {}},
    ],
    "attraction": [
        {"name": "museum of clocks", "type": "museum", "area": "west", "phone": "01223000005",
         "address": "6 west street", "postcode": "cb16ff", "entrance fee": "free"},
        {"name": "mill theatre", "type": "theatre", "area": "centre", "phone": "01223000006",
         "address": "7 mill lane", "postcode": "cb17gg", "entrance fee": "?"},
    ],
    "train": [
        {"trainID": "TR0001", "departure": "cambridge", "destination": "ely", "day": "monday",
         "leaveAt": "09:50", "arriveBy": "10:07", "price": "4.40 pounds", "duration": "17 minutes"},
        {"trainID": "TR0002", "departure": "cambridge", "destination": "ely", "day": "monday",
         "leaveAt": "11:50", "arriveBy": "12:07", "price": "4.40 pounds", "duration": "17 minutes"},
    ],
    "taxi": [{"taxi_colors": ["black", "red"], "taxi_types": ["toyota", "skoda"]}],
    "hospital": [{"department": "cardiology", "id": 0, "phone": "01223000007"}],
    "police": [{"name": "Police Station", "address": "Park", "id": 0, "phone": "01223000008"}],
}  # fmt: skip


def write_databases(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for domain, records in DATABASES.items():
        (folder / f"{domain}_db.json").write_text(json.dumps(records))
    return folder


def metadata(**slots: str) -> dict[str, Any]:
    """The annotation of a turn: `hotel_area="north"`, `hotel_book_day="monday"`."""
    found: dict[str, Any] = {}
    for domain in ("restaurant", "hotel", "attraction", "train", "taxi", "police", "hospital"):
        parts: dict[str, Any] = {"book": {"booked": []}, "semi": {}}
        for slot, value in slots.items():
            if slot.startswith(f"{domain}_book_"):
                parts["book"][slot.removeprefix(f"{domain}_book_")] = value
            elif slot.startswith(f"{domain}_"):
                parts["semi"][slot.removeprefix(f"{domain}_")] = value
        found[domain] = parts
    return found


def log(*turns: tuple[str, str, dict[str, str]]) -> list[dict[str, Any]]:
    return [
        half
        for user, system, slots in turns
        for half in (
            {"text": user, "metadata": {}},
            {"text": system, "metadata": metadata(**slots)},
        )
    ]


TABLE = {
    "goal": {
        "restaurant": {
            "info": {"food": "indian", "area": "centre"}, "fail_info": {"food": "thai", "area": "centre"},
            "reqt": ["phone"],
            "book": {"people": "2", "day": "friday", "time": "18:00", "invalid": False,
                     "pre_invalid": True},
            "fail_book": {"time": "19:00"},
        },
        "hotel": {}, "train": {}, "taxi": {}, "attraction": {}, "police": {}, "hospital": {},
        "message": ["Find an <span class='emphasis'>indian</span> place in the centre",
                    "Book it for friday at 19:00, or else 18:00"],
    },
    "log": log(
        ("Indian food in the centre, please.", "The Copper Pot?",
         {"restaurant_food": "indian", "restaurant_area": "centre",
          "restaurant_name": "not mentioned"}),
        ("Its phone number? And a table for two, friday 19:00.", "That time is taken.",
         {"restaurant_food": "indian", "restaurant_area": "centre",
          "restaurant_name": "the copper pot|copper pot", "restaurant_book_people": "2",
          "restaurant_book_day": "friday", "restaurant_book_time": "19:00"}),
        ("18:00 then.", "Booked.",
         {"restaurant_food": "indian", "restaurant_area": "centre",
          "restaurant_name": "the copper pot", "restaurant_book_people": "2",
          "restaurant_book_day": "friday", "restaurant_book_time": "18:00"}),
    ),
}  # fmt: skip

TRIP = {
    "goal": {
        "train": {"info": {"departure": "cambridge", "destination": "ely", "day": "monday",
                           "leaveAt": "10:00"},
                  "fail_info": {}, "reqt": ["trainID", "price"]},
        "taxi": {}, "hotel": {}, "restaurant": {}, "attraction": {}, "police": {}, "hospital": {},
        "message": ["A train to Ely"],
    },
    "log": log(
        ("A train to Ely on monday after 10:00.", "TR0002 for 4.40 pounds.",
         {"train_departure": "cambridge", "train_destination": "ely", "train_day": "monday",
          "train_leaveAt": "10:00"}),
    ),
}  # fmt: skip


def write_archive(folder: Path) -> Path:
    """Writes `data.json` and the split lists, with one dialogue that the field leaves out."""
    folder.mkdir(parents=True, exist_ok=True)
    long = {**TRIP, "log": log(("word " * 60, "Yes.", {}))}
    data = {"TABLE.json": TABLE, "TRIP.json": TRIP, "LONG.json": long, "VAL.json": TRIP,
            "TRAIN.json": TRIP}  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "testListFile.json").write_text("TABLE.json\nTRIP.json\nLONG.json\n")
    (folder / "valListFile.json").write_text("VAL.json\n")
    return folder
