"""The shape of a model: counted on the meta device, with the LoRA modules that peft adds."""
# pyright: standard

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import first_line

if TYPE_CHECKING:
    from oumi.core.configs import PeftParams
    from transformers import PretrainedConfig, PreTrainedModel

_LINEARS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model that decide memory and time, as numbers of elements.

    Attributes:
        name: The model's name.
        hidden: The width of the residual stream.
        intermediate: The width of the MLP.
        query: Heads times head size of the queries.
        key: Heads times head size of the keys (and of the values).
        heads: The number of query heads.
        layers: The number of decoder layers.
        vocabulary: The number of rows of the output layer.
        parameters: All parameters without the adapters; tied ones count once.
        layer_parameters: The parameters of one decoder layer.
        layer_linear: The parameters of one decoder layer's linear layers, without biases.
        largest_linear: The parameters of its largest linear layer.
        trainable: The trained parameters: the adapters, or all.
        adapted: For each LoRA module of one layer, its name and the width of its input. Empty
            without LoRA.
        rank: The rank of the adapters; 0 without LoRA.
    """

    name: str
    hidden: int
    intermediate: int
    query: int
    key: int
    heads: int
    layers: int
    vocabulary: int
    parameters: int
    layer_parameters: int
    layer_linear: int
    largest_linear: int
    trainable: int
    adapted: tuple[tuple[str, int], ...]
    rank: int

    @property
    def root_parameters(self) -> int:
        """Parameters outside the decoder layers: embeddings, final norm, output layer."""
        return self.parameters - self.layers * self.layer_parameters

    @property
    def multiplied(self) -> int:
        """Parameters by which each token is multiplied: linear layers and the output layer."""
        return self.layers * self.layer_linear + self.vocabulary * self.hidden


def published() -> dict[str, dict[str, Any]]:
    """Returns the models of `models.yaml` by name: `parameters` and `config`."""
    return yaml.safe_load(
        (files("coalm_oumi.training.plan") / "models.yaml").read_text(encoding="utf-8")
    )


def read_config(name: str, *, trust_remote_code: bool = False) -> "PretrainedConfig":
    """Finds a model's configuration: a folder's, the published one, or the Hub's.

    Raises:
        CoalmError: It is unavailable.
    """
    import transformers

    known = published().get(name)
    if known is not None and not Path(name).is_dir():
        fields: Mapping[str, Any] = known["config"]
        return transformers.AutoConfig.for_model(**fields)
    try:
        return transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise CoalmError(
            f"model.model_name {name}: no configuration can be read "
            f"({first_line(error)}); give the folder of one on disk, or add its shape to "
            "coalm_oumi/training/plan/models.yaml"
        ) from error


def measure(name: str, config: "PretrainedConfig", peft: "PeftParams | None") -> ModelShape:
    """Builds one layer of the model without memory and counts.

    Args:
        name: The model's name.
        config: Its configuration.
        peft: Oumi's LoRA parameters, or None if all parameters are trained.

    Raises:
        CoalmError: The plan does not know this kind of layers.
    """
    from peft import get_peft_model

    model = _with_one_layer(config)
    layer = _decoder_layer(name, model)
    linears = _linears(name, layer)
    others = int(config.num_hidden_layers) - 1
    layer_parameters = _count(layer)
    parameters = _count(model) + others * layer_parameters
    trainable, adapted = parameters, ()
    if peft is not None:
        get_peft_model(model, peft.to_lora())  # peft's layers follow the base layer's device
        trainable = _count(model, trained=True) + others * _count(layer, trained=True)
        adapted = tuple(
            (part.rpartition(".")[2], int(module.in_features))
            for part, module in layer.named_modules()
            if hasattr(module, "lora_A")
        )
    widths = {part.rpartition(".")[2]: count for part, count in linears.items()}
    hidden = int(config.hidden_size)
    return ModelShape(
        name=name,
        hidden=hidden,
        intermediate=int(config.intermediate_size),
        query=widths["q_proj"] // hidden,
        key=widths["k_proj"] // hidden,
        heads=int(config.num_attention_heads),
        layers=int(config.num_hidden_layers),
        vocabulary=int(config.vocab_size),
        parameters=parameters,
        layer_parameters=layer_parameters,
        layer_linear=sum(linears.values()),
        largest_linear=max(linears.values()),
        trainable=trainable,
        adapted=adapted,
        rank=peft.lora_r if peft is not None else 0,
    )


def _with_one_layer(config: "PretrainedConfig") -> "PreTrainedModel":
    """Builds a model with one of its layers, which are all alike, on the meta device."""
    import torch
    import transformers

    single = copy.deepcopy(config)
    single.num_hidden_layers = 1
    if getattr(single, "layer_types", None):
        single.layer_types = single.layer_types[:1]
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(single)


def _linears(name: str, layer: Any) -> dict[str, int]:
    """Returns the number of weights of each linear layer in a decoder layer."""
    import torch

    linears: dict[str, int] = {}
    for part, module in layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            linears[part] = module.weight.numel()
    found = {part.rpartition(".")[2] for part in linears}
    if found != _LINEARS:
        raise CoalmError(
            f"{name}: the plan knows decoder layers like Llama's ({', '.join(sorted(_LINEARS))}); "
            f"this one's are {', '.join(sorted(found))}"
        )
    return linears


def _count(module: Any, *, trained: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def _decoder_layer(name: str, model: Any) -> Any:
    layers: Sequence[Any] | None = getattr(model.base_model, "layers", None)
    if not layers:
        raise CoalmError(f"{name}: {type(model).__name__} is no decoder-only model with layers")
    return layers[0]
