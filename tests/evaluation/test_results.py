from coalm_oumi.evaluation.results import as_signatures


def test_functions_are_listed_with_the_types_of_their_arguments():
    schema = {"type": "dict", "properties": {"city": {"type": "string"}, "day": {}}}
    tools = [
        {"name": "weather", "parameters": schema},
        {"name": "add", "parameters": {"type": {"type": "str"}, "n": {"type": "int"}}},
        {"name": "now", "parameters": {}},
    ]
    assert as_signatures(tools) == "weather(city: string, day: any)\nadd(type: str, n: int)\nnow()"
