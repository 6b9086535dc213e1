"""What the training program reads and writes. It runs alone from a shell with one spec file."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from pydantic import Field

from rolekeeper.contracts.characters import Dialogue, RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters, Method, Progress
from rolekeeper.contracts.problems import Contract


class TrainSample(Contract):
    """One line of the training data: a dialogue and whether it is in the subset that is anchored to the base model.

    That is the harmful subset, unless the method is one of the controls. Methods that choose in training take only its
    size from here.
    """

    dialogue: Dialogue
    harmful: bool = False


class DataFile(Contract):
    """A JSONL of dialogues beside the training data."""

    path: str
    sha256: str


class TrainSpec(Contract):
    """Everything a training run depends on. The same spec gives the same adapter bytes on CPU."""

    base_model: str
    profile: RoleProfile
    samples_path: str = Field(description="JSONL of TrainSample")
    samples_sha256: str
    work_dir: str = Field(description="Folder for checkpoints and results; a run resumes from what it finds there")
    safe: DataFile | None = Field(default=None, description="What method.options.safe_file names")
    harmful: DataFile | None = Field(default=None, description="What method.options.harmful_file names")
    method: Method = Method()
    hyperparameters: Hyperparameters = Hyperparameters()
    models_path: str | None = Field(default=None, description="Allow-list of base models; the packaged one if absent")
    cache_dir: str | None = Field(default=None, description="Where weights that come as GGUF are kept as safetensors")
    checkpoint_seconds: float = Field(default=30.0, ge=0, description="Least time between checkpoints; 0 = each step")
    max_batch_tokens: int = Field(default=2048, ge=64, description="Padded tokens per micro-batch")
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto", description="Compute layers twice to save memory: auto does where a step would not fit else"
    )
    request_id: str | None = None


class TrainingRecord(Contract):
    """How a training went: what of it the safety report holds. It is in the manifest of every adapter and model."""

    hyperparameters: Hyperparameters = Field(description="The numbers that were used, those for `auto` among them")
    num_steps: int
    first_loss: float = Field(description="Loss of the first step: CE and the weighted KL terms, in nats")
    last_loss: float
    losses: tuple[float, ...] = Field(default=(), description="Loss of each step; empty of older adapters")
    validation_losses: tuple[float, ...] = Field(
        default=(),
        description="Loss of the validation dialogues after each epoch, nats per response token; empty without any",
    )
    num_learned: int | None = Field(
        default=None, description="Responses that were trained on. None of older adapters, as the next one"
    )
    num_truncated: int | None = Field(
        default=None,
        description="Those that are longer than max_response_tokens: learned up to there, without their end of turn",
    )
    anchor_kl: float | None = Field(
        default=None,
        description="With options.kl_limit: mean KL to the base model after training, in nats per token, on what is "
        "anchored, or on 256 of it",
    )


class TrainResult(Contract):
    """What a finished run made."""

    adapter_path: str = Field(description="The adapter as one deterministic tar")
    adapter_sha256: str
    adapter_bytes: int
    base_digest: str
    num_steps: int
    num_selected: int = Field(description="Samples that were anchored to the base model")
    num_samples: int = Field(description="Samples that were trained on")
    hyperparameters: Hyperparameters = Field(description="The numbers that were used")
    first_loss: float
    last_loss: float
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...] = Field(
        default=(), description="Loss of the validation dialogues after each epoch, nats per response token"
    )


class ExitCode(IntEnum):
    """How the training program, or a run in it, ends.

    10 to 19 are final: the same run would fail again. 20 may pass, and so may an end by a signal, which has no code
    here. 21 passes once the disk has room again. 75 is no failure: the run was asked to stop and goes on from its
    checkpoint. Memory is final too, unless the process had run something before and may be to blame itself: its
    launcher tries once more in a fresh one.
    """

    OK = 0
    BAD_SPEC = 10
    BAD_DATA = 11
    OUT_OF_MEMORY = 12
    DIVERGED = 13
    BASE_MODEL = 14
    INFRASTRUCTURE = 20
    STORAGE_FULL = 21
    STOPPED = 75

    @property
    def is_final(self) -> bool:
        """Whether trying again would not help."""
        return 10 <= self < 20


class ProgramMessage(Contract):
    """One line that the program writes to stdout while it is driven over a pipe.

    A beat says that a run has done something since the last one, however far it is from its next step.
    """

    type: Literal["ready", "beat", "progress", "done", "failed", "stopped"]
    progress: Progress | None = None
    result: TrainResult | None = None
    exit_code: ExitCode | None = None
    message: str | None = None


class RunCommand(Contract):
    """One line that the program reads from stdin: run this spec next."""

    type: Literal["run"] = "run"
    spec_path: str


class StopCommand(Contract):
    """One line that the program reads from stdin: stop the present run after its step, with a checkpoint.

    The run ends with the message `stopped`, and the program waits for the next one. Without a run it means nothing.
    """

    type: Literal["stop"] = "stop"
