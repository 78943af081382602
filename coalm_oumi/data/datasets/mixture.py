"""A prepared CoALM-IT mixture: what `coalm build` wrote, a file of one's own, or the hub's."""

from pathlib import Path
from typing import Any, cast

import datasets
from oumi.core.registry import register_dataset
from typing_extensions import override

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.data.datasets.base import SampleDataset
from coalm_oumi.data.mixture.store import check_columns, read_samples, split_files

HUB_ID = "uiuc-convai/CoALM-IT"
"""The mixture that the paper's authors published."""


@register_dataset("coalm-oumi/mixture")
class MixtureDataset(SampleDataset):
    """The whole mixture, from parquet or JSON Lines on disk, or from the hub.

    Example:
        A recipe's part::

            data:
              train:
                datasets:
                  - dataset_name: coalm-oumi/mixture
                    dataset_path: data/coalm_it   # without it: the published one, from the hub
                    dataset_kwargs: {domains: [tod, la]}
                collator_name: text_with_padding
    """

    @reported_by_oumi
    def __init__(self, *, hub_id: str = HUB_ID, **options: Any) -> None:
        """Loads the mixture.

        Args:
            hub_id: The data set to take from the hub where no `dataset_path` is given.
            **options: Those of `SampleDataset`.
        """
        self._hub_id = hub_id
        super().__init__(**options)

    @override
    def _place(self) -> str:
        return str(self.dataset_path or self._hub_id)

    @override
    def _read(self) -> tuple[datasets.Dataset, bool]:
        if self.dataset_path is None:
            table = self._from_hub()
            check_columns(table, self._place())
            return table, False
        files, is_split = split_files(Path(self.dataset_path), self.split or "train")
        return read_samples(files), is_split

    def _from_hub(self) -> datasets.Dataset:
        try:
            return cast(datasets.Dataset, datasets.load_dataset(self._hub_id, split="train"))
        except Exception as error:  # the hub client raises errors of many libraries
            raise CoalmError(
                f"{self._hub_id}: not to be had from the Hugging Face Hub ({error}). Set "
                "`dataset_path` to a mixture on disk; `coalm build` makes one"
            ) from error
