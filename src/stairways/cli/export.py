"""``stairways export``: hand a policy on to another library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stairways.cli import options


def export(
    artifact: Annotated[Path | None, typer.Argument(help="Artifact folder.")] = None,
    sb3: Annotated[
        Path | None, typer.Option("--sb3", help="Zip that PPO.load or RecurrentPPO.load opens.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="ONNX model, regime gate and LSTM included.")
    ] = None,
    config: options.Config = None,
) -> int:
    """Write an artifact's policy for stable-baselines3 or for ONNX; the controller stays behind."""
    from rich.console import Console

    from stairways.config import load_settings
    from stairways.errors import ConfigError
    from stairways.reporting.interchange_terminal import print_export
    from stairways.tuning.policy_export import export_onnx, export_sb3
    from stairways.unpacking import unpack

    source = options.read_place(artifact, config, "artifact")
    call = load_settings(config, options.call_overrides(sb3=sb3, onnx=onnx)).call
    if (call.sb3 is None) == (call.onnx is None):
        raise ConfigError("name one of --sb3 FILE and --onnx FILE", remedy="export twice for both")
    packed = unpack(source)
    if call.sb3 is not None:
        place = options.place(call.sb3, "--sb3")
        record = export_sb3(packed, place)
    else:
        place = options.place(call.onnx, "--onnx")
        record = export_onnx(packed, place)
    print_export(Console(), record, place)
    return 0
