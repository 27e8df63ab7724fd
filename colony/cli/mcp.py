"""`colony mcp`."""

from __future__ import annotations

import click

from colony.cli.session import Session, pass_session


@click.command()
@pass_session
def mcp(session: Session) -> None:
    """Serve tools for coding agents on stdio, in the Model Context Protocol.

    For example in Claude Code: claude mcp add colony -- colony mcp
    """
    from colony.mcp import serve

    serve(session.client)
