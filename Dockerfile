# One image for the API and the worker; docker-compose.yml and deploy/kubernetes give each its command.
FROM python:3.12-slim AS build
RUN python -m venv /opt/movieapp
ENV PATH=/opt/movieapp/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# First what changes less often than the code.
COPY requirements.lock requirements.build.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
# The build's own tools, by hash too, and not in the image.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements.build.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip install --no-deps --no-index /wheels/movieapp-*.whl \
    && pip check

FROM python:3.12-slim
COPY --from=build /opt/movieapp /opt/movieapp
ENV PATH=/opt/movieapp/bin:$PATH
# By number, so that Kubernetes can see that it is not root.
RUN useradd --uid 10001 --create-home movieapp
USER 10001
WORKDIR /home/movieapp
EXPOSE 8003
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8003/health', timeout=2)"]
CMD ["movieapp", "serve", "--bind", "0.0.0.0:8003"]
