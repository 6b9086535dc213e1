"""The words on the wire: frozen pydantic models that processes exchange. Nothing else is imported here."""
