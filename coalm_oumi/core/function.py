"""A function's signature: one type for the functions of every source."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coalm_oumi.core.jsontext import Json, is_object


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call.

    Attributes:
        name: Its name.
        description: What it does, in a short sentence.
        required: The arguments that every call gives.
        optional: The other arguments, with their defaults.
    """

    name: str
    description: str
    required: tuple[str, ...] = ()
    optional: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @classmethod
    def from_schema(cls, name: str, description: str, schema: Mapping[str, Json]) -> "Function":
        """Reads a function whose arguments a JSON Schema describes.

        An argument that is not required has the schema's default, None if it has none.
        """
        required = tuple(schema.get("required", ()))
        optional: dict[str, Json] = {}
        for argument, details in schema.get("properties", {}).items():
            if argument not in required:
                optional[argument] = details.get("default") if is_object(details) else None
        return cls(name, description, required, optional)

    def signature(self) -> str:
        """Writes the function as Figure 6 lists it, with defaults for optional arguments."""
        optional = (f"{name}={default!r}" for name, default in self.optional.items())
        return f"{self.name}({', '.join([*self.required, *optional])})"
