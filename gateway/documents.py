"""Examples and request bodies of the OpenAPI document that FastAPI can't see by itself."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

DOWNLOAD_ERRORS = (401, 403, 404, 422, 503)
BODY_ERRORS = (408, 413)

TAGS = [
    {"name": "characters", "description": "A role profile with its dialogues."},
    {"name": "files", "description": "Uploaded dialogues, in OpenAI's shape."},
    {"name": "jobs", "description": "One run of score, train and evaluate for one character."},
    {"name": "results", "description": "What a job made."},
    {"name": "release", "description": "Who let an adapter out, or held it back, and why."},
    {"name": "health", "description": "For orchestrators and Prometheus; no key needed."},
]
DESCRIPTION = (
    "Fine-tunes a character on its own dialogues without losing the base model's safety, and proves it with numbers."
    "\n\n"
    "Send `Authorization: Bearer rk_...`. Every error has one body (`Problem`), which is RFC 9457 and readable by "
    "OpenAI clients. Lists are `{object, data, has_more}`; ask for the next page with `after` = the last item's id."
)

_DIALOGUE = {
    "messages": [
        {"role": "user", "content": "Who keeps the light tonight?"},
        {"role": "assistant", "content": "I do, landling, as I have for twelve years."},
    ]
}
CHARACTER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/CharacterCreate"},
                "examples": {
                    "inline": {
                        "summary": "Dialogues in the body",
                        "value": {
                            "name": "Isaura Kell",
                            "profile": "You are Isaura Kell, keeper of the Gannet Tooth light.",
                            "dialogues": [_DIALOGUE],
                        },
                    },
                    "file": {
                        "summary": "Dialogues uploaded before",
                        "value": {
                            "name": "Isaura Kell",
                            "profile": "You are Isaura Kell, keeper of the Gannet Tooth light.",
                            "dialogue_file": "file_5c1f0c2e9a7b4d3e8f6a1b2c",
                        },
                    },
                },
            }
        },
    }
}
FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "purpose": {"type": "string", "enum": ["fine-tune", "suite"]},
                    },
                }
            }
        },
    }
}
EVALUATION_EXAMPLES: dict[str, Example] = {
    "same": {"summary": "As before", "value": {}},
    "stricter": {"summary": "A stricter gate", "value": {"gate": {"margin": 0.02}}},
}
JOB_EXAMPLES: dict[str, Example] = {
    "defaults": {
        "summary": "All defaults",
        "value": {"character": "char_5c1f0c2e9a7b4d3e8f6a1b2c", "base_model": "smollm2-135m-aligned"},
    },
    "chosen": {
        "summary": "Method and hyperparameters chosen",
        "value": {
            "character": "char_5c1f0c2e9a7b4d3e8f6a1b2c",
            "base_model": "smollm2-135m-aligned",
            "method": {"name": "sarft", "kl_weight": 0.5},
            "hyperparameters": {"epochs": 3, "learning_rate": 0.0002, "lora_rank": 16},
        },
    },
}
