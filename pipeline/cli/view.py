"""The command that shows a run in a viewer."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ddgm.pipeline.cli.options import Run
from ddgm.pipeline.terminal import console


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(view)


def view(
    run: Run,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a picture of it (PNG), and end")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="print a link to the public viewer, and end")
    ] = False,
) -> None:
    """Look at a run in Neuroglancer: its layers side by side, worst slices, failed blocks.

    Pages and voxels are served on this machine alone, until Ctrl-C.

    Example: `ddgm view runs/hemibrain`
    """
    if screenshot is not None:
        with console.status("loading"):
            _write_picture(run, screenshot)
        console.print(f"wrote {screenshot}")
        return
    from ddgm.pipeline.view.show import link_of, viewing

    if link:
        print(link_of(run))
        return
    with viewing(run) as viewer:
        try:
            print(f"{viewer.get_viewer_url()}\nCtrl-C ends it", flush=True)
            if browser:
                webbrowser.open(viewer.get_viewer_url())
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("ended")


def _write_picture(run: str, path: Path) -> None:
    from ddgm.pipeline.view.browser import browsing
    from ddgm.pipeline.view.page import empty_page

    with empty_page() as viewer, browsing(viewer.get_viewer_url()):
        # torch, which reading a run.json needs, is loaded while the browser starts
        from ddgm.pipeline.view.show import showing, write_picture

        with showing(run, viewer):
            write_picture(viewer, path)
