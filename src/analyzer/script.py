"""Runs the scripts of a Model Monitor job: one process for all records.

Standard input: the columns of the baseline (JSON), then one captured event per line. Standard output:
one line per record, R and the flat record (JSON); at the end D, or E and a message. Output of the
script goes to standard error, which is the job's log.
"""

import functools
import importlib.util
import inspect
import json
import logging
import os
import re
import sys


class Record:
    """A part of an event; supports event.endpoint_input.data as well as event["captureData"]."""

    def __init__(self, fields, parts=()):
        self.__dict__["fields"] = fields
        self.__dict__["parts"] = dict(parts)

    def __getattr__(self, name):
        for key, value in (*self.fields.items(), *self.parts.items()):
            if key == name or snake(key) == name:
                return wrapped(value)
        # Scripts read these, and compare them with None, for events that lack them.
        optional = {"custom_attribute": "customAttributes", "inference_id": "inferenceId"}
        if name in optional:
            return self.fields.get(optional[name])
        raise AttributeError(name)

    def __getitem__(self, name):
        return wrapped(self.fields[name])

    def __contains__(self, name):
        return name in self.fields

    def get(self, name, default=None):
        return wrapped(self.fields.get(name, default))

    def to_dict(self):
        return self.fields

    def __repr__(self):
        return repr(self.fields)


@functools.lru_cache(None)
def snake(name):
    return re.sub("([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def wrapped(value):
    return Record(value) if isinstance(value, dict) else value


def event_record(event):
    """Returns the event with its parts at the places of the analyzer's own object."""
    capture = event.get("captureData") or {}
    return Record(event, {"endpointInput": None, "endpointOutput": None, **capture})


def handler_of(path, name):
    # The script's own modules may be next to it.
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("monitor_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = getattr(module, name, None)
    if not callable(handler):
        raise AttributeError(f"there is no function {name} in it")
    return handler


def plain(value):
    """Converts a value of NumPy or pandas to JSON; not-a-number is a missing value."""
    if value is None or type(value) in (str, int, bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None if value != value else str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, (dict, list, tuple, set)) or hasattr(value, "tolist"):
        raise TypeError(f"a value is a {type(value).__name__}: records must be flat")
    return str(value)


class Namer:
    """Names the columns of records.

    If none of a record's keys is a column of the baseline (`str(i).zfill(20)`), its values are
    assigned by position: in the order of its sorted keys, which is Spark's order of columns.
    """

    def __init__(self, columns):
        self.columns = columns
        self.by_position = None

    def record(self, fields):
        if not isinstance(fields, dict):
            keys = [f"_c{i}" for i in range(len(fields))]
            keys[: len(self.columns)] = self.columns[: len(fields)]
            return dict(zip(keys, fields))
        fields = {str(key): value for key, value in fields.items()}
        if self.by_position is None:
            self.by_position = bool(self.columns) and not any(key in self.columns for key in fields)
        keys = sorted(fields)
        if not self.by_position:
            return fields if self.columns else {key: fields[key] for key in keys}
        return {
            self.columns[i] if i < len(self.columns) else key: fields[key]
            for i, key in enumerate(keys)
        }


def records(answer):
    """Yields records: a mapping or a list of values is one, a list of those several, an empty list none."""
    if answer is None:
        raise TypeError("preprocess_handler answered None; to drop an event it returns []")
    if isinstance(answer, Record):
        answer = answer.to_dict()
    if isinstance(answer, dict):
        return [answer] if answer else []
    if not isinstance(answer, (list, tuple)):
        raise TypeError(f"preprocess_handler answered a {type(answer).__name__}")
    if answer and all(isinstance(item, (dict, list, tuple, Record)) for item in answer):
        return [item.to_dict() if isinstance(item, Record) else item for item in answer]
    return [answer] if answer else []


def preprocess(path, output):
    lines = iter(sys.stdin.buffer)
    namer = Namer(json.loads(next(lines)))
    handler = handler_of(path, "preprocess_handler")
    arguments = ()
    if len(inspect.signature(handler).parameters) > 1:
        arguments = (logging.getLogger("preprocess"),)
    encode = json.JSONEncoder(allow_nan=False).encode
    for number, line in enumerate(lines, 1):
        event = json.loads(line)
        try:
            for fields in records(handler(event_record(event), *arguments)):
                fields = namer.record(fields)
                row = {key: plain(value) for key, value in fields.items()}
                output.write("R" + encode(row) + "\n")
        except Exception as error:
            identity = (event.get("eventMetadata") or {}).get("eventId", "unknown")
            logging.exception("preprocess_handler failed")
            fail(output, f"event {number} (eventId {identity}): {type(error).__name__}: {error}")


def fail(output, text):
    output.write("E" + json.dumps(text) + "\n")
    output.flush()
    os._exit(1)


def main():
    kind, path = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    # Standard output is for records; the script's own output goes to the log.
    output = os.fdopen(os.dup(1), "w", buffering=1 << 16)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        if kind == "preprocess":
            preprocess(path, output)
            # All events must have been processed: a script may exit in any of them.
            output.write("D\n")
        else:
            handler_of(path, "postprocess_handler")()
        output.flush()
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        logging.exception("the script failed")
        fail(output, f"{type(error).__name__}: {error}")


main()
