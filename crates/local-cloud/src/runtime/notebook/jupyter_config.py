"""JupyterLab's configuration on a notebook instance: who may open it, and until when.

A presigned URL is `/login?authToken=EXPIRES.SECONDS.NONCE.MAC`: until EXPIRES, whoever has it gets a cookie that is
valid for SECONDS. The local cloud and this server share the key of the MAC. Programs on the instance use the
server's token, which Jupyter writes to its runtime directory.
"""

import hashlib
import hmac
import json
import os
import time

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.base.handlers import JupyterHandler

c = get_config()  # noqa: F821

# Removed from the environment, which kernels inherit.
SETTINGS = json.loads(os.environ.pop("MLOPS_JUPYTER"))
ENDED = (
    "This session of the notebook instance has ended, or its link has expired (a link is valid for five minutes).\n"
    "Open it again: mlops notebook open\n"
)


def seconds_of(token: str) -> int | None:
    """Returns the duration of the session that a presigned URL opens; None if the URL is not valid."""
    try:
        signed, mac = token.rsplit(".", 1)
        expires, seconds, _nonce = signed.split(".")
        expected = hmac.new(bytes.fromhex(SETTINGS["key"]), signed.encode(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(mac.encode(), expected.encode()) and time.time() < int(expires):
            return int(seconds)
    except ValueError:
        pass
    return None


class Sessions(IdentityProvider):
    """Sessions that end, whatever the browser does."""

    def get_user_cookie(self, handler):
        cookie = handler.get_secure_cookie(self.get_cookie_name(handler), max_age_days=1)
        try:
            valid = cookie is not None and time.time() < int(cookie)
        except ValueError:
            valid = False
        return User("ec2-user", "ec2-user", "ec2-user", "ec2") if valid else None

    def set_login_cookie(self, handler, user):
        """Sets no cookie: requests with the server's token do not open a session."""


class Login(JupyterHandler):
    """Opens a session with a presigned URL."""

    @allow_unauthenticated
    def get(self):
        seconds = seconds_of(self.get_query_argument("authToken", ""))
        if seconds is None:
            self.set_status(403)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(ENDED)
            return
        self.set_secure_cookie(
            self.identity_provider.get_cookie_name(self),
            str(int(time.time()) + seconds),
            expires_days=None,
            httponly=True,
            samesite="Lax",
            path=self.base_url,
        )
        self.redirect(self.base_url + "lab")


c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = SETTINGS["port"]
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.allow_remote_access = False
c.ServerApp.root_dir = SETTINGS["root"]
if os.path.isdir(os.path.join(SETTINGS["root"], SETTINGS["preferred"])):
    c.ServerApp.preferred_dir = os.path.join(SETTINGS["root"], SETTINGS["preferred"])
c.ServerApp.identity_provider_class = Sessions
c.ServerApp.terminado_settings = {"shell_command": ["/bin/bash", "-l"]}
c.Sessions.token = SETTINGS["token"]
c.Sessions.login_handler_class = Login
# Cookies of a host are shared by all its ports.
c.Sessions.cookie_name = f"notebook-{SETTINGS['port']}"
# Nothing is fetched from elsewhere.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
