from io import StringIO

from rich.console import Console

from rexnet.cli.console import table


def test_a_long_name_goes_on_in_the_next_line():
    stream = StringIO()
    name = "timm:tf_efficientnet_b0.ns_jft_in1k"
    Console(file=stream, width=30).print(table(("backbone", "params"), [(name, "6.2M")]))
    words = stream.getvalue().split()
    assert name in "".join(words).replace("6.2M", "")
