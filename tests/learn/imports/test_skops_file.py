"""skops archives: what their arrays hold is judged by their headers alone."""

import numpy as np
import skops.io

from tidemill.learn.imports.skops_file import check_archive


def test_cells_that_look_like_a_header_of_objects_are_no_objects():
    nodes = np.array([(b"|O'", 1.0)], dtype=[("a", "S3"), ("b", "f8")])
    check_archive(skops.io.dumps([nodes]))
