# CUDA:  docker build -t ke_t5 .
# CPU:   docker build -t ke_t5 --build-arg TORCH_INDEX=URL .
#        (URL: the index that pytorch.org shows for the build that you want, such as the CPU's)
# Run:   docker run --rm -v "$PWD:/workspace" ke_t5 train --task klue_tc --sample
#        (GPUs: --gpus all --shm-size 8g)
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The layers of the libraries stay when only our code changes. torch comes first, in the build that
# was asked for; its version is the pinned one, so the second command leaves it alone.
COPY requirements.txt /opt/ke_t5/
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' /opt/ke_t5/requirements.txt)" \
    && pip install -r /opt/ke_t5/requirements.txt

COPY pyproject.toml setup.py README.md README.en.md LICENSE /opt/ke_t5/
COPY ke_t5 /opt/ke_t5/ke_t5
RUN pip install --no-deps /opt/ke_t5

# Files in a mounted folder belong to its owner: docker run --user "$(id -u):$(id -g)".
RUN useradd --create-home user && install -d -o user /workspace
USER user
WORKDIR /workspace
# USER: a --user of the host has no name in the image, and libraries ask for one.
ENV HF_HOME=/workspace/.cache/huggingface XDG_CACHE_HOME=/workspace/.cache HOME=/workspace USER=user
ENTRYPOINT ["ke-t5"]
CMD ["--help"]
