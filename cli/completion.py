"""`movieapp completion`: shell completion of commands, options, and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for bash, zsh, or fish.

    \b
    Examples:
        eval "$(movieapp completion bash)"  # in ~/.bashrc
        eval "$(movieapp completion zsh)"   # in ~/.zshrc
        movieapp completion fish > ~/.config/fish/completions/movieapp.fish
    """
    script = get_completion_class(shell)
    assert script  # noqa: S101 - one for each of the choices
    click.echo(script(context.find_root().command, {}, "movieapp", "_MOVIEAPP_COMPLETE").source())
