"""What the requests made by schemathesis have in common, and which operations they reached."""

import atexit
import collections
import json
import os
import re
import zlib

import schemathesis

# Something to work on: most ids and names that are made up belong to nothing. An operation may have one of its own, which
# is written as `stop_swarm=swarm_…`.
REAL, OF_OPERATION = {}, {}
for word in os.environ.get("MAS_REAL_IDS", "").split():
    operation, _, id = word.rpartition("=")
    if operation:
        OF_OPERATION[operation] = id
    else:
        REAL[id.split("_")[0]] = id
NAMES = {"get_role": "coder", "run_workflow": "code_development"}
PRIORITIES = ["low", "normal", "high", "critical"]
STATUSES = ["created", "assigned", "in_progress", "review", "revision", "complete", "failed"]
TYPES = ["coder", "tester", "planner", "reviewer"]
# How each operation answered: operationId to statuses.
ANSWERED = collections.defaultdict(collections.Counter)


def mostly(text):
    """True for three texts in four, and always for the same."""
    return zlib.crc32(str(text).encode("utf-8", "replace")) % 4 != 0


def make_sense(operation, body):
    """What is well-formed but made up becomes something that is there."""
    for field, real in (("project", "default"), ("model", "haiku")):
        if isinstance(body.get(field), str) and mostly(body[field]):
            body[field] = real
    for number, part in enumerate(body.get("agents") or body.get("voters") or ()):
        if isinstance(part, dict):
            if isinstance(part.get("type"), str) and mostly(part["type"]):
                part["type"] = TYPES[number % len(TYPES)]
            if isinstance(part.get("model"), str):
                part["model"] = "haiku"
    if isinstance(body.get("inputs_json"), str) and mostly(body["inputs_json"]):
        del body["inputs_json"]
    # Its task was cancelled: it can be cancelled again, and no longer be more urgent.
    if operation == "update_task" and body.get("priority") in PRIORITIES:
        del body["priority"]
        body.setdefault("status", "cancelled")
    if operation == "update_task" and body.get("status") in STATUSES and mostly(body.get("title")):
        body["status"] = "cancelled"
    if operation == "send_team_message" and isinstance(body.get("to"), str) and mostly(body["to"]):
        body["to"] = "all"
        body.pop("in_reply_to", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    """No call waits: a wait that is allowed becomes none, others go as they are. Three made-up ids in four become real."""
    body, query, path = case.body, case.query, case.path_parameters
    operation = case.operation.definition.raw.get("operationId")
    wait = body.get("wait_seconds") if isinstance(body, dict) else None
    if type(wait) in (int, float) and 0 < wait <= 40 and wait == int(wait):
        body["wait_seconds"] = 0
    if isinstance(query, dict) and str(query.get("wait_seconds")) in map(str, range(1, 41)):
        query["wait_seconds"] = 0
    # Sequences of calls use ids they were given.
    if not case.meta or case.meta.phase.name.value == "stateful":
        return
    if isinstance(body, dict) and type(body.get("agents")) in (list, type(None)) and type(body.get("voters")) in (list, type(None)):
        make_sense(operation, body)
    if isinstance(path, dict):
        made_up = re.fullmatch("([a-z]+)_[0-9a-f]{31}[0-9ab]", str(path.get("id")))
        real = made_up and (OF_OPERATION.get(operation) or REAL.get(made_up[1]))
        if real:
            path["id"] = real
        if operation in NAMES and mostly(path.get("name")):
            path["name"] = NAMES[operation]
    if operation == "read_workflow_run_file" and isinstance(query, dict) and isinstance(query.get("name"), str) and mostly(query["name"]):
        query["name"] = "summary.md"


@schemathesis.hook
def after_call(context, case, response):
    ANSWERED[case.operation.definition.raw.get("operationId")][response.status_code] += 1


@atexit.register
def tell():
    if "MAS_ANSWERED" in os.environ:
        with open(os.environ["MAS_ANSWERED"], "w") as file:
            json.dump(ANSWERED, file)


def has_null(value):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(has_null, inside))


@schemathesis.hook
def filter_case(context, case):
    """A field that is null counts as left out, and a threshold that is a number as its text. The documents do not promise
    it, because ChatGPT's importer has no nullable fields and no alternatives, so both would be reported as violations that
    are accepted."""
    if not isinstance(case.body, dict):
        return True
    return not any(map(has_null, case.body.values())) and type(case.body.get("threshold")) not in (int, float)
