"""Where and how Pacemaker runs: the section `engine` of campaign.yaml."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mlip_train.base.frozen import Frozen

__all__ = ["Engine", "EnginePlace", "Gpu", "TrainingDeployment"]


class TrainingDeployment(Frozen):
    """A Prefect deployment that trains, usually in a work pool of GPU machines."""

    deployment: str = Field(
        "train-potential/gpu", pattern=r"^[^/]+/[^/]+$", description="Its name: that of its flow, /, and its own."
    )


class Gpu(Frozen):
    """The GPU that the engine is to use."""

    index: int | None = Field(
        None, ge=0, description="Which one, as nvidia-smi counts; null: the one that the worker was given."
    )
    memory: int | None = Field(None, gt=0, description="Limit in MB; null: all of it.")
    required: bool = Field(True, description="Fail at once when TensorFlow sees no GPU.")


class EnginePlace(Frozen):
    """Where Pacemaker runs."""

    placement: Literal["here"] | TrainingDeployment = Field(
        "here",
        description="here: as a child process of the flow; or {deployment: train-potential/gpu}: where that "
        "deployment's workers are, on the same file system.",
    )
    gpu: Gpu | None = Field(None, description="null: TensorFlow takes what it sees.")
    max_hours: float = Field(12.0, gt=0, description="Wall-time limit of one training in hours.")


class Engine(EnginePlace):
    """Where and how Pacemaker runs."""

    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("pacemaker",), min_length=1,
        description="The engine's command and leading arguments, for example [srun, pacemaker]. Its Python needs "
        "mlip_train, too.",
    )  # fmt: skip
    environment: dict[str, str] = Field(
        {}, description="Environment variables for the engine, for example {OMP_NUM_THREADS: '4'}."
    )

    @field_validator("environment", mode="before")
    @classmethod
    def _variables_can_be_passed(cls, environment: Any) -> Any:
        """Say nothing of the values, which may be secrets."""
        for name, value in environment.items() if isinstance(environment, dict) else ():
            if not isinstance(name, str) or not name.isidentifier():
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if not isinstance(value, str) or "\0" in value:
                raise ValueError(f"the value of {name} must be text; put it in quotes")
        return environment

    @field_validator("command")
    @classmethod
    def _arguments_can_be_passed(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in part for part in command):
            raise ValueError("a command cannot hold NUL characters")
        return command
