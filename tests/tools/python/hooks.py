"""What the requests made by schemathesis have in common."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """No call waits: a wait that is allowed becomes none, others go as they are."""
    body, query = case.body, case.query
    if isinstance(body, dict) and type(body.get("wait_seconds")) is int and 1 <= body["wait_seconds"] <= 40:
        body["wait_seconds"] = 0
    if isinstance(query, dict) and str(query.get("wait_seconds")) in map(str, range(1, 41)):
        query["wait_seconds"] = 0


@schemathesis.hook
def filter_case(context, case):
    """A field that is null counts as left out. The documents do not promise it, because ChatGPT's importer has no
    nullable fields, so null would be reported as a violation that is accepted."""
    return not (isinstance(case.body, dict) and None in case.body.values())
