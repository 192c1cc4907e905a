"""Starts and stops the real binary."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

# Longer than `drain_seconds` of the engine.
STOP_SECONDS = 15
# No wait of a test is longer.
WAIT_SECONDS = 5

SETTINGS = """
[server]
data_dir = "{folder}/data"
[metrics]
enabled = false
[[listener]]
name = "main"
bind = "127.0.0.1:0"
serves = ["binary", "rooms", "broadcast", "calls", "devices"]
[[listener]]
name = "rooms-api"
bind = "127.0.0.1:0"
serves = ["rooms-api"]
[[listener]]
name = "devices-health"
bind = "127.0.0.1:0"
serves = ["devices-health"]
[[listener]]
name = "calls-health"
bind = "127.0.0.1:0"
serves = ["calls-health"]
"""

# The environment overrides the settings; a developer's own must not.
READ_BY_THE_ENGINE = re.compile(
    r"(SIGMUX_|SIGNALS_|SIGNAL_MANAGER_).*|PORT|JWT_SECRET|LOG_LEVEL|MAX_CLIENTS|HEARTBEAT_INTERVAL"
)


class Engine:
    """One process, with a working folder of its own; ready when the constructor returns."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sigmux-clients-"))
        settings = self.folder / "sigmux.toml"
        settings.write_text(SETTINGS.format(folder=self.folder))
        self.log = self.folder / "log"
        environment = {
            name: value for name, value in os.environ.items() if not READ_BY_THE_ENGINE.fullmatch(name)
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [os.environ["SIGMUX_BIN"], "serve", "--print-ports", "-c", settings],
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the engine has not started: {self.log.read_text()}")
        self.addresses = {each["name"]: each["bind"] for each in json.loads(line)["listeners"]}

    def http(self, target="/", listener="main"):
        return f"http://{self.addresses[listener]}{target}"

    def ws(self, target="/"):
        return f"ws://{self.addresses['main']}{target}"

    def stop(self):
        """SIGTERM; the exit code."""
        try:
            self.process.send_signal(signal.SIGTERM)
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            shutil.rmtree(self.folder, ignore_errors=True)
