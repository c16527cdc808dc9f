"""The module that Dramatiq's workers import (`dramatiq actors.worker`), in each process after its fork."""

import gc

from actors.declare import worker_broker
from app import models
from app.settings import load_settings
from app.telemetry import logs, tracing

settings = load_settings()
logs.configure("notification-service", settings.log_level)
tracing.configure("notification-service", settings)
models.connect(settings)
broker = worker_broker(settings)
# Objects loaded by now live as long as the process. Freezing them shortens garbage collection pauses.
gc.collect()
gc.freeze()
