"""The one module that Oumi loads. Importing it registers what this package adds to Oumi."""

import coalm_oumi.datasets.grpo
import coalm_oumi.datasets.mixture
import coalm_oumi.datasets.raw
import coalm_oumi.evaluation.multiwoz.task
import coalm_oumi.evaluation.tasks
import coalm_oumi.rewards.functions  # noqa: F401
