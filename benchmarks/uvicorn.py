"""Serve an ASGI application: python -m benchmarks.uvicorn benchmarks.rival:app 127.0.0.1:8000"""

from __future__ import annotations

import sys

import uvicorn

if __name__ == "__main__":
    app, address = sys.argv[1:]
    host, port = address.split(":")
    uvicorn.run(app, host=host, port=int(port), log_level="warning", access_log=False)
