import pytest

from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.sample import Sample
from coalm_oumi.evaluation.react.data import listed_functions, questions
from coalm_oumi.evaluation.react.metrics import judge, metrics, observed_values

TOOLS = """[BEGIN OF AVAILABLE TOOLS]
1. FindBus(from_city, to_city, date)
2. FindBus(origin, destination)
3. BuyTicket(event, seats=1)
[END OF AVAILABLE TOOLS]
[BEGIN OF CONVERSATION HISTORY]
User: Hello.
System: How can I help?
[END OF CONVERSATION HISTORY]"""


def sample(text: str, output: str, instruction: str = TOOLS) -> Sample:
    return Sample(instruction, text, output, "sgd", "cra", "sgd/d1")


ACTION = sample(
    "User: Two tickets for the jazz night.\nThought: I should buy them.",
    "Action: BuyTicket(event='Jazz Night', seats=2)",
)
AFTER_CALL = sample(
    "User: Two tickets for the jazz night.\nThought: I should buy them.\n"
    "Action: BuyTicket(event='Jazz Night', seats=2)\n"
    'Observation: [{"event": "Jazz Night", "price": 18, "door": "8:30 pm", "sold_out": false}]\n'
    "Thought: It worked.",
    "System: Your tickets for Jazz Night cost 18 dollars; doors open at 8:30 pm.",
    "no tools here",
)
CHAT = sample("User: Thank you!\nThought: Nothing to look up.", "System: You are welcome.", "none")


def asked():
    return {
        (q.kind, q.call is not None): q for q in questions([ACTION, AFTER_CALL, CHAT], place="x")
    }


def test_each_turn_is_decided_once_from_the_users_words_alone():
    made = questions([ACTION, AFTER_CALL, CHAT], place="x")
    assert [(q.kind, q.call is not None) for q in made] == [
        ("action", True), ("response", False), ("response", False),
        ("decision", True), ("decision", False),
    ]  # fmt: skip
    decision = made[3].sample
    assert decision.input == "User: Two tickets for the jazz night."
    assert "FindBus(origin, destination)" in decision.instruction
    assert "User: Hello.\nSystem: How can I help?" in decision.instruction


def test_a_mixture_with_decisions_brings_them():
    given = sample("User: Hi.", "Thought: A greeting.\nSystem: Hello!")
    made = questions([ACTION, given], place="x")
    assert [(q.kind, q.call is not None) for q in made] == [("action", True), ("decision", False)]


def test_the_listed_functions():
    names = [(f.name, f.required, dict(f.optional)) for f in listed_functions(TOOLS)]
    assert names == [
        ("FindBus", ("from_city", "to_city", "date"), {}),
        ("FindBus", ("origin", "destination"), {}),
        ("BuyTicket", ("event",), {"seats": "1"}),
    ]


@pytest.mark.parametrize(
    ("text", "correct", "failure"),
    [
        ("Action: BuyTicket(event='Jazz Night', seats=2)", True, None),
        ("Action: BuyTicket(event='Jazz Night', seats=3)", False, "wrong argument"),
        ("Action: BuyTicket(event='Jazz Night', seats='2')", False, "wrong type"),
        ("Action: FindBus(origin='a', destination='b')", False, "wrong function"),
        ("System: Which event?", False, "missing call"),
        ("", False, "format"),
    ],
)
def test_actions(text: str, correct: bool, failure: str | None):
    verdict = judge(asked()["action", True], text)
    assert verdict.correct == correct
    assert (verdict.failure.value if verdict.failure else None) == failure


def test_the_arguments_of_actions():
    question = asked()["action", True]
    texts = [
        "Action: BuyTicket(event='Jazz Night', seats=2)",  # 2 of 2
        "Action: BuyTicket(event='Jazz Night')",  # 1 of 1, one missing
        "System: Which event?",
    ]
    scores = metrics([judge(question, text) for text in texts])
    assert scores["action_exact"] == pytest.approx(1 / 3)
    assert scores["action_function"] == pytest.approx(2 / 3)
    assert scores["action_argument_precision"] == 1
    assert scores["action_argument_recall"] == pytest.approx(3 / 6)
    assert scores["action_argument_f1"] == pytest.approx(6 / 9)


def test_responses_say_the_values_of_the_observation():
    (question,) = [q for q in questions([ACTION, AFTER_CALL], place="x") if q.kind == "response"]
    assert observed_values(question.observation) == ["jazz night", "18", "8:30 pm"]
    right = judge(question, AFTER_CALL.output)
    assert right.correct and right.values == (3, 3)
    wrong = judge(question, "System: Jazz Night costs 180 dollars; doors open at 18:30 pm.")
    assert not wrong.correct and wrong.values == (3, 1) and wrong.failure == "wrong answer"
    scores = metrics([right, wrong])
    assert scores["response_values"] == pytest.approx(4 / 6)
    assert scores["response_rouge_l"] < 1
    assert metrics([right]).keys() == {"response_bleu_4", "response_rouge_l", "response_values"}
    assert metrics([right])["response_bleu_4"] == pytest.approx(1)


def test_decisions():
    act, answer = asked()["decision", True], asked()["decision", False]
    call, reply = "Thought: x\nAction: BuyTicket(event='a')", "Thought: x\nSystem: Hi."
    verdicts = [judge(act, call), judge(act, reply), judge(answer, call), judge(answer, reply)]
    assert [v.correct for v in verdicts] == [True, False, False, True]
    assert [v.failure for v in verdicts] == [None, "missing call", "over-calling", None]
    scores = metrics(verdicts)
    assert (scores["decision_accuracy"], scores["decision_precision"]) == (0.5, 0.5)
    assert scores["decision_recall"] == 0.5


def test_python_literals_and_words_in_observations():
    assert observed_values("[{'name': 'A b', 'n': 2.0}]") == ["a b", "2"]
    assert observed_values("Nothing was found.") == []


def test_a_target_that_is_neither():
    with pytest.raises(CoalmError, match="sgd/d1: the target is neither"):
        questions([sample("User: Hi.", "Hello!")], place="mixture")
