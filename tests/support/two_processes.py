"""Runs trainings through Oumi's own `train` in each process of a torchrun, on CPUs.

    torchrun --nproc-per-node 2 tests/support/two_processes.py '[["recipe.yaml", "key=value", …], …]'

What is not as on GPUs, because Oumi, Accelerate and PyTorch take none but those: the process group is
gloo's in place of NCCL's; Accelerate is told, for FSDP, that these are GPUs, whose device is the CPU; rank 0 does not broadcast the weights, each process reads them; and FSDP leaves weights where they
are when it saves them, as they are on the CPU already. Everything else is the real thing.
"""

import contextlib
import itertools
import json
import os
import sys

import oumi.train
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from oumi.core.configs import TrainingConfig
from oumi.core.distributed import prepare_accelerate_fsdp_run, set_random_seeds
from torch.distributed.fsdp._flat_param import FlatParamHandle

store, rank, world_size = next(iter(torch.distributed.rendezvous("env://")))
numbers = itertools.count()


def join_by_gloo(timeout_minutes: float | None = None) -> None:
    """Joins a separate group for each run: they meet in one store."""
    own = torch.distributed.PrefixStore(f"run {next(numbers)}", store)
    torch.distributed.init_process_group("gloo", store=own, rank=rank, world_size=world_size)


def prepare_without_broadcast(config: TrainingConfig) -> dict[str, str]:
    variables = prepare_accelerate_fsdp_run(config)
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    os.environ["FSDP_SYNC_MODULE_STATES"] = "false"
    return variables


def stay_on_cpu(state: PartialState) -> None:
    state.device = torch.device("cpu")


oumi.train.init_distributed = join_by_gloo  # pyright: ignore[reportAttributeAccessIssue]
oumi.train.prepare_accelerate_fsdp_run = prepare_without_broadcast
PartialState.set_device = stay_on_cpu
FlatParamHandle.to_cpu = lambda _: contextlib.nullcontext()

environment = dict(os.environ)
for recipe, *changes in json.loads(sys.argv[1]):
    config = TrainingConfig.from_yaml_and_arg_list(recipe, changes)
    config.finalize_and_validate()
    sharded = config.fsdp.enable_fsdp or config.training.trainer_kwargs.get("fsdp", False)
    kind = DistributedType.MULTI_GPU if sharded else DistributedType.MULTI_CPU
    PartialState._prepare_backend = lambda *_, kind=kind, **__: ("gloo", kind)
    set_random_seeds(config.training.seed, config.training.use_deterministic)
    oumi.train.train(config)
    os.environ.clear()  # Accelerate's variables of one run are not the next one's
    os.environ.update(environment)
