"""The dataset classes that recipes name: importing this package registers them in Oumi."""

from coalm_oumi.datasets.mixture import MixtureDataset
from coalm_oumi.datasets.raw import HammerDataset, SgdDataset, SnipsDataset, ToolAceDataset

__all__ = ["HammerDataset", "MixtureDataset", "SgdDataset", "SnipsDataset", "ToolAceDataset"]
