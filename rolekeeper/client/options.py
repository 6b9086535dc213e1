"""Groups of command-line options: a command takes one frozen dataclass instead of ten parameters.

Only typer and the standard library are imported here, so that `--help` stays quick.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


@dataclasses.dataclass(frozen=True)
class Connection:
    """Which API to call, and how to print what it answers."""

    url: Annotated[str, typer.Option("--url", envvar="ROLEKEEPER_URL", help="Where the gateway answers")]
    api_key: Annotated[str, typer.Option("--api-key", envvar="ROLEKEEPER_API_KEY", help="The platform's key, rk_...")]
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, and nothing else, on stdout")] = (
        False
    )


@dataclasses.dataclass(frozen=True)
class OptionalConnection:
    """As `Connection`, for a command that can do without."""

    url: Annotated[str | None, typer.Option("--url", envvar="ROLEKEEPER_URL", help="Where the gateway answers")] = None
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="ROLEKEEPER_API_KEY", help="The platform's key, rk_...")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, and nothing else, on stdout")] = (
        False
    )

    def needed(self) -> Connection:
        """The connection. Raises BadParameter if a part of it was not given."""
        if self.url is None or self.api_key is None:
            raise typer.BadParameter("give --url and --api-key, or their environment variables")
        return Connection(self.url, self.api_key, self.json)


@dataclasses.dataclass(frozen=True)
class Training:
    """What a job is asked for. Whatever is not given is left to the deployment's defaults."""

    base_model: Annotated[
        str, typer.Option(envvar="ROLEKEEPER_BASE_MODEL", help="Alias of a base model of the deployment")
    ] = "smollm2-135m-aligned"
    method: Annotated[
        str | None,
        typer.Option(
            help="sarft; sft for no anchor; random, flip, all, seal or bi_selection for other anchors; "
            "seal_filter, sppft or vaccine for other defences"
        ),
    ] = None
    safe_file: Annotated[
        str | None, typer.Option(help="Uploaded file of safe answers, for seal, seal_filter and bi_selection")
    ] = None
    harmful_file: Annotated[str | None, typer.Option(help="Uploaded file of harmful answers, for bi_selection")] = None
    turns: Annotated[str | None, typer.Option(help="last or all: which responses of a dialogue are scored")] = None
    prompt_set: Annotated[
        str | None, typer.Option(help="contrast, append or paper_v2: what the scores are measured under")
    ] = None
    margin: Annotated[float | None, typer.Option(help="Harmful if s_unsafe > s_role + margin")] = None
    harmful_share: Annotated[
        float | None, typer.Option(help="Instead of margin: the share of the samples to call harmful")
    ] = None
    kl_weight: Annotated[float | None, typer.Option(help="Weight of the KL anchor")] = None
    kl_direction: Annotated[str | None, typer.Option(help="reverse or forward")] = None
    preset: Annotated[str | None, typer.Option(help="default or paper: what is not given below")] = None
    epochs: Annotated[str | None, typer.Option(help="Passes over the dialogues, or auto")] = None
    batch_size: Annotated[str | None, typer.Option(help="Samples per optimizer step, or auto")] = None
    learning_rate: Annotated[str | None, typer.Option(help="Peak learning rate, or auto")] = None
    schedule: Annotated[str | None, typer.Option(help="linear or constant, after the warm-up")] = None
    lora_rank: Annotated[int | None, typer.Option(help="8, 16, 32 or 64")] = None
    lora_alpha: Annotated[int | None, typer.Option(help="LoRA scale is alpha / rank")] = None
    lora_targets: Annotated[str | None, typer.Option(help="all, or q_v for q_proj and v_proj alone")] = None
    validation_share: Annotated[float | None, typer.Option(help="Share that only measures the loss")] = None
    early_stop_epochs: Annotated[int | None, typer.Option(help="End after so many epochs without a gain")] = None
    adapter_scale: Annotated[float | None, typer.Option(help="Give the adapter out times this, up to 1")] = None
    learned_turns: Annotated[
        str | None, typer.Option(help="last or all: which responses of a dialogue are learned; all needs --turns all")
    ] = None
    max_source_tokens: Annotated[int | None, typer.Option(help="Of longer dialogues the oldest turns go")] = None
    max_response_tokens: Annotated[int | None, typer.Option(help="A longer response is learned up to here")] = None
    context: Annotated[str | None, typer.Option(help="plain or role: the system turn in training")] = None
    seed: Annotated[int | None, typer.Option(help="Same job, same seed, same adapter")] = None
    evaluation: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON file of what to measure by: suites, judges, gate"),
    ] = None
    deadline_seconds: Annotated[
        int | None, typer.Option(help="The job fails if it has not ended so many seconds after its creation")
    ] = None


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option for each field of its dataclass parameters, and pass it the dataclasses filled in."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint) and isinstance(hint, type)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        parameters += _options(groups[name]) if name in groups else [parameter.replace(annotation=hints[name])]

    def spread_command(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        command(**values)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    spread_command.__name__, spread_command.__doc__ = command.__name__, command.__doc__
    spread_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    # typer reads a command's parameters from its signature.
    spread_command.__dict__["__signature__"] = inspect.Signature(parameters)
    return spread_command


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
