"""TRL's SFT trainer with three more options, which a recipe sets under `training.trainer_kwargs`.

Neither Oumi nor TRL has a hook for them; see `coalm_oumi.core.compat.replace_sft_trainer`. Without
the options, this is TRL's trainer.
"""

# TRL resolves its public names lazily, which the type checker does not see.
# pyright: standard, reportPrivateImportUsage=false

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
import trl
from typing_extensions import override

from coalm_oumi.core.compat import reported_by_oumi
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.training.masters import cast_trained, keep_masters
from coalm_oumi.training.model_folder import rewrite_configs
from coalm_oumi.training.trainer_options import TrainerOptions

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# The trainer may be installed twice: the classes that this module extends stay TRL's own.
_TrlConfig: type[trl.SFTConfig] = getattr(trl.SFTConfig, "original", trl.SFTConfig)
_TrlTrainer: type[trl.SFTTrainer] = getattr(trl.SFTTrainer, "original", trl.SFTTrainer)


@dataclass
class CoalmSftConfig(_TrlConfig):
    """TRL's options and ours.

    Attributes:
        adapter_dtype: The data type of the adapters: `float32`, or `bfloat16` like the base model.
            None leaves them in float32, as peft creates them. Then each LoRA layer casts its input,
            which is a quarter of the kernels of a step. For bfloat16 the optimizer keeps float32
            masters.
        max_row_tokens: Bounds the memory of a step. A longer padding-free row is computed in parts
            of whole samples, one after another, whose gradients add up to the row's.
        token_metrics: False leaves out entropy and accuracy of the tokens, for which the host waits
            for the GPU several times per step.
    """

    original = _TrlConfig

    adapter_dtype: str | None = field(
        default=None, metadata={"help": "Type of the adapters: float32 or bfloat16."}
    )
    max_row_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of a padding-free row to compute at once."}
    )
    token_metrics: bool = field(
        default=True, metadata={"help": "Log entropy and accuracy of the tokens."}
    )

    @reported_by_oumi
    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            CoalmError: One has a value that it cannot have.
        """
        self._check()  # first: Transformers 4 sets environment variables for FSDP
        if not torch.cuda.is_available():
            # Transformers refuses TF32 without a GPU. A recipe that is tried on a CPU computes
            # plain float32.
            self.tf32 = None
        if not self.token_metrics:
            # Oumi always sets this. Looking for NaN in each step would wait for the GPU as well.
            self.logging_nan_inf_filter = False
        super().__post_init__()

    def _check(self) -> None:
        own = {name: getattr(self, name) for name in TrainerOptions.model_fields}
        TrainerOptions.read(own, where="training.trainer_kwargs")
        # Oumi passes its `fsdp` section as a variable of Accelerate; the trainer's own is `fsdp`.
        sharded = bool(self.fsdp) or os.environ.get("ACCELERATE_USE_FSDP") == "true"
        if self.adapter_dtype == "bfloat16" and sharded:
            raise CoalmError(
                "training.trainer_kwargs.adapter_dtype: FSDP casts adapters itself; remove it and "
                "set fsdp.mixed_precision"
            )
        if self.max_row_tokens is None:
            return
        if not self.padding_free:
            raise CoalmError(
                "training.trainer_kwargs.max_row_tokens: only a padding-free row has parts; add "
                "padding_free: true"
            )
        if sharded:
            raise CoalmError(
                "training.trainer_kwargs.max_row_tokens: FSDP needs the same number of forward "
                "passes on every GPU, and rows differ; set per_device_train_batch_size to 1 instead"
            )


class CoalmSftTrainer(_TrlTrainer):
    """TRL's trainer with the options of `CoalmSftConfig`."""

    original = _TrlTrainer
    args: CoalmSftConfig

    @reported_by_oumi
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Builds the trainer, and casts the adapters if a recipe asks for it.

        Raises:
            CoalmError: The recipe asks for it, and the model has no adapters.
        """
        super().__init__(*args, **kwargs)
        self._cast_adapters()

    def _cast_adapters(self) -> None:
        dtype = getattr(self.args, "adapter_dtype", None)
        if dtype is None:
            return
        if not isinstance(self.model, peft.PeftModel):
            raise CoalmError(
                "training.trainer_kwargs.adapter_dtype: the model has no adapters; set "
                "training.use_peft: true, or remove adapter_dtype"
            )
        cast_trained(self.model, _DTYPES[dtype])

    @override
    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Builds the optimizer once, with float32 masters for adapters in bfloat16."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and getattr(self.args, "adapter_dtype", None) == "bfloat16":
            keep_masters(optimizer)
        return optimizer

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads a checkpoint, and casts the adapters again: peft has loaded them in float32."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._cast_adapters()

    @override
    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Saves model and tokenizer so that Transformers 4.57 reads them as well."""
        super()._save(output_dir, state_dict)
        rewrite_configs(Path(output_dir or self.args.output_dir or "."))

    @override
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Computes loss and gradients of a batch, part by part if its row is too long.

        The loss of each part is divided by the targets of the whole step (`num_items_in_batch`), so
        that the parts add up.
        """
        budget = getattr(self.args, "max_row_tokens", None)
        parts = [inputs]
        if budget is not None and inputs["input_ids"].shape[1] > budget:
            if num_items_in_batch is None:
                raise CoalmError(
                    "training.trainer_kwargs.max_row_tokens: this model does not take the number "
                    "of targets of a step, so parts of a row cannot be weighted"
                )
            parts = split_row(inputs, budget)
        losses: list[torch.Tensor] = []
        for part in parts[:-1]:
            # DDP exchanges gradients once, with the last part.
            with self.accelerator.no_sync(model):
                losses.append(super().training_step(model, part, num_items_in_batch))
        losses.append(super().training_step(model, parts[-1], num_items_in_batch))
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Computes the loss, and TRL's metrics unless a recipe leaves them out."""
        if getattr(self.args, "token_metrics", True) or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = {**inputs, "use_cache": False}
        if self.args.use_liger_kernel:
            inputs["skip_logits"] = True
            inputs["use_token_scaling"] = self.args.loss_type == "dft"
        # The method of TRL's parent class, to which TRL adds only the metrics.
        return transformers.Trainer.compute_loss(
            self, model, inputs, return_outputs, num_items_in_batch
        )


def split_row(inputs: Mapping[str, torch.Tensor], budget: int) -> list[dict[str, torch.Tensor]]:
    """Splits a padding-free row into parts of whole samples.

    Args:
        inputs: Tensors of shape (1, tokens): `input_ids`, `labels` and `position_ids`, which start
            from 0 at each sample.
        budget: The tokens of a part. A longer sample is a part by itself.

    Returns:
        The parts, in order. Each has at least one sample.
    """
    starts: list[int] = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], inputs["position_ids"].shape[1]]
    bounds = [0]
    for start, end in zip(starts, ends, strict=True):
        if end - bounds[-1] > budget and start > bounds[-1]:
            bounds.append(start)
    bounds.append(ends[-1])
    return [
        {name: values[:, first:last] for name, values in inputs.items()}
        for first, last in itertools.pairwise(bounds)
    ]
