"""What bundles say of themselves: read without heavy libraries, and told when it cannot be read."""

import subprocess
import sys

import pytest

from tidemill.errors import Corrupt, NotFound
from tidemill.learn.bundle_info import list_bundles, load_info

from .conftest import publish


def test_no_bundle_is_said(tmp_path):
    assert list_bundles(tmp_path / "absent") == []
    with pytest.raises(NotFound):
        load_info(tmp_path, 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}'])
def test_an_unreadable_description_is_said(binary, tmp_path, text):
    info = publish(tmp_path, binary)
    (info.folder / "bundle.json").write_text(text)
    with pytest.raises(Corrupt):
        load_info(tmp_path, 1)


def test_listing_models_imports_nothing_heavy():
    code = (
        "import sys, pathlib; from tidemill.learn import bundle, bundle_info, gate; "
        "bundle_info.list_bundles(pathlib.Path('absent'));"
        "print([name for name in ('sklearn', 'pandas', 'numpy', 'skops', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
