# One image for the API and the worker; docker-compose.yml gives each its command.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[sms]'

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'movieapp[sms]'
RUN useradd --create-home movieapp
USER movieapp
WORKDIR /home/movieapp
EXPOSE 8003
CMD ["movieapp", "serve", "--bind", "0.0.0.0:8003"]
