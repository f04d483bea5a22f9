# The server, the bridge and the command line in one image. The first argument says which: up, serve or bridge.

FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make dashboard \
 && .venv/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./clients/python ./server

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python -m pip install --no-cache-dir --no-compile --constraint /constraints.txt /wheels/*.whl
# Nothing that the server does needs a name, a home or a right; only an embedded log and database need a directory.
RUN install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/pilothouse
USER 10001:10001
ENV PILOTHOUSE_DATA_DIR=/var/lib/pilothouse \
    PILOTHOUSE_HOST=0.0.0.0 \
    PILOTHOUSE_LOG_FORMAT=json \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/pilothouse
EXPOSE 50051 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["pilothouse-server"]
CMD ["up"]
