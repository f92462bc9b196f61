"""Settings of what runs: the service, and the way back from a model that fails."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stairways.evaluation.trigger_config import TriggerConfig


class ServiceConfig(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class RollbackConfig(BaseModel):
    """When a model must go, and how often the way back is rehearsed.

    Attributes:
        triggers: Bounds of the triggers.
        drill_every_days: A promotion needs a drill that was passed within so many days.
        drill_seconds: A drill passes if each of its ways back serves within so many seconds.
        watch_seconds: How often the watch looks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    triggers: TriggerConfig = TriggerConfig()
    drill_every_days: Annotated[float, Field(gt=0, le=366)] = 7.0
    drill_seconds: Annotated[float, Field(gt=0)] = 600.0
    watch_seconds: Annotated[float, Field(gt=0, le=60)] = 0.25
