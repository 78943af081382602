"""The base of the dataset classes: selects samples, and tokenises them for the trainer."""
# pyright: standard

import inspect
import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from datasets.config import HF_DATASETS_CACHE
from datasets.fingerprint import Hasher
from filelock import FileLock
from oumi.core.datasets import BaseSftDataset
from oumi.core.types.conversation import Conversation, Message, Role
from oumi.datasets.sft.alpaca import AlpacaDataset
from oumi.utils.logging import logger
from pydantic import Field, NonNegativeFloat
from typing_extensions import override

from coalm_oumi.core import compat
from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.jsontext import dumps
from coalm_oumi.core.options import HeldOutShare, Options, Seed, Text
from coalm_oumi.core.sample import TEXT_COLUMNS, Domain
from coalm_oumi.data.datasets import tokens
from coalm_oumi.data.datasets.tokens import IGNORE_INDEX, Encoded, encode, user_message
from coalm_oumi.data.datasets.turn import generation_prompt
from coalm_oumi.data.mixture.select import Selection, select
from coalm_oumi.files import provenance
from coalm_oumi.files.atomic import writing
from coalm_oumi.files.records import is_whole_arrow
from coalm_oumi.rendering import prompts
from coalm_oumi.rendering.chat_template import pin_template_date

TooLong = Literal["drop", "error"]


class SampleOptions(Options):
    """The types of what `SampleDataset` takes of `dataset_kwargs`."""

    domains: Sequence[Domain] | None = Field(default=None, min_length=1)
    sources: Sequence[Text] | None = Field(default=None, min_length=1)
    weights: Mapping[str, Annotated[NonNegativeFloat, Field(le=1000)]] | None = None
    validation_fraction: HeldOutShare = 0.0
    seed: Seed = 0
    max_length: int | None = Field(default=None, ge=1)
    too_long: TooLong = "drop"
    completion_mask: bool = False
    include_system_prompt: bool = False


