"""Chat templates for tests: short ones of their own, which behave as those of known model families do."""

from __future__ import annotations

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML that puts in a system turn of its own where there is none, as SmolLM2's and Qwen's do."""

NO_SYSTEM = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<|im_start|>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
"""A template without a system role that strips turns and insists on their order, as Gemma-2's does."""

GEMMA2 = NO_SYSTEM.replace("<|im_start|>", "<start_of_turn>").replace("<|im_end|>", "<end_of_turn>")
"""The same with Gemma-2's control tokens."""

SMOLLM2 = CHATML.replace("You are a helpful assistant.", "You are a helpful lamp named SmolLM.")
"""SmolLM2: ChatML with a default system prompt."""

QWEN2 = (
    "{% if messages[0]['role'] == 'system' %}<|im_start|>system\n{{ messages[0]['content'] }}<|im_end|>\n"
    "{% else %}<|im_start|>system\nYou are Qwen. You are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{% if message.tool_calls %}{{ '<tool_call>\n' ~ message.tool_calls ~ '\n</tool_call>' }}{% endif %}"
    "{% if message.role != 'system' or not loop.first %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen2.5: a default system prompt, and control tokens for tools that its tokenizer does not call special."""

_LLAMA3_TURNS = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system_message = messages[0]['content'] | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set system_message = '' %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\n"
    "{{ 'Cutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: ' + date_string + '\n\n' }}"
    "{{ system_message }}<|eot_id|>"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

LLAMA31 = "{% if date_string is not defined %}{% set date_string = '26 Jul 2024' %}{% endif %}" + _LLAMA3_TURNS
"""Llama-3.1: a system block with two dates in every prompt; turns are stripped and end without a line break."""

LLAMA32 = (
    "{% if date_string is not defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}" + _LLAMA3_TURNS
)
"""Llama-3.2: asks the clock where the caller gives no date."""

LLAMA32_CLOCK = "{% set date_string = strftime_now('%d %b %Y') %}" + _LLAMA3_TURNS
"""A variant that asks the clock whatever the caller gives."""
