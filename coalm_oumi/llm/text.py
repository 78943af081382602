"""Native tool calls in messages, and the text of an answer that makes them."""

from oumi.core.types.conversation import Message
from oumi.core.types.tool_call import FunctionCall as NativeFunction
from oumi.core.types.tool_call import ToolCall

from coalm_oumi.core.jsontext import Json, dumps, loads_model
from coalm_oumi.formats.calls import FunctionCall


def text_of(message: Message) -> str:
    """Returns what the model wrote; native tool calls as the JSON list of Figure 5."""
    if not message.tool_calls:
        return str(message.content or "")
    return dumps(
        [native_call(call.function.name, call.function.arguments) for call in message.tool_calls]
    )


def tool_call(call: FunctionCall, call_id: str) -> ToolCall:
    """Writes a call as a message to the model holds it.

    Args:
        call: The call.
        call_id: Nine letters and digits, since Mistral's chat template takes no other.
    """
    arguments = dumps(dict(call.arguments))
    return ToolCall(id=call_id, function=NativeFunction(name=call.name, arguments=arguments))


def native_call(name: str, arguments: str) -> Json:
    """Returns a native call as a record of Figure 5. Arguments that are not JSON stay text."""
    try:
        return {"name": name, "arguments": loads_model(arguments or "{}")}
    except ValueError:
        return {"name": name, "arguments": arguments}
