"""Settings of the service."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
