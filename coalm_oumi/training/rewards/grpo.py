"""The mixture as prompts for reinforcement learning."""
# pyright: standard

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets.fingerprint import Hasher
from oumi.core.registry import register_dataset
from typing_extensions import override

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import COLUMNS, Sample
from coalm_oumi.data.datasets.mixture import MixtureDataset
from coalm_oumi.data.datasets.tokens import encode, user_message
from coalm_oumi.training.rewards import answers

VERSION = 1
"""Part of the name of cached rows. Raise it when `_encode_batch` gives different rows."""


@register_dataset("coalm-oumi/mixture_grpo")
class MixtureGrpoDataset(MixtureDataset):
    """The samples of `coalm-oumi/mixture` as prompts, for the trainer TRL_GRPO.

    Each row has `prompt`, the user's only message, and the sample's columns, which TRL passes to
    the reward functions of `coalm_oumi.training.rewards`. The dataset takes the options of
    `coalm-oumi/mixture`. A sample whose prompt and target are longer than `max_length` (by default
    `model.model_max_length`) is dropped or raises an error; it is never cut.

    Example:
        A recipe's part::

            data:
              train:
                datasets:
                  - dataset_name: coalm-oumi/mixture_grpo
                    dataset_path: data/coalm_it
                    dataset_kwargs: {domains: [la, cra]}
            training:
              trainer_type: TRL_GRPO
              reward_functions: [coalm-oumi/format, coalm-oumi/ast_match]
    """

    @override
    def to_hf(self, return_iterable: bool = False) -> Any:
        """Makes all prompts, once.

        Raises:
            CoalmError: The recipe sets `stream: true`, or a record is bad.
        """
        if return_iterable:
            raise CoalmError(f"{self.dataset_name}: set `stream: false`; prompts are not streamed")
        return super().to_hf()

    @override
    def _encode_batch(self, batch: pa.Table, indices: Sequence[int]) -> pa.Table:
        missing = [name for name in COLUMNS if name not in batch.column_names]
        if missing:
            raise CoalmError(
                f"{self._place()}: column `{missing[0]}` is missing, which the rewards need; "
                "`coalm build` writes it"
            )
        samples = [
            Sample.from_record(row, where=f"{self._place()}: record {index}")
            for index, row in zip(indices, batch.to_pylist(), strict=True)
        ]
        users = [user_message(sample.instruction, sample.input) for sample in samples]
        encoded = encode(self._tokenizer, users, [sample.output for sample in samples])
        rows: list[dict[str, object]] = []
        for index, sample, user, tokens in zip(indices, samples, users, encoded, strict=True):
            self._check_target(sample)
            length = len(tokens.input_ids)
            if length <= self._max_length:
                rows.append({"prompt": [{"role": "user", "content": user}], **sample.as_dict()})
            elif self._too_long == "error":
                raise CoalmError(self._too_long_message(f"sample {index}", length))
        return pa.Table.from_pylist(rows, schema=_SCHEMA)

    def _check_target(self, sample: Sample) -> None:
        """Refuses a target with which no answer can be compared, before a model is asked."""
        try:
            answers.target(sample)
        except CoalmError as error:
            raise CoalmError(
                f"{self._place()}: {sample.dialogue_id}: its target is not one of the domain "
                f"`{sample.domain}`: {error}; correct the record's domain or target"
            ) from error

    @override
    def _fingerprint(self) -> str:
        return Hasher.hash((super()._fingerprint(), VERSION, answers.VERSION))


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SCHEMA = pa.schema([("prompt", _MESSAGES), *((name, pa.string()) for name in COLUMNS)])
