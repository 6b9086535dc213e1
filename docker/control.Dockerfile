# The control plane: gateway, conductor and the migrations. It holds no torch.
#   docker build -f docker/control.Dockerfile -t rolekeeper-control .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3 -m venv /opt/venv
# The pinned dependencies are a layer of their own, which a change of our code leaves alone.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir rolekeeper && touch rolekeeper/__init__.py && /opt/venv/bin/pip install ".[control]"
COPY rolekeeper rolekeeper
RUN /opt/venv/bin/pip install --no-deps --force-reinstall .

FROM ${BASE}
# Named volumes take the owner of the folder that they cover.
RUN groupadd --gid 10001 rolekeeper \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rolekeeper \
    && install --directory --owner 10001 --group 10001 /var/lib/rolekeeper/store
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY alembic.ini ./
COPY migrations migrations
COPY gateway gateway
COPY services/__init__.py services/
COPY services/conductor services/conductor
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ROLEKEEPER_STORE_DIR=/var/lib/rolekeeper/store
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "gateway"]
