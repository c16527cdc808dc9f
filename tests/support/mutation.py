"""Run mutmut with servers for the whole run; otherwise each mutant would start its own.

    python -m tests.support.mutation [NAME …]

NAME: mutants to run, as `mutmut results` prints them, with wildcards; none: all of setup.cfg's [mutmut].
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import end_all
from tests.support.services import Services

#: Service → the variable that tests/conftest.py reads its URL from.
_VARIABLES = {"mongodb": "MONGODB_URI", "redis": "REDIS_URL"}


def main(names: list[str]) -> int:
    """Run the mutants and print those that survived.

    Returns:
        mutmut's exit code.
    """
    with tempfile.TemporaryDirectory(prefix="movieapp-mutation-") as directory:
        services = Services(os.environ, Path(directory))
        urls = {variable: services.find(service).url for service, variable in _VARIABLES.items()}
        mutmut = [str(Path(sys.executable).with_name("mutmut"))]
        try:
            code = subprocess.run([*mutmut, "run", *names], env=os.environ | urls, check=False).returncode
            subprocess.run([*mutmut, "results"], env=os.environ | urls, check=False)
        finally:
            end_all()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
