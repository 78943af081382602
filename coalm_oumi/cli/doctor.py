"""`coalm doctor`."""

import typer


def doctor() -> None:
    """Check that everything is in place."""
    from coalm_oumi.oumi_plugin.doctor import examine

    healthy = True
    for finding in examine():
        healthy = healthy and finding.ok
        print(finding)
    if not healthy:
        raise typer.Exit(1)
