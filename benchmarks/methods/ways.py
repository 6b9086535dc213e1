"""The ways to train that are compared, and how a command line names them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodName, MethodOptions

LIMITS = (0.02, 0.1)


def all_ways(limits: Sequence[float] = LIMITS) -> dict[str, Method]:
    """Every method with its defaults, the released loss, and `sarft` with each of the options and limits on the KL."""
    ways: dict[str, Method] = {name: Method(name=name) for name in get_args(MethodName)}
    options = {
        "prompts": MethodOptions(anchors="prompts"),
        "both": MethodOptions(anchors="both"),
        "first_tokens": MethodOptions(anchors="both", anchor_first_tokens=6),
        "decision": MethodOptions(anchors="both", anchor_kl="decision", anchor_first_tokens=6),
        "weigh_tokens": MethodOptions(weigh_tokens="margin"),
        "surgery": MethodOptions(surgery=True),
        "prompts+surgery": MethodOptions(anchors="prompts", surgery=True),
    }
    options |= {f"kl_limit={limit:g}": MethodOptions(kl_limit=limit) for limit in limits}
    ways["official"] = Method.model_validate({"options": {"compat": "official"}})
    return ways | {f"sarft+{name}": Method(options=each) for name, each in options.items()}


def ways_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every comparison asks for: ways, base model and character."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"all, or some of: {', '.join(all_ways())}")
    parser.add_argument("--json", action="store_true", help="print one JSON object per way")
    parser.add_argument("--base-model", default="smollm2-135m-aligned")
    parser.add_argument("--character", type=Path, default=Path("examples"), help="folder of character and dialogues")
    return parser


def parse_ways(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line. It ends with an error where a way is named that there is not."""
    options = parser.parse_args()
    options.kl_limit = getattr(options, "kl_limit", None) or LIMITS
    unknown = sorted(set(options.ways) - set(all_ways(options.kl_limit)))
    if unknown:
        parser.error(f"there is no way {', '.join(unknown)}")
    return options
