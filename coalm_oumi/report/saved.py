"""The files that runs leave behind, as typed records for the report; see `files.saved`."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from coalm_oumi.core.jsontext import Json
from coalm_oumi.files.saved import Saved


class MadeWith(Saved):
    """The description of a run by `coalm_oumi.files.provenance`, and the hash of its samples."""

    git: str | None = None
    packages: Mapping[str, str] = Field(default_factory=dict[str, str])
    hardware: str | None = None
    data: str | None = None
    prompts: str | None = None
    samples: str | None = None


class Manifest(Saved):
    """`manifest.json` of a mixture. `samples` are counts by split and source."""

    samples: Mapping[str, Mapping[str, int]]
    config: Json = None
    coalm_oumi: str = ""


class SourceTokens(Saved):
    """Counts of one source, or of all as `total`."""

    source: str
    samples: int
    tokens: int
    tokens_per_sample: float


class Histogram(Saved):
    """The number of samples of each source between two edges of length, in tokens."""

    edges: Sequence[float]
    samples: Mapping[str, Sequence[int]]


class Stats(Saved):
    """`stats.json` of a mixture. `window` is the model's context in tokens."""

    window: int
    sources: Sequence[SourceTokens]
    histogram: Histogram | None = None


class FinishedStage(Saved):
    """A finished stage of `coalm reproduce`."""

    seconds: float
    made_with: MadeWith


class LogEntry(Saved):
    """An entry of the log of Transformers' trainer, at one step or at the end."""

    step: int = 0
    loss: float | None = None
    learning_rate: float = float("nan")
    train_runtime: float | None = None


class TrainerState(Saved):
    """`trainer_state.json` of Transformers' trainer."""

    log_history: Sequence[LogEntry]


class TaskParams(Saved):
    """`task_params.json` of an evaluation by Oumi."""

    task_name: str | None = None


class Packages(Saved):
    """`package_versions.json` of an evaluation by Oumi: packages that influence scores."""

    oumi: str | None = None
    torch: str | None = None
    transformers: str | None = None
    peft: str | None = None
    trl: str | None = None
    datasets: str | None = None
    lm_eval: str | None = None


class HarnessCount(Saved):
    """The number of samples of a task that LM Evaluation Harness asked."""

    effective: int


class Harness(Saved):
    """`backend_config.json` of LM Evaluation Harness; empty for other evaluations."""

    counts: Mapping[str, HarnessCount] = Field(
        default_factory=dict[str, HarnessCount], alias="n-samples"
    )
    versions: Mapping[str, int | float | str] = Field(default_factory=dict[str, int | float | str])


class Account(Saved):
    """The cost of a model in an evaluation."""

    usd: float | None = None


class TaskValues(Saved):
    """The values of a task of this package other than its metrics."""

    num_samples: int | None = None
    answers: str | None = None
    task_version: int | None = None
    style: str | None = None
    sizes: Mapping[str, int] = Field(default_factory=dict[str, int])
    right_irrelevance: Mapping[str, int] = Field(default_factory=dict[str, int])
    too_long: Mapping[str, int] = Field(default_factory=dict[str, int])
    target_loss: float | None = None
    spent: Mapping[str, Account] = Field(default_factory=dict[str, Account])
    made_with: MadeWith = MadeWith()
