"""Installs packages into the environment of this Python: `python .ci/install.py -e '.[dev]'`.

The arguments are those of `pip install`. uv does the work in a fraction of pip's time. It does not
read pip's settings, so this script passes them on. If uv is unavailable or fails, pip installs.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Callable

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
VARIABLES: dict[str, tuple[str, Callable[[str], str]]] = {
    "index-url": ("UV_DEFAULT_INDEX", str),
    "extra-index-url": ("UV_INDEX", lambda value: " ".join(value.split())),
    "find-links": ("UV_FIND_LINKS", lambda value: ",".join(value.split())),
    "constraint": ("UV_CONSTRAINT", lambda value: " ".join(value.split())),
    "trusted-host": ("UV_INSECURE_HOST", lambda value: " ".join(value.split())),
    "cert": ("SSL_CERT_FILE", str),
    "default-timeout": ("UV_HTTP_TIMEOUT", str),
}
"""uv's variable of each of pip's settings, and how it is written there."""


def pip_settings() -> dict[str, str]:
    """Reads pip's settings from its files and from the environment, which comes first."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True)
    settings: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        target = from_environment if section == ":env:" else settings
        target[key] = ast.literal_eval(value)
    return settings | from_environment


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Returns the environment in which uv looks where pip would."""
    # pip takes the newest version of all indexes; uv's default is the first index with the name.
    passed_on = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for key, (variable, write) in VARIABLES.items():
        if key in settings:
            passed_on[variable] = write(settings[key])
    return passed_on | os.environ


def main(arguments: list[str]) -> int:
    """Installs by uv, or else by pip."""
    if subprocess.run([*PIP, "install", "--quiet", "uv"]).returncode == 0:
        command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
        environment = uv_environment(pip_settings())
        if subprocess.run([*command, *arguments], env=environment).returncode == 0:
            return 0
        print("uv could not install these: pip tries", file=sys.stderr)
    return subprocess.run([*PIP, "install", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
