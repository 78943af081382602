"""A prepared mixture: one that `coalm build` wrote, your own file, or the published CoALM-IT."""
# pyright: standard

from pathlib import Path
from typing import Any, cast

import datasets
from oumi.core.registry import register_dataset
from typing_extensions import override

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options, Text
from coalm_oumi.data.datasets.base import SampleDataset
from coalm_oumi.data.mixture.store import as_samples, check_split, read_samples, split_files

HUB_ID = "uiuc-convai/CoALM-IT"
"""The mixture that the paper's authors published."""

NAME = "coalm-oumi/mixture"


class MixtureOptions(Options):
    """The types of what `MixtureDataset` takes of `dataset_kwargs` beside `SampleOptions`."""

    hub_id: Text
    strict: bool


@register_dataset(NAME)
class MixtureDataset(SampleDataset):
    """A mixture that `coalm build` wrote, your own records, or the published mixture.

    Example:
        A recipe's part::

            data:
              train:
                datasets:
                  - dataset_name: coalm-oumi/mixture
                    dataset_path: data/coalm_it   # default: the published one, from the Hub
                    dataset_kwargs: {domains: [tod, la]}
                collator_name: text_with_padding

        From Python, with a folder that `coalm build` wrote and a tokenizer of Transformers:

        >>> dataset = MixtureDataset(dataset_path=folder, tokenizer=tokenizer, domains=["tod"])
        >>> dataset.samples.column_names
        ['instruction', 'input', 'output', 'source', 'domain', 'dialogue_id']
        >>> sorted(dataset[0])
        ['input_ids', 'labels']
        >>> len(dataset.to_hf()) <= len(dataset)   # samples over the model's length are dropped
        True
    """

    @reported_by_oumi
    def __init__(
        self,
        *,
        dataset_name: str = NAME,
        hub_id: str = HUB_ID,
        strict: bool = False,
        **options: Any,
    ) -> None:
        """Loads the mixture.

        Args:
            dataset_name: The name that a recipe gives it.
            hub_id: The data set to take from the Hub if no `dataset_path` is given.
            strict: Stop at the first record that is not a sample, instead of leaving it out.
            **options: Those of `SampleDataset`.
        """
        self._check(MixtureOptions, hub_id=hub_id, strict=strict)
        self._hub_id = hub_id
        self._strict = strict
        super().__init__(dataset_name=dataset_name, **options)

    @override
    def _place(self) -> str:
        return str(self.dataset_path or self._hub_id)

    @override
    def _read(self) -> tuple[datasets.Dataset, bool]:
        split = self.split or "train"
        if self.dataset_path is None:
            table, is_split = self._from_hub(split)
            return as_samples(table, self._place(), strict=self._strict), is_split
        files, is_split = split_files(Path(self.dataset_path), split)
        return read_samples(files, strict=self._strict), is_split

    def _from_hub(self, split: str) -> tuple[datasets.Dataset, bool]:
        """Loads a data set from the Hub.

        Returns:
            The samples, and True if they are only those of the split, because the data set has a
            validation split and nothing needs to be held out.
        """
        check_split(split)
        try:
            splits = datasets.load_dataset(self._hub_id)
        except Exception as error:  # the Hub client raises errors of many libraries
            raise CoalmError(
                f"{self._hub_id}: unavailable from the Hugging Face Hub ({error}). Set "
                "`dataset_path` to a mixture on disk; `coalm build` makes one"
            ) from error
        if "train" not in splits:
            raise CoalmError(
                f"{self._hub_id}: has no split `train`; it has {', '.join(map(str, splits))}"
            )
        is_split = "validation" in splits
        return cast(Any, splits)[split if is_split else "train"], is_split
