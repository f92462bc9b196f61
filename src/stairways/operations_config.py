"""Settings that make no result: one call, the machine at hand, the service, the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stairways.evaluation.trigger_config import TriggerConfig


class Part(BaseModel):
    """A part of the settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CallSettings(Part):
    """What belongs to one call and not to its result: it does not enter the settings' digest.

    Attributes:
        gold: Gold artifact; None takes the shipped one, or the one beside the artifact judged.
        out: Folder that the command fills.
        artifact: Artifact that ``evaluate`` judges.
        fills: CSV that ``evaluate`` writes every fill to.
        nav: CSV that ``evaluate`` writes the NAV at each bar's end to.
        json_output: Print JSON instead of tables.
        resume: Go on with the run in ``out``.
        database: URL of gate.db; None puts it beside the run folder.
        validate_warmstart: Whether a dry run judges the warm start too.
        model: Zip that ``gold import`` reads; ``spec`` says what is in it.
        spec: Specification of that policy.
        sb3: Zip that ``export`` writes for stable-baselines3.
        onnx: File that ``export`` writes for ONNX.
    """

    gold: Path | None = None
    out: Path | None = None
    artifact: Path | None = None
    fills: Path | None = None
    nav: Path | None = None
    json_output: bool = False
    resume: bool = False
    database: str | None = None
    validate_warmstart: bool = True
    model: Path | None = None
    spec: Path | None = None
    sb3: Path | None = None
    onnx: Path | None = None


class PerformanceSettings(Part):
    """How the work is done on the machine at hand; no figure changes with it, but for two settings.

    Mixed precision and ``device: cuda`` are other arithmetic, and part of a run's digest where they are set.

    Attributes:
        device: Where networks train; ``auto`` takes a GPU where there is one.
        mixed_precision: Products of training in bfloat16; on a GPU, or a CPU that has them.
        clear_rollout_buffer: Whether a rollout's memory goes back at the end of each cycle.
        max_memory_gb: Work whose arrays would need more is refused before any is made.
        replay_workers: Threads that replay policies beside each other; 1 takes them in order.
        preprocessing_threads: Threads that compute features, a symbol each.
        inference_batch: Accounts that a live process answers in one call of the compiled policy, at most.
        regime_cache_bars: Bars behind it of which a live process still knows the regime.
        market_buffer_minutes: How far back a live process knows its bars, and what it answered them with.
        prediction_cache_seconds: How long an answer is remembered, for who asks again; 0 remembers none.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    mixed_precision: bool = False
    clear_rollout_buffer: bool = True
    max_memory_gb: float = Field(4.0, gt=0)
    replay_workers: int = Field(1, ge=1, le=64)
    preprocessing_threads: int = Field(1, ge=1, le=3)
    inference_batch: int = Field(32, ge=1, le=4_096)
    regime_cache_bars: int = Field(1_000, ge=1, le=1_000_000)
    market_buffer_minutes: int = Field(60, ge=1, le=100_000)
    prediction_cache_seconds: float = Field(10.0, ge=0, le=3_600)


class ServiceConfig(Part):
    """How the service is kept up.

    Attributes:
        restart: Who restarts it: ``supervisor`` (built in), ``systemd``, ``docker`` or ``command``.
        unit: Unit of systemd.
        container: Container of Docker.
        restart_command: Words of a command of one's own; ``stop_command`` likewise.
        stop_command: Words of the command that stops it.
        restart_seconds: How long a restart may take.
        seed: Of the numbers that actions are drawn with.
    """

    restart: Literal["supervisor", "systemd", "docker", "command"] = "supervisor"
    unit: str = "stairways.service"
    container: str = "stairways"
    restart_command: tuple[str, ...] = ()
    stop_command: tuple[str, ...] = ()
    restart_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _a_command_is_given(self) -> Self:
        if self.restart == "command" and not self.restart_command:
            raise ValueError("restart: command needs a restart_command")
        return self


class RollbackConfig(Part):
    """When a model must go, and how often the way back is rehearsed.

    Attributes:
        triggers: Bounds of the triggers.
        drill_every_days: A promotion needs a drill that was passed within so many days.
        drill_seconds: A drill passes if each of its ways back serves within so many seconds.
        watch_seconds: How often the watch looks.
    """

    triggers: TriggerConfig = TriggerConfig()
    drill_every_days: Annotated[float, Field(gt=0, le=366)] = 7.0
    drill_seconds: Annotated[float, Field(gt=0)] = 600.0
    watch_seconds: Annotated[float, Field(gt=0, le=60)] = 0.25
