"""The one module that Oumi loads. Importing it registers what this package adds to Oumi."""
# pyright: reportUnusedImport=false

import importlib
import importlib.util
import pkgutil

import coalm_oumi.agent.mcp_tools
import coalm_oumi.agent.python_tools
import coalm_oumi.data.datasets.mixture
import coalm_oumi.data.datasets.raw
import coalm_oumi.evaluation.multiwoz.world
import coalm_oumi.training.rewards.functions
import coalm_oumi.training.rewards.grpo
from coalm_oumi import evaluation
from coalm_oumi.core.compat import replace_sft_trainer
from coalm_oumi.training.trainer import CoalmSftConfig, CoalmSftTrainer

# A benchmark is a folder with a module `task`, which is found by name and needs no line here.
for _folder in pkgutil.iter_modules(evaluation.__path__):
    _task = f"{evaluation.__name__}.{_folder.name}.task"
    if _folder.ispkg and importlib.util.find_spec(_task):
        importlib.import_module(_task)

replace_sft_trainer(CoalmSftConfig, CoalmSftTrainer)
