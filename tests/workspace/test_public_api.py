"""The public API is what the files of `public_api` say: whoever changes it says so."""

import subprocess
import sys

from support.layers import ROOT

SCRIPT = ROOT / ".ci/public_api.py"


def test_the_public_api_is_the_one_on_record() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
