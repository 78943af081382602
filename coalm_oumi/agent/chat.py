"""The terminal of `coalm chat`: a person talks to the agent, which calls tools in between."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from oumi.core.configs.params.tool_params import ToolParams
from rich.console import Console
from rich.text import Text

from coalm_oumi.agent.model import ChatModel
from coalm_oumi.agent.saved import save
from coalm_oumi.agent.session import AgentSession
from coalm_oumi.agent.toolbox import Confirm
from coalm_oumi.agent.turns import AgentTurn, Step
from coalm_oumi.core.errors import CoalmError
from coalm_oumi.core.wording import one_line
from coalm_oumi.formats.calls import FunctionCall, to_python
from coalm_oumi.formats.react import REPLY_LABELS, STOP_LABELS, label_at, number_of_actions

HELP = (
    "/trace shows the calls of the last turn, /tools the tools, /reset forgets the dialogue, "
    "/save FOLDER keeps it as training data, /quit leaves; Ctrl-C stops a turn"
)

_MAX_SHOWN = 400
"""Characters of an observation that the terminal shows; `/trace` shows all."""

# Control characters could move the cursor or fake the program's own lines.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_LABEL_LENGTH = 20
"""A line that has no colon within this many characters starts with no label."""


class Chat:
    """A chat in a terminal."""

    def __init__(
        self,
        console: Console,
        model: ChatModel,
        start: Callable[[], AgentSession],
        tools: Callable[[], Sequence[ToolParams]],
        read_line: Callable[[str], str],
    ) -> None:
        """Starts an empty dialogue.

        Args:
            console: Where to write.
            model: The model.
            start: Starts a session, with an empty world.
            tools: Returns the tools, for `/tools` and for saved dialogues.
            read_line: Asks the user for a line. Raises EOFError at the end.
        """
        self._console = console
        self._model = model
        self._start = start
        self._tools = tools
        self._read_line = read_line
        self._session = start()

    def run(self) -> None:
        """Talks until the user leaves."""
        self._note(HELP)
        while True:
            try:
                line = self._read_line("You: ").strip()
            except EOFError:
                self._console.print()
                return
            except KeyboardInterrupt:
                self._note("\n/quit or Ctrl-D leaves")
                continue
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                self._command(line)
            elif line:
                self.turn(line)

    def turn(self, user: str) -> str | None:
        """Takes one turn of the user. Returns the reply, None if the turn did not end."""
        self._session.hear(user)
        try:
            reply = self._take_steps()
        except KeyboardInterrupt:
            self._note("\nstopped; this turn is forgotten")
            return None
        except CoalmError as error:
            self._note(f"error: {one_line(error)}; this turn is forgotten")
            return None
        if self._session.ran_out:
            self._note(f"no reply within {len(self._session.turns[-1].steps)} steps")
            self._console.print(Text(clean(f"Agent: {reply}")))
        return reply

    def _take_steps(self) -> str:
        reply = None
        while reply is None:
            shown = StreamedAnswer(self._console)
            answer = self._model.ask(self._session.prompt(), shown.add)
            shown.end()
            before = len(self._session.steps)
            reply = self._session.take(answer.text, thought=answer.thought)
            if number_of_actions(answer.text) > 1:
                self._note("  only the first action runs; the model may ask for the next one then")
            for step in self._session.steps[before:]:
                if step.observation:
                    self._note(f"  {_observed(step, _MAX_SHOWN)}")
        return reply

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        if name == "/trace":
            self._trace()
        elif name == "/tools":
            for tool in self._tools():
                self._note(f"{tool.id}: {tool.description}")
        elif name == "/reset":
            self._session = self._start()
            self._note("a new dialogue")
        elif name == "/save" and argument.strip():
            self._save(Path(argument.strip()))
        elif name == "/save":
            self._note("name the folder: /save FOLDER")
        else:
            self._note(HELP)

    def _trace(self) -> None:
        if not self._session.turns:
            self._note("no turn yet")
            return
        for line in trace(self._session.turns[-1]):
            self._note(line)

    def _save(self, folder: Path) -> None:
        try:
            saved = save(folder, self._session.turns, self._tools())
        except (CoalmError, OSError) as error:
            self._note(f"error: {one_line(error)}")
            return
        self._note(f"{folder}: {saved.dialogue_id}, {saved.turns} turns")
        if saved.reason:
            self._note(f"later turns are left out: {saved.reason}")

    def _note(self, text: str) -> None:
        self._console.print(Text(clean(text), style="dim"))


def confirm_in(console: Console, read_line: Callable[[str], str]) -> Confirm:
    """Returns a function that asks in the terminal before a tool writes."""

    def confirm(tool: ToolParams, call: FunctionCall) -> bool:
        console.print(Text(f"  {clean(to_python(call))} changes something.", style="yellow"))
        try:
            answer = read_line("  Run it? [y/N] ")
        except EOFError:
            return False
        return answer.strip().lower() in ("y", "yes")

    return confirm


class StreamedAnswer:
    """Prints an answer as it arrives: the reply plain, thoughts and calls dimmed.

    Observations and words of the user are not shown, because the model imagined them.
    """

    def __init__(self, console: Console) -> None:
        """Prints nothing yet."""
        self._console = console
        self._waiting: str = ""
        self._style: str | None = None
        self._at_start = True
        self._ended = False
        self._is_empty = True

    def add(self, piece: str) -> None:
        """Prints what can be printed so far."""
        self._waiting += piece
        self._print(is_last=False)

    def end(self) -> None:
        """Prints the rest."""
        self._print(is_last=True)
        if not self._is_empty:
            self._console.print()

    def _print(self, *, is_last: bool) -> None:
        while self._waiting and not self._ended:
            if self._at_start:
                undecided = len(self._waiting) < _LABEL_LENGTH and not re.search(
                    r":[^\n]|\n", self._waiting
                )
                if undecided and not is_last:
                    return
                self._begin_line()
                continue
            line, newline, rest = self._waiting.partition("\n")
            self._write(line)
            self._waiting = rest
            if newline:
                self._write("\n")
                self._at_start = True

    def _begin_line(self) -> None:
        self._at_start = False
        label = label_at(self._waiting, 0)
        if label and label.name in STOP_LABELS:
            self._ended = True
        elif label and label.name in REPLY_LABELS:
            self._style = ""
            self._waiting = self._waiting[label.end :]
            self._write("Agent: ")
        elif label or self._waiting.lstrip().startswith(("[{", "{")):
            self._style = "dim"
        elif self._style is None:
            self._style = ""
            self._write("Agent: ")

    def _write(self, text: str) -> None:
        if text:
            self._is_empty = False
            self._console.print(Text(clean(text), style=self._style or ""), end="", soft_wrap=True)


def trace(turn: AgentTurn) -> list[str]:
    """Writes a turn with all its steps, in CoALM's form."""
    lines = [f"User: {turn.user}"]
    for step in turn.steps:
        decision = step.decision
        if decision is None:
            lines.append(f"(not readable) {step.response.strip()}")
        elif decision.thought:
            lines.append(f"Thought: {decision.thought}")
        if decision is not None and decision.call is not None:
            lines.append(f"Action: {to_python(decision.call)}")
        if step.observation:
            lines.append(_observed(step, len(step.observation)))
    return [*lines, f"System: {turn.reply}"]


def clean(text: str) -> str:
    """Removes control characters, with which a model or a tool could steer the terminal."""
    return _CONTROL.sub("", text)


def _observed(step: Step, limit: int) -> str:
    text = step.observation
    shown = text if len(text) <= limit else f"{text[:limit]} ... (/trace shows all)"
    return f"Observation: {shown}"
