"""The child's own look at many files in one fenced process: names on standard input, a reason a line comes out.

Each file alone costs a process and its imports; the full way is gone by some of them in test_hostile.py.
"""

import json
import sys

from tests.corpus.hostile_models import hostile_models
from tidemill.learn.imports import child
from tidemill.learn.imports.examine import check_first_bytes
from tidemill.learn.imports.refusal import ModelRefused
from tidemill.learn.imports.sandbox import Limits, fence

asked = json.load(sys.stdin)
corpus = hostile_models(asked["marker"])
fence(Limits())
for name in asked["names"]:
    data, _ = corpus[name]
    try:
        kind = check_first_bytes(name, data)
        child.look({**asked["request"], "format": kind, "model_file": "model"}, data)
        reason = "not refused"
    except ModelRefused as error:
        reason = error.extra["reason"] if error.detail and error.remedy else "without words"
    print(json.dumps([name, reason]), flush=True)
