"""Basics for every room: the error, the sample, function signatures, token counts, JSON text.

Imports no other room, and neither Oumi nor a model library.
"""

from coalm_oumi.core.errors import CoalmError, WriteError
from coalm_oumi.core.finding import Finding
from coalm_oumi.core.function import Function
from coalm_oumi.core.jsontext import Json, dumps, loads, loads_model
from coalm_oumi.core.sample import DOMAINS, Domain, Sample
from coalm_oumi.core.usage import Usage

__all__ = [
    "DOMAINS",
    "CoalmError",
    "Domain",
    "Finding",
    "Function",
    "Json",
    "Sample",
    "Usage",
    "WriteError",
    "dumps",
    "loads",
    "loads_model",
]
