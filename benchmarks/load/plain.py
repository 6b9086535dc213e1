"""The peer: what a plain FastAPI + SQLAlchemy service does for one row in and one row out, and nothing else."""

from __future__ import annotations

import sys
import uuid

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker


class Row(DeclarativeBase):
    """Base of the table."""


class ThingRow(Row):
    """One row."""

    __tablename__ = "plain_thing"

    id: Mapped[str] = mapped_column(primary_key=True)
    words: Mapped[dict[str, str]] = mapped_column(JSONB)


class Thing(BaseModel):
    """What comes in, and goes out with its id."""

    character: str
    base_model: str
    id: str = ""


def make_app(database_url: str) -> FastAPI:
    """A service with two routes."""
    engine = create_engine(database_url, pool_size=10, max_overflow=10)
    Row.metadata.create_all(engine)
    sessions = sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    @app.post("/v1/jobs", status_code=202)
    def create(new: Thing) -> Thing:
        row = ThingRow(id=uuid.uuid4().hex, words=new.model_dump())
        with sessions.begin() as session:
            session.add(row)
        return new.model_copy(update={"id": row.id})

    @app.get("/v1/jobs/{thing_id}")
    def read(thing_id: str) -> Thing:
        with sessions() as session:
            row = session.get_one(ThingRow, thing_id)
        return Thing.model_validate({**row.words, "id": row.id})

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="error")
