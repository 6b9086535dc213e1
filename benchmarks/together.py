"""`python -m benchmarks.together`: would two characters train faster in one pass over their common base model?

One pass over the rows of two characters is at best as fast as one pass over twice as many rows of one character, since
the rows of two adapters need two small products where those of one need one. So what is timed is forward and backward
through base model and adapter, fp32 on the CPU, of 2B rows at once against B rows and then B rows. `ratio` is the time
of the two passes over that of the one: the most that training two characters at once could gain. Below the target it
is not built.

Rows have 110 tokens, as RoleBench's dialogues have on average; B = 9 rows fill a micro-batch of the trainer.
Shapes: T response tokens, D hidden.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from benchmarks.timing import show, time_in_turns
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import Batch, collate, response_hidden
from rolekeeper.lm.load import load_base
from services.trainer.program.adapter import fresh_adapter

TARGET = 1.1
NUM_PROMPT, NUM_RESPONSE = 60, 50


def main() -> None:
    """Time each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--model", default="smollm2-135m", help="alias of a base model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 9], help="B: rows of one character")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loaded = load_base(find_entry(load_catalog(), options.model), device="cpu")
    with fresh_adapter(loaded.model, Hyperparameters()) as policy:
        for rows in options.rows:
            once, twice = (make_batch(number, loaded.model.config.vocab_size) for number in (rows, 2 * rows))
            timed = time_in_turns(partial(learn, policy, [twice]), partial(learn, policy, [once, once]), options.rounds)
            tokens = 2 * rows * (NUM_PROMPT + NUM_RESPONSE)
            figures = {"ratio": timed.ratio, "target": TARGET, "bound": None}
            figures |= {"together_tokens_per_s": tokens / timed.ours, "in_turn_tokens_per_s": tokens / timed.peer}
            show(options.json, "together", f"2 x {rows} rows", figures | {"num_threads": torch.get_num_threads()})


def make_batch(rows: int, num_tokens: int) -> Batch:
    """Rows of random tokens. What they say does not change how long they take."""
    dice = random.Random(rows)
    samples = [
        EncodedSample(
            prompt_ids=[dice.randrange(num_tokens) for _ in range(NUM_PROMPT)],
            response_ids=[dice.randrange(num_tokens) for _ in range(NUM_RESPONSE)],
            truncated=False,
            dropped_messages=0,
        )
        for _ in range(rows)
    ]
    return collate(samples, pad_id=0, device="cpu")


def learn(policy: nn.Module, batches: Sequence[Batch]) -> None:
    """One forward and backward pass over each batch, one after the other."""
    for batch in batches:
        hidden_TD = response_hidden(policy, batch)
        torch.autograd.backward(hidden_TD, torch.ones_like(hidden_TD))
        policy.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
