"""Advice names only what is there, and stays a sentence."""

import pytest

from selfdistill._core.wording import fit_advice

FILL = "Fill them in, or leave these rows out with --drop-unlabelled (drop_unlabelled=True)."


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (FILL, {"drop_unlabelled"}, FILL),
        (FILL, set(), "Fill them in."),
        ("Leave it out with --ignore x, or flatten it first.", {"out"}, "Flatten it first."),
        ("column 'id' is no feature; --id to choose another.", set(), "column 'id' is no feature."),
        ("Say which with --label. Give --id too.", {"id"}, "Give --id too."),
        ("Choose another --label.", set(), ""),
        ("Go on with: selfdistill fit --resume run", set(), "Go on with: selfdistill fit --resume run"),
        ("Did you mean 'a'? There are: 'a', 'b'.", set(), "Did you mean 'a'? There are: 'a', 'b'."),
        ("", set(), ""),
    ],
)
def test_alternatives_without_their_option_are_left_out(text, options, said):
    assert fit_advice(text, options) == said


def test_in_python_options_are_arguments():
    assert fit_advice("Lower --weight-decay.", {"weight_decay"}, dashes=False) == "Lower weight_decay."
