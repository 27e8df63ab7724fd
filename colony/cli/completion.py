"""`colony completion bash|zsh|fish`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   eval "$(colony completion bash)"        in ~/.bashrc
    zsh    eval "$(colony completion zsh)"         in ~/.zshrc
    fish   colony completion fish | source         in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    top = context.find_root()
    print(kind(top.command, {}, "colony", "_COLONY_COMPLETE").source())
