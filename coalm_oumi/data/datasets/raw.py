"""The datasets `coalm-oumi/<source>`: raw records through the templates, without a build."""
# pyright: standard

from pathlib import Path
from typing import Any

import datasets
from oumi.core.registry import register_dataset
from oumi.utils.logging import logger
from typing_extensions import override

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.options import Options
from coalm_oumi.core.sample import Sample, deduplicated
from coalm_oumi.core.wording import counted
from coalm_oumi.data.datasets.base import SampleDataset
from coalm_oumi.data.sources import Rejected, open_source, read, source_names

PREFIX = "coalm-oumi/"


class RawOptions(Options):
    """The types of what `RawDataset` takes of `dataset_kwargs` beside `SampleOptions`."""

    strict: bool
    source_options: dict[str, Any] | None


class RawDataset(SampleDataset):
    """Samples rendered from a source's raw files.

    It is registered as `coalm-oumi/<name>` for every source, including those of other packages. The
    name of the dataset selects the source.
    """

    @reported_by_oumi
    def __init__(
        self, *, strict: bool = False, source_options: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Reads the raw files and renders every record.

        Args:
            strict: Stop at the first record that gives no sample, instead of counting it.
            source_options: The source's own options, such as `functions` for SGD.
            **options: Those of `SampleDataset`.
        """
        self._check(RawOptions, strict=strict, source_options=source_options)
        self._strict = strict
        self._source_options = source_options or {}
        super().__init__(**options)

    @override
    def _read(self) -> tuple[datasets.Dataset, bool]:
        source = self.dataset_name.removeprefix(PREFIX)
        if self.dataset_path is None:
            raise CoalmError(
                f"{self.dataset_name}: set `dataset_path` to the raw files of {source}"
            )
        samples: list[Sample] = []
        rejected: list[Rejected] = []
        for item in read(open_source(source, Path(self.dataset_path), self._source_options)):
            if isinstance(item, Sample):
                samples.append(item)
            elif self._strict:
                raise CoalmError(str(item))
            else:
                rejected.append(item)
        if rejected:
            logger.warning(
                f"{self.dataset_path}: {counted(len(rejected), 'record')} gave no sample "
                f"(`strict: true` stops instead), the first: {rejected[0]}"
            )
        if not samples:
            raise CoalmError(
                f"{self.dataset_path}: no record gave a sample; give the raw files of {source}"
            )
        return datasets.Dataset.from_list([s.as_dict() for s in deduplicated(samples)]), False


for _name in source_names():
    register_dataset(f"{PREFIX}{_name}")(RawDataset)
