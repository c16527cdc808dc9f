"""What Dramatiq's workers import: `dramatiq actors.worker`. Made in each worker process, after its fork."""

from actors.declare import worker_broker
from app import models
from app.longlived import keep_what_is_loaded
from app.settings import load_settings
from app.telemetry import logs, tracing

settings = load_settings()
logs.configure("notification-service", settings.log_level)
tracing.configure("notification-service", settings)
models.connect(settings)
broker = worker_broker(settings)
keep_what_is_loaded()
