"""Settings of W&B: offline unless the user is logged in, and without data about the user."""

import netrc
import os
from typing import Any
from urllib.parse import urlsplit

import wandb

# W&B keeps no environment, command line, user name, mail address, git remotes, code or console output.
# A cell's configuration contains the versions that produced it.
QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "reinit": "create_new",
}


def wandb_mode() -> str:
    """Returns WANDB_MODE if it is set, else "online" for a logged-in user, else "offline"; contacts no server."""
    return os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")


def check_environment() -> None:
    """Checks that W&B can read its environment variables, which it would otherwise do only for the first logged run.

    Raises:
        ValueError: if W&B cannot read a variable; the message names it and the reason.
    """
    for name, value in os.environ.items():
        if name.startswith("WANDB_"):
            try:
                wandb.Settings().update_from_env_vars({name: value})
            except ValueError as error:
                message_lines = [line.strip() for line in str(error).splitlines()]
                reason = (message_lines[2] if len(message_lines) > 2 else message_lines[0]).split(" [type=")[0]
                raise ValueError(
                    f"logger: {name}={value[:60]!r} in the environment: {reason}; unset it or correct it"
                ) from error


def logged_in() -> bool:
    """Returns whether there is an API key in the environment or where ``wandb login`` stores it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url).netloc
    try:
        credentials = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    # The second host is where logins to W&B's own cloud were stored before it moved.
    return any(credentials.authenticators(host) for host in {server, "api.wandb.ai"})
