# hubft in a container: docker build -t hubft . && docker run --rm hubft demo
# For CUDA, with NVIDIA's container toolkit: docker build --build-arg TORCH=cu130 -t hubft .
# TORCH is a folder of download.pytorch.org/whl; EXTRAS are those of pyproject.toml.
FROM python:3.11-slim
ARG TORCH=cpu
ARG EXTRAS=demo,onnx,transformers
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HUBFT_CACHE=/cache/hubft HF_HOME=/cache/huggingface TORCH_HOME=/cache/torch
RUN useradd --create-home --uid 1000 hubft && mkdir -p /cache /data/runs && chown -R hubft /cache /data
WORKDIR /src
RUN pip install --index-url "https://download.pytorch.org/whl/${TORCH}" "torch>=2.11" "torchvision>=0.26"
COPY pyproject.toml README.md LICENSE hubconf.py ./
COPY hubft hubft
COPY plugins plugins
RUN pip install --editable ".[${EXTRAS}]"
USER 1000
WORKDIR /data
VOLUME ["/cache", "/data/runs"]
ENTRYPOINT ["hubft"]
CMD ["--help"]