class SampleDataset(BaseSftDataset):
    """Samples in Alpaca columns, each a conversation whose loss falls on the target only.

    The trainer gets token ids with labels, so a recipe with padding sets the collator
    `text_with_padding`. A sample longer than `max_length` (by default the tokenizer's
    `model_max_length`, which is the recipe's) is dropped or raises an error; it is never cut. The
    date that the tokenizer's chat template writes is pinned, and saved with the tokenizer.
    """

    default_dataset = None

    @reported_by_oumi
    def __init__(
        self,
        *,
        domains: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        validation_fraction: float = 0.0,
        seed: int = 0,
        max_length: int | None = None,
        too_long: TooLong = "drop",
        completion_mask: bool = False,
        include_system_prompt: bool = False,
        **oumi: Any,
    ) -> None:
        """Loads and selects the samples.

        Args:
            domains: Keep only these of `tod`, `la`, `cra` (the ablations of Table 5).
            sources: Keep only these sources, such as `snips`.
            weights: How often an epoch sees each sample of a source; 1 if not given. 0.5 takes a
                seeded half, 2 takes every sample twice.
            validation_fraction: The share of dialogues held out for `split: validation` if the
                data has no such split. The training recipe and the evaluation must set the same
                share and seed.
            seed: Seeds the split and the weights.
            max_length: The longest sample, in tokens. A recipe whose rows have no padding needs
                it, because Oumi's `model.model_max_length` makes the trainer pad.
            too_long: What to do with a longer sample: `drop` or `error`.
            completion_mask: Mark the target with a column `completion_mask` instead of `labels`.
                TRL packs samples with the former, and drops the latter.
            include_system_prompt: Send the system prompt of Oumi's Alpaca datasets ("Below is an
                instruction that describes a task ..."). Inference must send it as well.
            **oumi: Oumi's arguments of a dataset: path, split, tokenizer and so on.

        Raises:
            CoalmError: An unknown option, bad data, or no sample left.
        """
        self._reject_unknown(oumi)
        self._check(
            SampleOptions,
            domains=domains,
            sources=sources,
            weights=weights,
            validation_fraction=validation_fraction,
            seed=seed,
            max_length=max_length,
            too_long=too_long,
            completion_mask=completion_mask,
            include_system_prompt=include_system_prompt,
        )
        self._selection = Selection(domains, sources, weights or {}, validation_fraction, seed)
        self._longest = max_length
        self._too_long = too_long
        self._completion_mask = completion_mask
        self._include_system_prompt = include_system_prompt
        super().__init__(**oumi)
        if self._tokenizer is not None:
            pin_template_date(self._tokenizer)

    def _check(self, kind: type[Options], **given: Any) -> None:
        """Checks the types of options. YAML gives any, and Oumi passes them on.

        Raises:
            CoalmError: One is of another type. The message names it.
        """
        kind.read(given, where=f"dataset_kwargs of {type(self).__name__}")

    @abstractmethod
    def _read(self) -> tuple[datasets.Dataset, bool]:
        """Returns the samples, and whether they are only those of `self.split`."""

    def _place(self) -> str:
        """Names the data in an error."""
        return str(self.dataset_path or self.dataset_name)

    @override
    def _load_data(self) -> pd.DataFrame:
        # Oumi's type for data is a data frame. An Arrow table supports the same calls and stays on
        # disk, so that a rank does not hold the whole mixture in memory.
        table, is_split = self._read()
        data = Path(self.dataset_path) if self.dataset_path else None
        made_with = provenance.made_with(data=data, prompts=prompts.fingerprint_of(["alpaca"]))
        # Oumi keeps its log beside the model: `coalm report` reads the line there.
        logger.info(provenance.MARK + dumps({"place": self._place(), **made_with}))
        split = None if is_split else (self.split or "train")
        return cast(pd.DataFrame, select(table, self._selection, place=self._place(), split=split))

    @property
    def samples(self) -> datasets.Dataset:
        """The selected samples."""
        return cast(datasets.Dataset, self._data)

    @override
    def raw(self, idx: int) -> pd.Series:
        return cast(pd.Series, self.samples[int(idx)])

    @override
    def transform_conversation(self, example: Any) -> Conversation:
        """Makes one sample a conversation of one user turn and the target."""
        messages = [
            Message(role=Role.USER, content=user_message(example["instruction"], example["input"])),
            Message(role=Role.ASSISTANT, content=example["output"]),
        ]
        if system := self._system_prompt(example["input"]):
            messages.insert(0, Message(role=Role.SYSTEM, content=system))
        return Conversation(messages=messages)

    def _system_prompt(self, text: str) -> str:
        """Returns the system prompt of a sample with this input; empty if none is sent."""
        if not self._include_system_prompt:
            return ""
        if text:
            return AlpacaDataset.system_prompt_with_context
        return AlpacaDataset.system_prompt_without_context

    @override
    @reported_by_oumi
    def tokenize(self, sample: Any, tokenize: bool = True) -> dict[str, Any]:
        """Tokenises one conversation: `input_ids` and masked `labels`.

        Raises:
            CoalmError: It is longer than the model's length.
        """
        if not tokenize or not isinstance(sample, Conversation):
            return super().tokenize(sample, tokenize)
        *system, user, target = (str(message.content) for message in sample.messages)
        (encoded,) = encode(self._tokenizer, [user], [target], system or None)
        if len(encoded.input_ids) > self._max_length:
            instead = "use `to_hf()`, which drops it"
            raise CoalmError(self._too_long_message("a sample", len(encoded.input_ids), instead))
        return {"input_ids": encoded.input_ids, "labels": encoded.labels}

    @override
    @reported_by_oumi
    def to_hf(self, return_iterable: bool = False) -> Any:
        """Tokenises all samples in batches, once.

        The tokens go to an Arrow file in the cache of `datasets`, named by everything that they
        depend on. The ranks of a run share it: one writes it, the others wait and memory-map it.
        """
        if self._return_conversations or self._tokenizer is None:
            return super().to_hf(return_iterable)
        if return_iterable:
            return self._streamed()
        workers = compat.transform_workers(self)
        fingerprint = self._fingerprint()
        cached = Path(HF_DATASETS_CACHE) / "coalm_oumi" / f"{fingerprint}.arrow"
        with writing(cached):
            cached.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cached}.lock"), writing(cached):
            for file in cached.parent.glob(f"{fingerprint}*.arrow"):  # one of each worker
                if not is_whole_arrow(file):
                    logger.warning(f"{file}: the cached tokens are damaged; tokenizing again")
                    file.unlink()
            encoded = self.samples.with_format("arrow").map(
                self._encode_batch,
                batched=True,
                with_indices=True,
                remove_columns=self.samples.column_names,
                num_proc=workers if workers > 1 else None,
                cache_file_name=str(cached),
                load_from_cache_file=True,
                new_fingerprint=fingerprint,
                desc="Tokenizing",
            )
        encoded = encoded.with_format(None)
        dropped = len(self.samples) - len(encoded)
        if not len(encoded):
            raise CoalmError(
                f"{self._place()}: all {dropped} samples are longer than {self._max_length} "
                f"tokens; raise {self._max_length_option}"
            )
        if dropped:
            logger.warning(
                f"{self._place()}: dropped {dropped} of {len(self.samples)} samples that are "
                f"longer than {self._max_length} tokens; raise {self._max_length_option} to keep "
                "them"
            )
        return encoded

    def _streamed(self) -> datasets.IterableDataset:
        """Tokenises batch by batch as the trainer reads: the same rows, without a cache."""
        rows = self.samples.to_iterable_dataset().with_format("arrow")
        encoded = rows.map(
            self._encode_batch,
            batched=True,
            with_indices=True,
            remove_columns=self.samples.column_names,
        )
        return encoded.with_format(None)

    def _encode_batch(self, batch: pa.Table, indices: Sequence[int]) -> pa.Table:
        instructions, inputs, outputs = (batch[name].to_pylist() for name in TEXT_COLUMNS)
        users = [user_message(*pair) for pair in zip(instructions, inputs, strict=True)]
        systems = [self._system_prompt(text) for text in inputs]
        samples = encode(self._tokenizer, users, outputs, systems)
        kept: list[Encoded] = []
        for index, encoded in zip(indices, samples, strict=True):
            length = len(encoded.input_ids)
            if length <= self._max_length:
                kept.append(encoded)
            elif self._too_long == "error":
                raise CoalmError(self._too_long_message(f"sample {index}", length))
        return _as_table(kept, completion_mask=self._completion_mask)

    @property
    def _max_length(self) -> int:
        return self._longest or cast(Any, self._tokenizer).model_max_length

    @property
    def _max_length_option(self) -> str:
        return "`max_length` in dataset_kwargs" if self._longest else "`model.model_max_length`"

    def _too_long_message(
        self, what: str, length: int, otherwise: str = "set `too_long: drop`"
    ) -> str:
        whose = "`max_length`" if self._longest else "the model's"
        return (
            f"{self._place()}: {what} has {length} tokens, more than {whose} {self._max_length}; "
            f"raise {self._max_length_option}, or {otherwise}"
        )

    def _fingerprint(self) -> str:
        """Names the cached tokens. Everything that changes them must change the name.

        The trial prompts cover the Alpaca template, the chat template, and a date in it that cannot
        be pinned.
        """
        tokenizer = cast(Any, self._tokenizer)
        users = [user_message("Trial instruction", text) for text in ("Trial input", "")]
        trial = [generation_prompt(tokenizer, user) for user in users]
        return Hasher.hash(
            (
                compat.fingerprint(self.samples),
                tokenizer.backend_tokenizer.to_str(),
                tokenizer.chat_template,
                self._max_length,
                self._too_long,
                self._completion_mask,
                self._include_system_prompt,
                trial,
                tokens.VERSION,
            )
        )

    def _reject_unknown(self, given: Mapping[str, Any]) -> None:
        unknown = sorted(set(given) - compat.sft_dataset_options())
        if unknown:
            known = sorted(
                name
                for parent in type(self).__mro__
                if issubclass(parent, SampleDataset)
                for name, parameter in inspect.signature(parent.__init__).parameters.items()
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY
            )
            raise CoalmError(
                f"{type(self).__name__}: unknown dataset_kwargs {', '.join(unknown)}; "
                f"the options are {', '.join(dict.fromkeys(known))}"
            )


def _as_table(samples: Sequence[Encoded], *, completion_mask: bool) -> pa.Table:
    """Makes samples two list columns of 32-bit integers: `input_ids`, and where the loss falls."""
    lengths = [len(sample.input_ids) for sample in samples]
    ends = np.cumsum([0, *lengths], dtype=np.int32)
    tokens_of_all = itertools.chain.from_iterable(sample.input_ids for sample in samples)
    ids = np.fromiter(tokens_of_all, dtype=np.int32, count=int(ends[-1]))
    if completion_mask:
        name, marks, of_prompt = "completion_mask", np.ones_like(ids), 0
    else:
        name, marks, of_prompt = "labels", ids.copy(), IGNORE_INDEX
    for start, sample in zip(ends, samples, strict=False):
        marks[start : start + sample.prompt_length] = of_prompt
    columns = {"input_ids": ids, name: marks}
    return pa.table({key: pa.ListArray.from_arrays(ends, of) for key, of in columns.items()})
