"""The one module that Oumi loads. Importing it registers what this package adds to Oumi."""

import coalm_oumi.data.datasets.mixture
import coalm_oumi.data.datasets.raw
import coalm_oumi.evaluation.api_bank.task
import coalm_oumi.evaluation.bfcl.task
import coalm_oumi.evaluation.held_out.task
import coalm_oumi.evaluation.multiwoz.task
import coalm_oumi.training.rewards.functions
import coalm_oumi.training.rewards.grpo
