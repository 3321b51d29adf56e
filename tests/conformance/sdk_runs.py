"""What the four runs of an SDK's pipeline must show: everything, from the cache, a changed argument, a gate that
refuses."""

CACHED = ("Prepare", "Train", "Evaluate")


def require_everything(told, *registering):
    """The first run succeeds; `registering` are the steps behind the gate."""
    first = told["runs"][0]
    assert first["status"] == "Succeeded", first
    steps = first["steps"]
    wanted = (*CACHED, "Gate", *registering)
    assert {name: step["status"] for name, step in steps.items()} == {name: "Succeeded" for name in wanted}
    assert not any(step["hit"] for step in steps.values())
    assert steps["Gate"]["metadata"]["Condition"]["Outcome"] == "True"


def require_reuse(told, registering):
    """The second run reuses the results of the first one."""
    first, second = told["runs"][:2]
    assert second["status"] == "Succeeded", second
    for name in CACHED:
        step = second["steps"][name]
        assert step["hit"] == first["arn"], name
        assert step["metadata"] == first["steps"][name]["metadata"], name
        assert step["attempts"] == 0, name
    # A version is registered each time, because RegisterModel is not cached.
    registered = [run["steps"][registering]["metadata"]["RegisterModel"]["Arn"] for run in (first, second)]
    assert [arn.rsplit("/", 1)[1] for arn in registered] == ["1", "2"]


def require_new_results(told):
    """The third run has another argument."""
    changed = told["runs"][2]
    assert changed["status"] == "Succeeded", changed
    assert not any(changed["steps"][name]["hit"] for name in CACHED)


def require_refusal(told):
    """The gate of the fourth run refuses; returns its steps."""
    refused = told["runs"][3]
    assert refused["status"] == "Failed"
    assert refused["steps"]["TooHigh"]["metadata"]["Fail"]["ErrorMessage"] == "rmse is above 1.0"
    return refused["steps"]
