"""`coalm doctor`."""

from pathlib import Path
from typing import Annotated

from coalm_oumi.cli.arguments import recipe_option, report


def doctor(
    config: Annotated[
        Path | None,
        recipe_option("Also check access to the models and data that this recipe names on the Hub"),
    ] = None,
) -> None:
    """Check that everything is in place.

    The exit code is 1 if something must be fixed.
    """
    from coalm_oumi.oumi_plugin.doctor import examine

    report(examine(config))
