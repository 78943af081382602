"""The text of an answer, native tool calls included."""

from oumi.core.types.conversation import Message

from coalm_oumi.core.jsontext import Json, dumps, loads_model


def text_of(message: Message) -> str:
    """Returns what the model wrote; native tool calls as the JSON list of Figure 5."""
    if not message.tool_calls:
        return str(message.content or "")
    return dumps(
        [native_call(call.function.name, call.function.arguments) for call in message.tool_calls]
    )


def native_call(name: str, arguments: str) -> Json:
    """Returns a native call as a record of Figure 5. Arguments that are not JSON stay text."""
    try:
        return {"name": name, "arguments": loads_model(arguments or "{}")}
    except ValueError:
        return {"name": name, "arguments": arguments}
