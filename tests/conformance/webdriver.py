"""A browser: Chromium without a window, driven with the WebDriver protocol (W3C) through chromedriver."""

import base64
import contextlib
import json
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# The root user needs --no-sandbox; the rest keeps the browser from talking to anybody else.
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """A session of a browser."""

    def __init__(self, driver, profile):
        self.driver = driver
        options = {"args": [*OPTIONS, f"--user-data-dir={profile}"]}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        self.session = self.send("POST", "/session", {"capabilities": capabilities})["sessionId"]

    def send(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.driver + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read())["value"]

    def call(self, method, path, body=None):
        return self.send(method, f"/session/{self.session}{path}", body)

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def address(self):
        return self.call("GET", "/url")

    def text(self, selector="body"):
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText).join('\\n')"
        return self.call("POST", "/execute/sync", {"script": script, "args": [selector]})

    def find(self, selector, seconds=90):
        """Waits for a visible element; returns its id."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.call("POST", "/elements", {"using": "css selector", "value": selector})
            for element in found:
                with contextlib.suppress(urllib.error.HTTPError):
                    if self.call("GET", f"/element/{element[ELEMENT]}/displayed"):
                        return element[ELEMENT]
            assert time.monotonic() < deadline, f"no {selector}: {self.text()[:2000]}"
            time.sleep(0.2)

    def wait_for(self, text, selector, seconds=90):
        """Waits for a text in the elements."""
        deadline = time.monotonic() + seconds
        while text not in self.text(selector):
            assert time.monotonic() < deadline, f"no {text}: {self.text()[:2000]}"
            time.sleep(0.2)

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys):
        """Presses keys together."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        keyboard = {"type": "key", "id": "keyboard", "actions": down + up}
        self.call("POST", "/actions", {"actions": [keyboard]})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))


@contextlib.contextmanager
def browser():
    """Starts a browser with a new profile, and ends it."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        for line in driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                break
        with tempfile.TemporaryDirectory(prefix="mlops-browser-", ignore_cleanup_errors=True) as profile:
            session = Browser(f"http://127.0.0.1:{found[1]}", profile)
            try:
                yield session
            finally:
                session.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(30)
