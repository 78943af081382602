"""Schema-Guided Dialogue to CRA samples (paper, section 4.1, Figures 6 and 7).

The thoughts come from recorded CRA transcripts if there are any. Otherwise they come from
templates over SGD's own annotations, so that the mixture can be built without an API key.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from coalm_oumi.core.jsontext import is_object
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import LeftOut, Sample
from coalm_oumi.data.cra import dialogue as cra
from coalm_oumi.data.cra import listing, transcript
from coalm_oumi.data.cra import sgd as raw
from coalm_oumi.data.cra.annotation import annotated_turns
from coalm_oumi.data.cra.dialogue import CraDialogue, Target
from coalm_oumi.data.cra.sgd import Scope, Signatures
from coalm_oumi.data.sources.raw import listed, raw_files, total_size
from coalm_oumi.data.sources.reader import Record, Rejected, Source, SourcePath


class SgdOptions(Options):
    """The options of the source `sgd`.

    Attributes:
        transcripts: A JSON Lines file of `{dialogue_id, text}`, the text as Table 6 asks for it.
            These dialogues take their turns from there.
        functions: Which functions a prompt lists: those of all services, as in Figure 6, or only
            those of the dialogue's services.
        signatures: Which arguments a prompt lists: the required ones, as in Figure 6, or also the
            optional ones with their defaults (`full`).
        max_results: The most results of a call that an observation keeps; null keeps all. Only
            results that the system mentions are kept, and it names at most three at once.
        closings: The share of samples to make of turns in which the system only says goodbye or
            asks for more. These are an eighth of all turns and nearly the same everywhere.
        targets: The samples of a turn: `action` (Figure 6), `response` (Figure 7), and `decision`,
            which the paper does not have: its target is the thought with the action or response.
    """

    transcripts: SourcePath | None = None
    functions: Scope = "all"
    signatures: Signatures = "required"
    max_results: int | None = Field(default=3, ge=0)
    closings: float = Field(default=1.0, ge=0, le=1)
    targets: list[Target] = Field(default_factory=lambda: list(cra.PAPER_TARGETS), min_length=1)


class Sgd:
    """Reads one split of SGD: two samples per turn with a call, one per turn without."""

    def __init__(self, path: Path, options: SgdOptions | None = None) -> None:
        """Opens the split.

        Args:
            path: The split's folder: `schema.json` and `dialogues_*.json`.
            options: The defaults, if not given.

        Raises:
            CoalmError: A file is missing or is not of SGD's shape.
        """
        self._options = options or SgdOptions()
        self._path = path
        self._services = raw.read_services(path)
        file = self._options.transcripts
        self._recorded: Mapping[str, str] = transcript.read(file) if file else {}
        self._files = raw_files(path, "dialogues_*.json", of="one split of SGD")
        self.size = total_size(self._files)

    def records(self) -> Iterator[Record | Rejected]:
        """Yields the dialogues, and the recorded transcripts that belong to no dialogue.

        Raises:
            CoalmError: A file is not a JSON list.
        """
        unmatched = set(self._recorded)
        for record in listed(self._files, of="dialogues"):
            if isinstance(record, Record) and is_object(record.content):
                unmatched.discard(str(record.content.get("dialogue_id")))
            yield record
        for name in sorted(unmatched):
            where = f"{self._options.transcripts}: {name}"
            yield Rejected(where, f"no dialogue of this id is in {self._path}")

    def samples(self, record: Record) -> list[Sample | LeftOut]:
        """Renders one dialogue.

        Raises:
            CoalmError: It is not of SGD's shape, or its recorded transcript cannot be parsed.
        """
        options, services = self._options, self._services
        name, used = raw.identify(record.content, services)
        functions = raw.distinct(
            raw.functions(services, used, options.functions, options.signatures)
        )
        if name in self._recorded:
            turns = listing.fit_turns(
                transcript.parse(self._recorded[name]), services, used, functions
            )
        else:
            turns = annotated_turns(
                record.content,
                services,
                listed=functions,
                max_results=options.max_results,
                closings=options.closings,
            )
        dialogue = CraDialogue(f"sgd/{self._path.name}/{name}", functions, turns)
        return list(cra.samples(dialogue, options.targets))


SOURCE = Source("cra", Sgd, SgdOptions)
